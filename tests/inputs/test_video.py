"""Which frames of a video are taken, that they are the right ones however they are read, and what is refused."""

import itertools
import logging
import pathlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
from PIL import Image

from da3jax.inputs import preprocess, video_frames
from tests.videos import decoded, frames_of, write_video

ROBOT = pathlib.Path(__file__).parents[2] / ".." / "shared" / "data" / "robot_unitree.mp4"


@pytest.fixture(scope="module")
def frames():
    return frames_of(30)


@pytest.fixture(scope="module")
def three_seconds(frames, tmp_path_factory):
    """30 frames at 10 a second, a keyframe every 8."""
    return write_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames, options={"g": "8"})


def indices(images, frames):
    """Which of `frames` each picture is, exactly."""
    found = []
    for image in images:
        picture = image.read()
        assert picture.dtype == np.uint8
        found.append(next((index for index, frame in enumerate(frames) if np.array_equal(picture, frame)), None))
    return found


def decoder(images):
    return images[0].read.func.__self__


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 10, 20]),
        ({"fps": 2}, [0, 5, 10, 15, 20, 25]),
        ({"fps": 0.4}, [0, 25]),
        ({"fps": 4}, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]),  # at 0.25 s frame 2 is still shown
        ({"fps": np.float32(0.5)}, [0, 20]),
        ({"fps": 10}, list(range(30))),
        ({"fps": 1000}, list(range(30))),  # no frame comes twice
        ({"fps": None}, list(range(30))),
        ({"fps": 0.001}, [0]),
        ({"start": 1}, [10, 20]),
        ({"start": 1.05}, [10, 20]),
        ({"end": 2}, [0, 10]),
        ({"end": 2.01}, [0, 10, 20]),
        ({"start": 0.5, "end": 1.1, "fps": 5}, [5, 7, 9]),
        ({"start": 0.5, "end": 0.8, "fps": None}, [5, 6, 7]),
        ({"start": 0.45, "end": 0.65, "fps": None}, [5, 6]),
        ({"start": 2.95, "fps": 1}, [29]),
        ({"start": 2.95, "end": 99, "fps": 100}, [29]),
    ],
)
def test_at_each_time_it_is_the_frame_shown_then(three_seconds, frames, options, expected):
    assert indices(video_frames(three_seconds, **options), frames) == expected


def test_names_count_in_the_list(three_seconds):
    names = [image.name for image in video_frames(str(three_seconds), start=1)]
    assert names == ["frame_000000.png", "frame_000001.png"]


TIMES = [0, 40, 80, 1000, 1010, 1020, 1030, 3000, 3500, 3600]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_with_a_variable_rate_times_decide_and_not_the_count(tmp_path, name):
    frames = frames_of(len(TIMES))
    path = write_video(tmp_path / name, frames, times=TIMES)
    assert indices(video_frames(path, fps=None), frames) == list(range(10))
    # At 0, 1, 2 and 3 seconds; what is shown at 1 is shown at 2 as well, but for three frames within 30 ms.
    assert indices(video_frames(path, fps=1), frames) == [0, 3, 6, 7]
    assert indices(video_frames(path, fps=2), frames) == [0, 2, 3, 6, 7, 8]
    assert indices(video_frames(path, fps=None, start=1, end=3), frames) == [3, 4, 5, 6]


def test_the_clock_of_matroska_rounds_times_to_milliseconds_and_no_frame_is_lost(tmp_path):
    frames = frames_of(30)
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1", rate=30)  # at 33, 67, 100, ...
    assert indices(video_frames(path, fps=30), frames) == list(range(30))
    assert indices(video_frames(path, fps=15), frames) == list(range(0, 30, 2))


def test_times_begin_at_the_first_frame_whatever_the_clock_says(tmp_path):
    frames = frames_of(20)
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1", times=[5000 + 100 * index for index in range(20)])
    assert indices(video_frames(path, start=0.5), frames) == [5, 15]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.ts", "a.flv", "a.mov"])
