"""Pictures as a video that plays everywhere: MP4 with H.264, 8 bit, 4:2:0."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

_ENCODERS = {"libx264": {"crf": "18", "mbtree": "0"}, "mpeg4": {"qmin": "2", "qmax": "4", "b": "100M"}}
"""The first that this build of FFmpeg has, at a quality at which nothing is seen to be lost. x264's macroblock tree is
off: in small pictures it depends on what the memory held before, and so would the bytes."""

LONGEST_SIDE = 16384
"""Pixels that x264 takes at most."""

_THREADS = 4
"""Not as many as there are cores: the bytes depend on it."""


def encode_mp4(pictures: Iterable[np.ndarray], fps: float) -> bytes:
    """Encodes pictures as a video of so many a second.

    The same pictures give the same bytes with the same FFmpeg. Colours are BT.709 of limited range, and the file says so. 4:2:0 needs
    even sides: an odd one grows by a repeated row or column.

    Args:
        pictures: (H, W, 3) uint8 sRGB each, at least one, all of one size, at most `LONGEST_SIDE`; taken one after the other.
        fps: frames a second.

    Raises:
        OSError: FFmpeg cannot encode them, which it says why.
    """
    import av
    from av.error import FFmpegError

    encoder = next((name for name in _ENCODERS if _has(name)), None)
    if encoder is None:
        raise OSError(
            f"a video cannot be encoded: this build of FFmpeg has none of {', '.join(_ENCODERS)}; pip install av brings one that has"
        )
    encoded, stream = io.BytesIO(), None
    try:
        with av.open(encoded, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            for picture in pictures:
                picture = np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), "edge")
                if stream is None:
                    stream = container.add_stream(encoder, rate=Fraction(str(fps)).limit_denominator(1000), options=_ENCODERS[encoder])
                    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                    codec = stream.codec_context
                    codec.thread_count = _THREADS
                    # By ITU-T H.273: matrix and primaries of BT.709, the curve of sRGB, limited range.
                    codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range = 1, 1, 13, 1
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except FFmpegError as error:
        raise OSError(f"a video cannot be encoded by {encoder}: {error.strerror or error}") from error
    return encoded.getvalue()


def _has(encoder: str) -> bool:
    import av

    try:
        av.Codec(encoder, "w")
    except ValueError:
        return False
    return True
