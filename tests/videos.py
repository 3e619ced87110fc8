"""Small videos of frames that are known to the last bit, written by PyAV."""

from fractions import Fraction

import av
import numpy as np


def frames_of(count, height=24, width=32, seed=0):
    """(count, height, width, 3) uint8, each unlike every other, in blocks that compress."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def write_video(
    path, frames, *, codec="libx264rgb", rate=10, times=None, options=None, container_options=None, rotation=None, hflip=False, sound=False
):
    """Writes `frames` losslessly unless told otherwise.

    `times`: milliseconds at which they are shown, in place of a constant rate; `rotation`: degrees, counter-clockwise, by which a
    player turns them, and then mirrors them with `hflip`.
    """
    lossless = {"libx264rgb": ("rgb24", {"qp": "0"}), "ffv1": ("bgr0", {})}
    pixels, defaults = lossless.get(codec, ("yuv420p", {}))
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=defaults | (options or {}))
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=hflip)
        if sound:
            audio = container.add_stream("aac", rate=16000, layout="mono")
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000 * 3), np.float32), format="fltp", layout="mono")
            silence.rate = 16000
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            container.mux(audio.encode(silence))
            container.mux(audio.encode())
    return path


def decoded(path):
    """What PyAV gives when it decodes the file from its beginning, (N, H, W, 3) uint8."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