def test_frames_that_are_stored_in_another_order_than_shown_are_found(tmp_path, name):
    rows, columns = np.mgrid[:48, :64]
    moving = [(128 + 100 * np.sin((columns + 3 * index) / 9 + rows / 7)).astype(np.uint8)[..., None].repeat(3, -1) for index in range(40)]
    path = write_video(tmp_path / name, moving, codec="libx264", options={"g": "12"})
    with av.open(str(path)) as container:
        assert 3 in {int(frame.pict_type) for frame in container.decode(video=0)}  # a B-frame
    truth = decoded(path)
    images = video_frames(path, fps=None)
    order = np.random.default_rng(0).permutation(40)
    assert len(images) == 40
    for index in (*range(40), *order[:12]):
        np.testing.assert_array_equal(images[index].read(), truth[index])


def test_a_picture_that_is_refreshed_bit_by_bit_is_found(tmp_path):
    # Its keyframes are no pictures by themselves: from one on, the decoder shows nothing for a while.
    path = write_video(tmp_path / "a.mp4", frames_of(60, 48, 64), codec="libx264", options={"intra-refresh": "1", "g": "12", "bf": "0"})
    truth = decoded(path)
    images = video_frames(path, fps=None)
    for index in (55, 3, 30, 31, 12, 13, 59):
        assert np.abs(images[index].read().astype(int) - truth[index]).max() <= 2
    assert len(truth) == 60


def test_in_order_the_video_is_decoded_once(three_seconds, frames):
    images = video_frames(three_seconds, fps=None)
    assert indices(images, frames) == list(range(30))
    assert decoder(images).decoded == 30
    images = video_frames(three_seconds, fps=5)
    assert indices(images, frames) == list(range(0, 30, 2))
    assert decoder(images).decoded == 29


def test_nearly_in_order_the_video_is_decoded_once_too(three_seconds, frames):
    images = video_frames(three_seconds, fps=None)
    order = [index for eight in range(0, 30, 8) for index in reversed(range(eight, min(eight + 8, 30)))]
    assert [indices([images[index]], frames)[0] for index in order] == order
    assert decoder(images).decoded == 30


def test_skipping_to_a_keyframe_saves_decoding(tmp_path):
    frames = frames_of(200, 8, 8)
    path = write_video(tmp_path / "a.mp4", frames, options={"g": "25"}, rate=10)
    images = video_frames(path, fps=0.2)  # every 50th frame, of which each is a keyframe
    assert indices(images, frames) == [0, 50, 100, 150]
    assert decoder(images).decoded < 4 * 20  # threads decode a few frames ahead


def test_out_of_order_and_again_gives_the_same_pictures(three_seconds, frames):
    images = video_frames(three_seconds, fps=None)
    for index in (29, 0, 0, 17, 16, 15, 29, 7, 8, 9, 8, 28):
        np.testing.assert_array_equal(images[index].read(), frames[index])


def test_frames_that_wait_are_few_and_the_file_is_closed_after_the_last(three_seconds, frames):
    images = video_frames(three_seconds, fps=None)
    np.testing.assert_array_equal(images[20].read(), frames[20])
    assert len(decoder(images)._passed) <= 8
    assert decoder(images)._container is not None
    images = video_frames(three_seconds)
    assert indices(images, frames) == [0, 10, 20]
    assert decoder(images)._container is None
    assert indices(images, frames) == [0, 10, 20]
    images = video_frames(three_seconds)
    for index in (0, 2, 1):  # as threads may read them
        images[index].read()
    assert decoder(images)._container is None


def test_threads_may_read_at_once(three_seconds, frames):
    images = video_frames(three_seconds, fps=None)
    together = threading.Barrier(8)

    def read(index):
        if index < 8:
            together.wait()
        return images[index].read()

    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_array_equal(list(pool.map(read, range(30))), frames)


