"""One program for several numbers of views: scenes are filled up to the next of a few sizes."""

from __future__ import annotations


def bucket(views: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, …, for 1 view and more.

    Two sizes an octave: a program for any number of views up to 1000 is one of 20, and no more than a third of what it computes is
    thrown away. Powers of two alone would waste up to a half.
    """
    power = 1 << (views - 1).bit_length()
    return 3 * power // 4 if 4 * views <= 3 * power else power
