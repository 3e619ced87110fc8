"""What the colours of a depth image are worth."""

from __future__ import annotations

import numpy as np

from da3jax.outputs.colormap import table

_PAPER, _INK, _FAINT = (255, 255, 255), (40, 40, 40), (150, 150, 150)


def legend(height: int, low: float, high: float, is_metric: bool) -> np.ndarray:
    """A strip to stand beside coloured depth: the colour map, near at the top, and depths along it.

    Colours are linear in inverse depth, so depths are not evenly spaced. Letters are of the font that Pillow brings along.

    Args:
        height: of the picture, in pixels.
        low: inverse depth of the coldest colour.
        high: inverse depth of the warmest; if it is not above `low`, there is one depth only, and none if both are 0.
        is_metric: whether depth is in metres; else it is marked as relative.

    Returns:
        (height, w, 3) uint8; w depends on the height alone, so that pictures of several views have one size.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()
    size = int(np.clip(height / 26, 10, 28))
    if isinstance(font, ImageFont.FreeTypeFont):
        font = font.font_variant(size=size)
    pad, bar = size // 2, size
    width = 3 * pad + bar + pad // 2 + int(np.ceil(max(font.getlength(text) for text in ("00000 m", "relative"))))
    strip = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(strip)
    above = 2 * size if height >= 8 * size else 0  # room for the heading, where there is enough for more than that
    if above:
        draw.text((pad, pad // 2), "depth" if is_metric else "relative", font=font, fill=_INK)
    top, bottom = above + size // 2, height - size // 2 - pad // 2
    if bottom - top < 2:
        return np.asarray(strip)

    colours = table()[np.round(np.linspace(255, 0, bottom - top)).astype(int)]
    left, right = pad, pad + bar
    strip.paste(Image.fromarray(np.repeat(colours[:, None], bar, axis=1)), (left, top))
    draw.rectangle((left, top, right - 1, bottom - 1), outline=_FAINT)
    for place, inverse in _ticks(low, high, most=max(2, (bottom - top) // (3 * size) + 1)):
        y = top + round(place * (bottom - top - 1))
        draw.line((right, y, right + pad // 2, y), fill=_INK)
        draw.text((right + pad, y), label(1 / inverse) + (" m" if is_metric else ""), font=font, fill=_INK, anchor="lm")
    return np.asarray(strip)


def label(depth: float) -> str:
    """Three digits at most, and not over six letters."""
    if 0.01 <= depth < 99999.5:
        return f"{depth:#.3g}".rstrip(".") if depth < 999.5 else f"{depth:.0f}"
    digits, power = f"{depth:.1e}".split("e")
    return f"{digits}e{int(power)}"


def _ticks(low: float, high: float, most: int) -> list[tuple[float, float]]:
    """(place from the top, inverse depth) of marks at equal distances; one in the middle where all depth is the same."""
    if high <= low:
        return [(0.5, low)] if low > 0 else []
    return [(place, high + place * (low - high)) for place in np.linspace(0, 1, most)]