def test_preprocess_takes_the_frames(three_seconds, frames):
    images = video_frames(three_seconds)
    views = preprocess(images, process_res=28)
    expected = preprocess(list(frames[::10]), process_res=28)
    np.testing.assert_array_equal(views.images, expected.images)
    np.testing.assert_array_equal(views.image_sizes, [[24, 32]] * 3)


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_rotation_and_mirroring_in_the_file_are_applied(tmp_path, name, rotation, hflip):
    frames = frames_of(2)
    path = write_video(tmp_path / name, frames, rotation=rotation, hflip=hflip)
    upright = [np.rot90(frame, rotation // 90)[:, :: -1 if hflip else 1] for frame in frames]
    pictures = [image.read() for image in video_frames(path, fps=None)]
    assert len(pictures) == 2
    for picture, expected in zip(pictures, upright, strict=True):
        np.testing.assert_array_equal(picture, expected)
        assert picture.flags.c_contiguous


def test_a_phones_quarter_turn_in_the_track_header_is_applied(tmp_path):
    frames = frames_of(2)
    path = write_video(tmp_path / "a.mp4", frames)
    content = path.read_bytes()
    upright = np.array([1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30], ">i4").tobytes()
    turned = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 24 << 16, 0, 1 << 30], ">i4").tobytes()  # x down, y to the left
    header = content.index(b"tkhd")
    at = content.index(upright, header)
    path.write_bytes(content[:at] + turned + content[at + 36 :])
    np.testing.assert_array_equal(video_frames(path)[0].read(), np.rot90(frames[0], -1))


@pytest.mark.parametrize(("height", "width"), [(23, 31), (1, 1), (17, 40), (40, 17)])
@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.mp4", "libx264rgb")])
def test_odd_sizes(tmp_path, name, codec, height, width):
    frames = frames_of(3, height, width)
    assert indices(video_frames(write_video(tmp_path / name, frames, codec=codec), fps=None), frames) == [0, 1, 2]


def test_one_frame_is_a_video(tmp_path):
    frames = frames_of(1)
    for name in ("a.mp4", "a.mkv"):
        path = write_video(tmp_path / name, frames)
        for fps in (None, 0.1, 1, 1000):
            assert indices(video_frames(path, fps=fps), frames) == [0]


def test_sound_is_passed_over(tmp_path):
    frames = frames_of(20)
    path = write_video(tmp_path / "a.mp4", frames, sound=True)
    assert indices(video_frames(path, fps=None), frames) == list(range(20))


def test_an_animated_gif_is_a_video(tmp_path):
    frames = [np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=[500, 1500, 500])
    assert indices(video_frames(tmp_path / "a.gif"), frames) == [0, 1, 2]  # at 0, 1 and 2 seconds


@pytest.mark.parametrize(
    ("space", "height", "expected"),
    [
        (1, 64, (226, 66, 18)),  # BT.709
        (6, 64, (211, 52, 20)),  # BT.601
        (2, 64, (211, 52, 20)),  # unsaid, and small
        (2, 720, (226, 66, 18)),  # unsaid, and large
        (3, 64, (211, 52, 20)),  # reserved
    ],
)
def test_colours_are_converted_as_the_file_says(tmp_path, space, height, expected):
    # R = 1.164 (Y - 16) + 1.793 (V - 128) by BT.709, 1.596 (V - 128) by BT.601, and so on, for Y, U, V = 100, 90, 200.
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = height, 64, "yuv420p"
        stream.codec_context.colorspace = space
        frame = av.VideoFrame(64, height, "yuv420p")
        for plane, value in zip(frame.planes, (100, 90, 200), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.colorspace = space
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    picture = video_frames(tmp_path / "a.mkv")[0].read()
    assert np.abs(picture.astype(int) - np.array(expected)).max() <= 3


def test_the_robots_frames_are_those_that_decoding_from_the_beginning_gives():
    if not ROBOT.exists():
        pytest.skip("the video is not there")
    with av.open(str(ROBOT)) as container:
        everything = [(float(frame.pts * frame.time_base), frame) for frame in itertools.islice(container.decode(video=0), 101)]
    begin = everything[0][0]
    images = video_frames(ROBOT, end=2)
    assert len(images) == 2
    for second, image in enumerate(images):
        shown = [frame for time, frame in everything if time - begin <= second + 1e-4][-1]
        np.testing.assert_allclose(image.read(), shown.to_ndarray(format="rgb24", src_colorspace="ITU601"), atol=1)


def test_nothing_is_said_on_standard_error(tmp_path, three_seconds, capfd):
    content = three_seconds.read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[:-100] + bytes(100))
    for path in (three_seconds, tmp_path / "a.mp4"):
        try:
            for image in video_frames(path, fps=None):
                image.read()
        except (OSError, ValueError):
            pass
    assert capfd.readouterr() == ("", "")


