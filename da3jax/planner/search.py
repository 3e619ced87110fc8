"""The largest number of views that fits, by few compilations."""

from __future__ import annotations

from collections.abc import Callable


def largest_that_fits(needs: Callable[[int], int], size: Callable[[int], int], limit: int, start: int) -> int:
    """The largest of the sizes `size(0)` < `size(1)` < … that takes at most `limit`, or 0 where none does; the next one takes more.

    Args:
        needs: bytes that a size takes, nearly in proportion to it beyond a constant part. It is called with few sizes, each once.
        size: increasing.
        limit: bytes.
        start: which size is tried first.
    """
    found = {start: needs(size(start))}
    while True:
        fits = max((i for i, used in found.items() if used <= limit), default=-1)
        too_large = min((i for i, used in found.items() if used > limit), default=None)
        if too_large == fits + 1:
            return size(fits) if fits >= 0 else 0
        between = fits >= 0 and too_large is not None
        ends = (fits, too_large) if between else (min(found), max(found))  # far apart, lest what is not proportional mislead
        guess, index = _crossing(*((size(i), found[i]) for i in ends), limit), fits + 1
        while size(index + 1) <= guess and index + 1 != too_large:
            index += 1
        found[index] = needs(size(index))


def _crossing(one: tuple[int, int], other: tuple[int, int], limit: int) -> float:
    """Where the line through two pairs of size and bytes, or through one and the origin, takes the limit; not out of all proportion."""
    (x0, y0), (x1, y1) = one if one != other else (0, 0), other
    slope = max((y1 - y0) / (x1 - x0), 1)
    return min(x1 + (limit - y1) / slope, 16 * x1)
