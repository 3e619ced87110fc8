"""Videos that we write are decoded again, picture by picture."""

import av
import numpy as np
import pytest

from da3jax.outputs import mp4
from da3jax.outputs.mp4 import encode_mp4


@pytest.fixture
def pictures():
    blocks = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 3), dtype=np.uint8)
    return blocks.repeat(16, axis=1).repeat(16, axis=2)


def decoded(content, path):
    path.write_bytes(content)
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def middles(pictures):
    """The colours of the 16 × 16 blocks, away from their edges, whose colour 4:2:0 blurs."""
    return np.asarray(pictures)[:, 8::16, 8::16].astype(int)


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_every_picture_is_decoded_again_in_its_colours(tmp_path, monkeypatch, pictures, encoder):
    monkeypatch.setattr(mp4, "_ENCODERS", {"not_an_encoder": {}, encoder: mp4._ENCODERS[encoder]})
    found = decoded(encode_mp4(pictures, 15), tmp_path / "a.mp4")
    assert found.shape == pictures.shape
    assert np.abs(middles(found) - middles(pictures)).max() <= 12
    assert np.abs(middles(found) - middles(pictures)).mean() <= 2


def test_it_is_what_every_player_plays(tmp_path, pictures):
    (tmp_path / "a.mp4").write_bytes(encode_mp4(pictures, 15))
    with av.open(str(tmp_path / "a.mp4")) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate, stream.frames) == ("h264", "yuv420p", 15, 12)
        assert float(stream.duration * stream.time_base) == pytest.approx(12 / 15)
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_range) == (1, 1, 1)  # BT.709, limited


@pytest.mark.parametrize("fps", [0.1, 1, 12, 29.97, 1000])
def test_so_many_pictures_a_second(tmp_path, pictures, fps):
    (tmp_path / "a.mp4").write_bytes(encode_mp4(pictures, fps))
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(12) / fps, rtol=1e-6)


@pytest.mark.parametrize("shape", [(33, 47), (32, 47), (33, 48), (1, 1), (2, 2)])
def test_odd_sides_grow_by_what_is_at_the_edge(tmp_path, shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    smooth = np.stack([3 * rows + 60, 2 * columns + 80, 250 - rows - columns], axis=-1).astype(np.uint8)
    found = decoded(encode_mp4([smooth] * 2, 15), tmp_path / "a.mp4")
    grown = np.pad(smooth, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), "edge")
    assert found.shape == (2, *grown.shape)
    assert np.abs(found.astype(int) - grown).max() <= 12


def test_one_picture_is_a_video(tmp_path, pictures):
    assert len(decoded(encode_mp4(pictures[:1], 15), tmp_path / "a.mp4")) == 1


def test_the_same_pictures_give_the_same_bytes(pictures):
    encoded = encode_mp4(pictures, 15)
    assert encoded == encode_mp4(iter(pictures), 15)
    assert b" mbtree=0 " in encoded  # with it, one in 50 encodings was another


def test_no_encoder_is_one_sentence(monkeypatch, pictures):
    monkeypatch.setattr(mp4, "_ENCODERS", {"not_an_encoder": {}, "nor_this": {}})
    message = r"^a video cannot be encoded: this build of FFmpeg has none of not_an_encoder, nor_this; pip install av brings one that has$"
    with pytest.raises(OSError, match=message):
        encode_mp4(pictures, 15)


def test_an_encoder_that_fails_is_one_sentence(monkeypatch, pictures):
    monkeypatch.setattr(mp4, "_ENCODERS", {"libx264": {"preset": "not a preset"}})
    with pytest.raises(OSError, match=r"^a video cannot be encoded by libx264: "):
        encode_mp4(pictures, 15)


def test_nothing_is_said_on_standard_error(pictures, capfd):
    encode_mp4(pictures, 15)
    assert capfd.readouterr() == ("", "")