def test_a_window_ends_the_reading_of_the_file(tmp_path):
    frames = frames_of(100)
    path = write_video(tmp_path / "a.mp4", frames, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))  # the second half is lost
    assert indices(video_frames(path, end=3, fps=None), frames) == list(range(30))


# Cut off and damaged.


@pytest.mark.parametrize("share", [0.4, 0.63, 0.8])
@pytest.mark.parametrize(
    ("name", "container_options", "known"),
    [
        ("a.mp4", {"movflags": "faststart"}, True),
        ("a.mkv", {}, True),
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}, False),  # cut between two frames, it looks like a whole one
        ("a.flv", {}, True),
    ],
    ids=["mp4", "mkv", "fragmented mp4", "flv"],
)
def test_a_video_cut_off_gives_the_frames_before_the_cut_and_a_warning(tmp_path, caplog, name, container_options, known, share):
    frames = frames_of(50)
    codec = "libx264" if name == "a.flv" else "libx264rgb"
    path = write_video(tmp_path / name, frames, codec=codec, container_options=container_options, options={"g": "5", "bf": "0"}, rate=5)
    truth = decoded(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    images = video_frames(path, fps=None)
    pictures = np.stack([image.read() for image in images])
    assert 50 * share / 2 < len(images) < 50
    np.testing.assert_array_equal(pictures, truth[: len(images)])
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if known or messages:
        (message,) = messages
        assert re.search(rf"{name} may be cut off or damaged \(.*\); it has {len(images)} frames of [0-9.]+ seconds$", message)


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_video_with_frames_in_another_order_cut_off_gives_those_before_the_cut(tmp_path, share):
    content = write_video(
        tmp_path / "a.mp4",
        frames_of(40, seed=1),
        codec="libx264",
        container_options={"movflags": "faststart"},
        options={"bf": "2", "b_strategy": "0"},
    ).read_bytes()
    truth = decoded(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(content[: int(share * len(content))])
    images = video_frames(tmp_path / "a.mp4", fps=None)
    pictures = [image.read() for image in images]
    assert 5 < len(pictures) < 40
    for picture, expected in zip(pictures[:-3], truth, strict=False):  # the last ones may lack one that is shown before them
        np.testing.assert_array_equal(picture, expected)


def test_a_video_cut_off_before_its_index_is_refused(tmp_path, three_seconds):
    (tmp_path / "a.mp4").write_bytes(three_seconds.read_bytes()[:-200])
    with pytest.raises(OSError, match=r"a.mp4 is not a video that can be read, or it is cut off or damaged: Invalid data found"):
        video_frames(tmp_path / "a.mp4")


def test_a_frame_that_cannot_be_decoded_is_the_one_before_it_and_a_warning_says_so_once(tmp_path, caplog):
    frames = frames_of(12)
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1", options={"g": "1", "slicecrc": "1"})
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    for broken in (5, 9):
        content = content.replace(packets[broken], bytes([255]) * len(packets[broken]))
    path.write_bytes(content)
    images = video_frames(path, fps=None)
    assert indices(images, frames) == [0, 1, 2, 3, 4, 4, 6, 7, 8, 8, 10, 11]
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "a.mkv is damaged at 0.500 seconds: the frame beside it is taken instead, and so for any other that cannot be decoded"
    )


def test_a_video_of_which_nothing_can_be_decoded_is_refused_when_it_is_read(tmp_path):
    path = write_video(tmp_path / "a.mkv", frames_of(2), codec="ffv1", options={"g": "1"})
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    for packet in packets:
        content = content.replace(packet, bytes([255]) * len(packet))
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"a.mkv: no frame can be decoded at 0.000 seconds; the file is damaged there$"):
        video_frames(path)[0].read()


def test_where_the_first_frame_cannot_be_decoded_it_is_the_one_after(tmp_path):
    frames = frames_of(3)
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1", options={"g": "1"})
    with av.open(str(path)) as container:
        packet = bytes(next(container.demux(video=0)))
    path.write_bytes(path.read_bytes().replace(packet, bytes([255]) * len(packet)))
    assert indices(video_frames(path, fps=None), frames) == [1, 1, 2]


