"""Damaged videos are read or refused with a sentence; nothing hangs and nothing is left behind."""

import numpy as np
import pytest

from da3jax.inputs import video_frames
from tests.videos import frames_of, write_video

KINDS = {
    "a.mp4": {"codec": "libx264", "sound": True},
    "b.mp4": {"codec": "libx264rgb", "container_options": {"movflags": "frag_keyframe+empty_moov"}, "rotation": 90},
    "a.mkv": {"codec": "libx264"},
    "b.mkv": {"codec": "ffv1"},
    "a.avi": {"codec": "mpeg4", "options": {"bf": "1"}},
    "a.ts": {"codec": "libx264"},
    "a.webm": {"codec": "libvpx-vp9"},
    "a.flv": {"codec": "libx264"},
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    return {name: write_video(folder / name, frames_of(8, 32, 32), **options).read_bytes() for name, options in KINDS.items()}


def mutated(content, rng):
    """A few bytes flipped, a run of noise, a piece cut out or doubled, or an end cut off; more often near the ends, where headers are."""
    content = bytearray(content)
    size = len(content)

    def place():
        return int(rng.integers(size) if rng.random() < 0.5 else rng.choice([1, -1]) * rng.integers(1, min(size, 600))) % size

    match rng.integers(5):
        case 0 | 1:
            for _ in range(rng.integers(1, 9)):
                content[place()] = rng.integers(256)
        case 2:
            at = place()
            noise = rng.bytes(int(rng.integers(1, 64)))
            content[at : at + len(noise)] = noise
        case 3:
            at, length = place(), int(rng.integers(1, 200))
            content[at : at + length] = content[at : at + length] * int(rng.integers(0, 3))
        case 4:
            del content[place() :]
    return bytes(content)


def outcome(path):
    """What happens to a user who reads a few frames of the file."""
    try:
        images = video_frames(path, fps=None)
        for image in (*images[:6], images[-1], images[len(images) // 2]):
            picture = image.read()
            assert picture.dtype == np.uint8
            assert picture.shape[2:] == (3,)
        video_frames(path, fps=3, start=0.1, end=0.5)
    except (ValueError, OSError) as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message
        return "refused"
    return "read"


def outcomes(originals, folder, seeds):
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = list(originals)[seed % len(originals)]
        (folder / name).write_bytes(mutated(originals[name], rng))
        found.append(outcome(folder / name))
        (folder / name).unlink()
        assert list(folder.iterdir()) == []
    return {word: found.count(word) for word in ("read", "refused")}


@pytest.mark.integration
def test_damaged_videos_are_read_or_refused(originals, tmp_path):
    counts = outcomes(originals, tmp_path, range(120))
    assert min(counts.values()) >= 10


@pytest.mark.slow
def test_thousands_of_damaged_videos_are_read_or_refused(originals, tmp_path):
    counts = outcomes(originals, tmp_path, range(1000, 6000))
    assert min(counts.values()) >= 500
