"""A video file, opened, and when each of its frames is shown, which takes no decoding."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

_CONTAINERS = "mov,matroska,avi,flv,asf,mpegts,mpeg,ogg,gif"
"""FFmpeg's names of what is opened: files that hold their frames themselves. A playlist would name others, or addresses."""

MAX_PIXELS = 1 << 27
"""Of a frame: 16384 × 8192. A damaged header may claim more than there is memory for."""


@dataclasses.dataclass(frozen=True)
class Timeline:
    """When the frames of a video are shown, in ticks of its clock."""

    shown: list[int]
    """Each frame's time, ascending."""
    keyframes: list[int]
    """Times, ascending, at which decoding can begin; those that are never shown count too."""
    end: int
    """When the last frame is no longer shown."""
    tick: Fraction
    """Seconds."""


@contextlib.contextmanager
def readable(path: pathlib.Path) -> Iterator[None]:
    """Turns FFmpeg's errors into one that names the file."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        raise OSError(f"{path} is not a video that can be read, or it is cut off or damaged: {error.strerror or error}") from error


def open_video(path: pathlib.Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """The file, for the caller to close, and its video; packets of sound and the like are skipped.

    Raises:
        OSError: it is missing, a folder, or no video that FFmpeg can read.
        ValueError: it has no video stream.
    """
    import av
    from av.stream import Discard, Disposition

    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a video; da3jax.inputs.list_images gives the images in a folder")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with readable(path):
        container = av.open(
            f"file:{path.absolute()}",  # a name never stands for a protocol
            container_options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file", "fflags": "+genpts"},
            options={"max_pixels": str(MAX_PIXELS)},
            metadata_errors="replace",
        )
    best = container.streams.best("video")
    if best is None or best.disposition & Disposition.attached_pic:
        others = ", ".join(sorted({stream.type for stream in container.streams if stream.type != "video"}))
        container.close()
        raise ValueError(f"{path} has no video in it{others and f', only {others}'}; it should be a file with a video stream")
    for stream in container.streams:
        if stream is not best:
            stream.discard = Discard.all
    if best.codec_context is None:
        container.close()
        raise ValueError(f"{path} has a video of a kind that this build of FFmpeg cannot decode; convert it to H.264")
    best.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    best.thread_type = "AUTO"
    return container, best


def read_timeline(path: pathlib.Path, until: Fraction | None = None) -> Timeline:
    """Reads the times of the frames, of those that can be decoded and are shown.

    They are the presentation times that stand beside the compressed frames, so that nothing is decoded. Frames before the first keyframe
    count as not there, as do those that an edit list hides and a last one that is cut in two. A file that ends too soon, or cannot be read
    further, gives the frames before; a warning says so.

    Args:
        path: the file.
        until: seconds after the first frame from which on nothing needs to be read; the rest of the file is not.

    Raises:
        OSError, ValueError: as `open_video`; there is no frame at all.
    """
    container, stream = open_video(path)
    with contextlib.closing(container):
        return _read_timeline(path, container, stream, until)


def _read_timeline(path: pathlib.Path, container: av.container.InputContainer, stream: av.VideoStream, until: Fraction | None) -> Timeline:
    from av.error import FFmpegError

    tick = Fraction(stream.time_base)
    shown: dict[int, int] = {}  # time to duration
    keyframes: list[int] = []
    first, trouble, stopped = 0, "", False
    try:
        for packet in container.demux(stream):
            time = packet.pts
            if not packet.size or time is None:
                continue
            if packet.is_corrupt:
                trouble = "a frame is incomplete"
                continue
            if packet.is_keyframe:
                keyframes.append(time)
            if not keyframes or time < keyframes[0]:
                continue  # it needs frames that are not there
            if not packet.is_discard:
                first = min(first, time) if shown else time
                shown[time] = packet.duration or 0
            # Frames come in the order of decoding, so that from here on all are shown later.
            if until is not None and shown and packet.dts is not None and (packet.dts - first) * tick > until:
                stopped = True
                break
    except FFmpegError as error:
        trouble = error.strerror or str(error)

    if not shown:
        raise ValueError(f"{path} has 0 frames that can be decoded{trouble and f' ({trouble})'}; it should be a video with at least one")
    times = sorted(shown)
    typical = max(1, (times[-1] - first) // max(1, len(times) - 1))
    end = times[-1] + max(shown[times[-1]] or typical, 1)
    if stopped:
        end = max(end, first + int(until / tick) + 1)  # the next frame was seen, and is later
    else:
        lasts, claimed = float((end - first) * tick), (container.duration or 0) / 1e6
        if claimed > lasts + 1:
            trouble = trouble or f"its header says that it lasts {claimed:.1f} seconds"
        if trouble:
            logger.warning("%s may be cut off or damaged (%s); it has %d frames of %.1f seconds", path, trouble, len(times), lasts)
    return Timeline(times, sorted(set(keyframes)), end, tick)
