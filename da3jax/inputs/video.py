"""The frames of a video, so many a second, as pictures that are decoded when their turn comes."""

from __future__ import annotations

import logging
import math
import numbers
import pathlib
from fractions import Fraction
from functools import partial

from da3jax.inputs.video_decoder import FrameDecoder
from da3jax.inputs.video_file import Timeline, read_timeline
from da3jax.types import LazyImage

logger = logging.getLogger(__name__)


def video_frames(
    path: str | pathlib.Path, *, fps: float | None = 1.0, start: float | None = None, end: float | None = None
) -> list[LazyImage]:
    """The frames of a video at `fps` a second, upright, at their own size, by their presentation times.

    For each of the times `start`, `start` + 1/`fps`, `start` + 2/`fps`, … before `end` it is the frame shown then: the last one that is
    not later, to the nearest tick of the video's clock. A frame that is shown at several of these times comes once, so that no more
    frames come than the video has. Times are seconds after the first frame is shown, whatever the file's clock says then.

    The times are read at once, which takes no decoding; a picture is decoded when it is read. Read in order, or nearly so by up to eight
    threads, the video is decoded once in all, or less, where skipping to a keyframe saves something. Out of order or again works
    too, and decodes from the keyframe before. One frame a thread is held, and a few that wait.

    Colours are converted as the file says; where it does not, as players do: BT.709 from 720 rows on, BT.601 below. A rotation or mirroring
    in the file (the display matrix) is applied. Pixels that are not square stay so.

    A file that is cut off gives the frames before the cut (an MP4 or MOV, whose index is at its end, is refused), and a frame inside that
    cannot be decoded is replaced by the one before it; a warning is logged of either.

    Args:
        path: MP4 or MOV, Matroska or WebM, AVI, FLV, WMV, MPEG, Ogg or GIF. Nothing but this file is read.
        fps: frames a second; None gives each frame whose time is from `start` to before `end`.
        start: seconds; None is the beginning.
        end: seconds, itself left out; None is the end.

    Returns:
        Pictures named `frame_000000.png`, `frame_000001.png` and so on, counted in this list.

    Raises:
        OSError: the file is missing (FileNotFoundError), a folder, or not a video that can be read.
        ValueError: it has no video stream or no frame, none between `start` and `end`; an option that is out of its range.
    """
    path = pathlib.Path(path)
    fps = None if fps is None else _number("fps", fps, "frames a second, or None for every frame")
    begin = Fraction(0) if start is None else _number("start", start, "seconds")
    stop = None if end is None else _number("end", end, "seconds")
    if fps is not None and fps <= 0:
        raise ValueError(f"fps is {float(fps):g}; it is a positive number of frames a second, or None for every frame")
    if begin < 0:
        raise ValueError(f"start is {float(begin):g}; it is in seconds from the beginning, 0 or more")
    if stop is not None and stop <= begin:
        raise ValueError(f"end is {float(stop):g} and start is {float(begin):g}; end is in seconds and later than start")

    timeline = read_timeline(path, stop)
    wanted = _wanted(timeline, fps, begin, stop)
    if not wanted:
        lasts = float((timeline.end - timeline.shown[0]) * timeline.tick)
        until = "on" if stop is None else f"to {float(stop):g} seconds"
        raise ValueError(
            f"{path} has no frame from {float(begin):g} {until}; it has {len(timeline.shown)} in the first {lasts:.3f} seconds, "
            f"and start and end should enclose one"
        )
    logger.info("%s: %d of its %d frames are used", path, len(wanted), len(timeline.shown))
    decoder = FrameDecoder(path, timeline, wanted)
    return [LazyImage(f"frame_{index:06d}.png", partial(decoder.read, time), path) for index, time in enumerate(wanted)]


def _number(name: str, value: float, meaning: str) -> Fraction:
    """`value` as it is written in decimals, so that 0.1 is a tenth."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; it is a number, in {meaning}")
    return Fraction(str(float(value)))


def _wanted(timeline: Timeline, fps: Fraction | None, begin: Fraction, stop: Fraction | None) -> list[int]:
    """The times, in ticks, of the frames that `video_frames` describes."""
    first, tick = timeline.shown[0], timeline.tick
    half = Fraction(1, 2)
    if fps is None:
        low, high = begin / tick, math.inf if stop is None else stop / tick
        return [time for time in timeline.shown if low <= time - first + half and time - first + half < high]
    # The number of the first wanted time, of those at start + number / fps, at which each frame is shown already.
    ordinals = [max(0, math.ceil(fps * ((time - first - half) * tick - begin))) for time in (*timeline.shown, timeline.end)]
    return [
        time
        for time, ordinal, following in zip(timeline.shown, ordinals[:-1], ordinals[1:], strict=True)
        if ordinal < following and (stop is None or begin + ordinal / fps < stop)
    ]