def test_a_file_that_goes_away_is_one_sentence_and_the_next_reading_begins_afresh(tmp_path, three_seconds, frames):
    path = tmp_path / "a.mp4"
    path.write_bytes(three_seconds.read_bytes())
    images = video_frames(path)
    path.rename(tmp_path / "b.mp4")
    with pytest.raises(FileNotFoundError, match=r"a.mp4 does not exist$"):
        images[1].read()
    (tmp_path / "b.mp4").rename(path)
    np.testing.assert_array_equal(images[1].read(), frames[10])


def test_a_file_that_is_replaced_is_refused(tmp_path, three_seconds):
    path = tmp_path / "a.mkv"
    write_video(path, frames_of(3), codec="ffv1")
    images = video_frames(path)
    write_video(path, frames_of(3), codec="ffv1", times=[7000, 7100, 7200])
    with pytest.raises(OSError, match=r"a.mkv is not the file any more whose frames were looked up; it should not change while"):
        images[0].read()


# Refused.


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.avi", ValueError, r"a.avi has 0 frames that can be decoded; it should be a video with at least one$"),
        ("a.mp4", ValueError, r"a.mp4 has no video in it; it should be a file with a video stream$"),
        ("a.mkv", OSError, r"a.mkv is not a video that can be read, or it is cut off or damaged: End of file$"),
    ],
)
def test_a_video_without_frames_is_refused(tmp_path, name, error, message):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv420p"
        container.start_encoding()
    with pytest.raises(error, match=message):
        video_frames(tmp_path / name)


def test_a_file_with_sound_only_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        silence.rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"a.mp4 has no video in it, only audio; it should be a file with a video stream$"):
        video_frames(tmp_path / "a.mp4")


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.mp4 does not exist$"):
        video_frames(tmp_path / "nowhere.mp4")
    with pytest.raises(IsADirectoryError, match=r"is a folder, not a video; da3jax.inputs.list_images gives the images in a folder$"):
        video_frames(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a video", bytes(1000)])
def test_what_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(OSError, match=r"a.mp4 is not a video that can be read, or it is cut off or damaged: "):
        video_frames(tmp_path / "a.mp4")


def test_a_picture_is_no_video(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"a.png is not a video that can be read"):
        video_frames(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "playlist"),
    [
        ("a.mp4", "ffconcat version 1.0\nfile {}\n"),
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"),
    ],
)
def test_a_list_of_other_files_is_no_video(tmp_path, three_seconds, name, playlist):
    (tmp_path / "b.mp4").write_bytes(three_seconds.read_bytes())
    (tmp_path / name).write_text(playlist.format("b.mp4"))
    with pytest.raises(OSError, match=rf"{name} is not a video that can be read"):
        video_frames(tmp_path / name)


def test_a_name_that_looks_like_an_address_is_a_file(tmp_path, monkeypatch, three_seconds, frames):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("concat:b.mp4").write_bytes(three_seconds.read_bytes())
    assert indices(video_frames("concat:b.mp4"), frames) == [0, 10, 20]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "^fps is 0; it is a positive number of frames a second, or None for every frame$"),
        ({"fps": -1.5}, "^fps is -1.5; it is a positive number"),
        ({"fps": float("nan")}, "^fps is nan; it is a number, in frames a second, or None for every frame$"),
        ({"fps": float("inf")}, "^fps is inf; it is a number"),
        ({"fps": "2"}, "^fps is '2'; it is a number"),
        ({"fps": True}, "^fps is True; it is a number"),
        ({"start": -1}, "^start is -1; it is in seconds from the beginning, 0 or more$"),
        ({"start": "1"}, "^start is '1'; it is a number, in seconds$"),
        ({"end": float("nan")}, "^end is nan; it is a number, in seconds$"),
        ({"start": 2, "end": 2}, "^end is 2 and start is 2; end is in seconds and later than start$"),
        ({"end": 0}, "^end is 0 and start is 0; end is in seconds and later than start$"),
        ({"start": 3}, r"a.mp4 has no frame from 3 on; it has 30 in the first 3.000 seconds, and start and end should enclose one$"),
        (
            {"start": 0.11, "end": 0.12, "fps": None},
            r"a.mp4 has no frame from 0.11 to 0.12 seconds; it has \d+ in the first \d.\d+ seconds",
        ),
    ],
)
def test_an_option_out_of_range_is_refused(three_seconds, options, message):
    with pytest.raises(ValueError, match=message):
        video_frames(three_seconds, **options)
