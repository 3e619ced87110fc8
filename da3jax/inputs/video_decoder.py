"""The frames of a video by their time, from any thread and in any order; in order, the video is decoded once."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import logging
import pathlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from da3jax.inputs.video_file import Timeline, open_video, readable

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

_KEPT = 8
"""Frames that wait for the reader they were passed over for: as many as `preprocess` has threads."""

_WORTH_A_JUMP = 16
"""Frames: as many are decoded ahead by threads, so that skipping fewer saves nothing."""

# Colour spaces by their number in ITU-T H.273, and what swscale calls their matrices.
_MATRICES = {1: "ITU709", 4: "FCC", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 9: "BT2020", 10: "BT2020"}


class FrameDecoder:
    """Decodes frames of one video when they are asked for.

    It holds the file open, the frame at which it stands, and at most `_KEPT` frames that nobody has read yet and that it passed on its way
    to one that another thread asked for first. Any other is found by going back to the keyframe before it. When the last of the wanted
    frames has been read, the file is closed, until a frame is asked for again.
    """

    def __init__(self, path: pathlib.Path, timeline: Timeline, wanted: Iterable[int]):
        """Nothing is opened yet. `wanted`: the times, of those in the timeline, that will be asked for."""
        self.decoded = 0
        """Frames decoded so far."""
        self._path, self._timeline, self._wanted = path, timeline, sorted(wanted)
        self._lock = threading.Lock()
        self._warned = False
        self._container: av.container.InputContainer | None = None
        self._close()

    def read(self, time: int) -> np.ndarray:
        """The frame shown from `time` on, in ticks: (H, W, 3) uint8 RGB, upright.

        A frame that is damaged beyond decoding is replaced by the one before it (or after it, if there is none), as players do, and
        a warning says so, once a video.

        Raises:
            OSError: the file cannot be read any more, or holds no frame that can be decoded.
        """
        with self._lock:
            try:
                with readable(self._path):
                    picture = _upright(self._frame(time))
            except BaseException:
                self._close()  # whatever state it is in, the next reader begins afresh
                raise
            self._unread.discard(time)
            if not self._unread or (time == self._wanted[-1] and not self._passed):
                self._close()
            return picture

    def _close(self) -> None:
        """Lets go of the file and of all frames; reading may begin anew."""
        if self._container is not None:
            self._container.close()
        self._container = self._stream = None
        self._frames: Iterator[tuple[int, av.VideoFrame]] | None = None
        self._last: av.VideoFrame | None = None  # the one at which the decoder stands
        self._at = self._timeline.shown[0] - 1  # its time
        self._searched = False  # whether decoding began at a keyframe that was searched for, not at the file's beginning
        self._unread = set(self._wanted)
        self._passed: dict[int, av.VideoFrame] = {}

    def _frame(self, time: int) -> av.VideoFrame:
        if time in self._passed:
            return self._passed.pop(time)
        if self._frames is None or not self._lies_ahead(time):
            self._jump(time)
        frame = self._decode_to(time)
        if frame is None and self._searched:  # some keyframes show nothing before a second or two is decoded (intra refresh)
            self._jump(time, search=False)
            frame = self._decode_to(time)
        if frame is None and self._last is None:
            raise OSError(f"{self._path}: no frame can be decoded at {self._seconds(time):.3f} seconds; the file is damaged there")
        return self._instead(time, self._last) if frame is None else frame

    def _decode_to(self, time: int) -> av.VideoFrame | None:
        """The frame at `time`, or the one before it where it is not there; None where none comes before it either."""
        for at, frame in self._frames:
            before, self._last, self._at = self._last, frame, at
            if at == time:
                return frame
            if at in self._unread:
                self._passed[at] = frame
                if len(self._passed) > _KEPT:
                    del self._passed[next(iter(self._passed))]
            if at > time:
                break
        else:
            before, self._frames = self._last, None
        return None if before is None else self._instead(time, before)

    def _lies_ahead(self, time: int) -> bool:
        """Whether decoding on is the way to the frame at `time`: it has not been passed, and a jump to a keyframe saves too little.

        A jump loses the frames in between; so it is made only if none of them is wanted, or more than could be kept.
        """
        if time <= self._at:
            return False
        keyframe = self._timeline.keyframes[max(0, bisect.bisect_right(self._timeline.keyframes, time) - 1)]
        skipped, lost = (_between(times, self._at, keyframe) for times in (self._timeline.shown, self._wanted))
        return skipped <= _WORTH_A_JUMP or 0 < lost <= _KEPT

    def _jump(self, time: int, search: bool = True) -> None:
        """Places the decoder at a keyframe from which the frame at `time` is reached: with `search` the nearest, if the file allows it."""
        from av.error import FFmpegError

        self._frames, opened = None, self._container is None
        nearest = bisect.bisect_right(self._timeline.keyframes, time) - 1
        if opened:
            self._container, self._stream = open_video(self._path)
            search &= not self._lies_ahead(time)
        self._searched = search
        for index in (nearest, nearest - 1):
            if search and index > 0:
                opened = False
                with contextlib.suppress(FFmpegError):
                    self._container.seek(self._timeline.keyframes[index], stream=self._stream)
                    if self._begin(time):
                        return
        self._searched = False
        if not opened:
            self._container.close()
            self._container, self._stream = open_video(self._path)
        if not self._begin(time):
            raise OSError(f"{self._path} is not the file any more whose frames were looked up; it should not change while it is read")

    def _begin(self, time: int) -> bool:
        """Whether the next keyframe of the file is not later than `time`; frames are then decoded from it on."""
        packets = self._container.demux(self._stream)
        for packet in packets:
            if packet.size and packet.is_keyframe and packet.pts is not None:
                if packet.pts > time:
                    return False
                self._frames = self._decode(itertools.chain([packet], packets), packet.pts)
                self._last, self._at = None, packet.pts - 1
                return True
        return False

    def _decode(self, packets: Iterator[av.Packet], keyframe: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames of `packets` in the order in which they are shown, each with its time; what cannot be decoded is left out."""
        from av.error import FFmpegError

        shown = self._timeline.shown
        # AVI keeps no times. Those that FFmpeg gives in the order of decoding are the right ones, but for other frames.
        count = itertools.count(bisect.bisect_left(shown, keyframe)) if self._container.format.name == "avi" else None
        packet: av.Packet | None
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:  # the file cannot be read further
                packet = None
            if packet is not None and not packet.size:
                continue
            frames = []
            with contextlib.suppress(FFmpegError):
                frames = self._stream.codec_context.decode(packet)  # without a packet, the frames that it still holds
            for frame in frames:
                self.decoded += 1
                if count is not None:
                    frame.pts = shown[min(next(count), len(shown) - 1)]
                if frame.pts is not None and frame.pts >= keyframe:  # frames before it in time may need others that were not read
                    yield frame.pts, frame
            if packet is None:
                return

    def _instead(self, time: int, frame: av.VideoFrame) -> av.VideoFrame:
        """`frame`, after saying once that it stands for one that is not there."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s is damaged at %.3f seconds: the frame beside it is taken instead, and so for any other that cannot be decoded",
                self._path, self._seconds(time),
            )  # fmt: skip
        return frame

    def _seconds(self, time: int) -> float:
        return float((time - self._timeline.shown[0]) * self._timeline.tick)


def _between(times: Sequence[int], low: int, high: int) -> int:
    """How many of the ascending `times` lie between `low` and `high`, both excluded."""
    return bisect.bisect_left(times, high) - bisect.bisect_right(times, low)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as the file's display matrix says, to the nearest quarter turn."""
    from av.sidedata.sidedata import Type

    # Without a word about colours, players take large pictures for HDTV.
    matrix = _MATRICES.get(int(frame.colorspace), "ITU709" if frame.height >= 720 else "ITU601")
    picture = frame.reformat(format="rgb24", src_colorspace=None if frame.format.is_rgb else matrix, threads=1).to_ndarray()
    data = next((bytes(data) for data in frame.side_data if data.type == Type.DISPLAYMATRIX), None)
    if data is None:
        return picture
    # A pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift (ISO/IEC 14496-12, the track header's matrix).
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].astype(np.int64)
    right, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, right, down = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])
