"""Pixels as the bytes of a PNG or JPEG file.

In memory, for `atomic.write_bytes`: where the disk is full, Pillow writes a file cut short without a word.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np


def encode_png(pixels: np.ndarray, **options: Any) -> bytes:
    """PNG of (H, W, 3) uint8, or (H, W) uint8 or uint16; `options` are Pillow's for the format."""
    return _encode(pixels, "png", **options)


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """JPEG of (H, W, 3) uint8, of quality 95 and with whole chroma, for colours are data here."""
    return _encode(pixels, "jpeg", quality=95, subsampling=0)


def _encode(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, kind, **options)
    return encoded.getvalue()
