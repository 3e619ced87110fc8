import dataclasses

import av
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from da3jax import to_native
from da3jax.outputs import export
from da3jax.outputs.feat_vis import colour_features
from da3jax.types import Prediction


@pytest.fixture
def features():
    """(2, 4, 6, 16): three components of falling strength, and a little noise."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(16, 3)))[0]
    scores = rng.normal(size=(2, 4, 6, 3)) * [9, 4, 2]
    return (scores @ axes.T + 5 + 0.01 * rng.normal(size=(2, 4, 6, 16))).astype(np.float32)


def with_features(prediction, **layers):
    return dataclasses.replace(prediction, aux={f"feat_{name}": value for name, value in layers.items()})


def test_colours_are_the_principal_components_between_their_tenth_and_ninetieth_percentile(features):
    tokens = features.reshape(-1, 16).astype(np.float64)
    tokens = tokens - tokens.mean(axis=0)
    _, _, axes = np.linalg.svd(tokens)
    expected = np.empty((len(tokens), 3))
    for channel, axis in enumerate(axes[:3]):
        scores = tokens @ axis * np.sign(axis[np.abs(axis).argmax()])
        low, high = np.percentile(scores, (10, 90))
        expected[:, channel] = 255 * np.clip((scores - low) / (high - low), 0, 1)
    assert np.abs(colour_features(features).reshape(-1, 3) - expected).max() <= 1


def test_all_views_share_the_colours(features):
    doubled = np.concatenate([features, features[::-1]])
    colours = colour_features(doubled)
    np.testing.assert_array_equal(colours[0], colours[3])
    np.testing.assert_array_equal(colours[1], colours[2])


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_any_float_type_gives_nearly_the_same_colours(features, dtype):
    assert np.abs(colour_features(features.astype(dtype)).astype(int) - colour_features(features)).max() <= 8


def test_many_tokens_are_fitted_by_evenly_spaced_ones(monkeypatch):
    many = np.random.default_rng(1).normal(size=(3, 40, 40, 8)).astype(np.float32) * [1, 9, 1, 5, 1, 1, 2.5, 1]
    exact = colour_features(many)
    monkeypatch.setattr("da3jax.outputs.feat_vis._FITTED", 1000)
    assert np.abs(colour_features(many).astype(int) - exact).mean() <= 8


def test_constant_features_are_half_lit(features):
    for value in (0, 3.3, -1e4):
        np.testing.assert_array_equal(colour_features(np.full_like(features, value)), 128)


def test_components_that_are_not_there_are_half_lit(features):
    line = features[..., :1] * np.ones(5, np.float32)
    colours = colour_features(line)
    assert colours[..., 0].std() > 50
    np.testing.assert_array_equal(colours[..., 1:], 128)
    np.testing.assert_array_equal(colour_features(features[..., :2])[..., 2], 128)
    assert colour_features(features[..., :2])[..., :2].std() > 50


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tokens_that_are_not_finite_are_grey_and_change_no_other(features, value):
    marked = np.concatenate([features, features[:, :1]], axis=1)
    marked[:, -1, :, 3] = value
    colours = colour_features(marked)
    np.testing.assert_array_equal(colours[:, -1], 128)
    np.testing.assert_array_equal(colours[:, :-1], colour_features(features))
    np.testing.assert_array_equal(colour_features(np.full_like(features, value)), 128)


def test_a_picture_is_the_photograph_beside_its_features_each_token_a_block(prediction, features, tmp_path):
    paths = export(with_features(prediction, layer_10=features, layer_9=features[..., ::-1]), "feat_vis", tmp_path)
    names = [f"layer_{layer}{end}" for layer in (9, 10) for end in ("/0000.png", "/0001.png", ".mp4")]
    assert [str(path.relative_to(tmp_path / "feat_vis")) for path in paths] == names
    for view, path in enumerate(paths[3:5]):
        picture = np.asarray(Image.open(path))
        np.testing.assert_array_equal(picture[:, :30], prediction.processed_images[view])
        np.testing.assert_array_equal(picture[:, 30:], colour_features(features)[view].repeat(5, axis=0).repeat(5, axis=1))


def test_the_video_shows_the_pictures(prediction, features, tmp_path):
    smooth = dataclasses.replace(prediction, processed_images=np.full_like(prediction.processed_images, 90))
    *pictures, video = export(with_features(smooth, layer_3=features), "feat_vis", tmp_path, feat_vis_fps=12)
    with av.open(str(video)) as container:
        assert container.streams.video[0].average_rate == 12
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    for frame, path in zip(frames, pictures, strict=True):
        picture = np.asarray(Image.open(path))
        assert frame.shape == picture.shape
        assert np.abs(frame[:, :24] - picture[:, :24]).max() <= 4
        assert np.corrcoef(frame[:, 30:].ravel(), picture[:, 30:].ravel())[0, 1] > 0.8  # 4:2:0 blurs colours over blocks this small


def test_without_photographs_it_is_the_features_alone(prediction, features, tmp_path):
    bare = dataclasses.replace(
        with_features(prediction, layer_3=features), processed_images=None, conf=None, extrinsics=None, intrinsics=None
    )
    path = export(bare, "feat_vis", tmp_path)[0]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), colour_features(features)[0].repeat(5, axis=0).repeat(5, axis=1))


def test_of_photographs_own_sizes_tokens_lie_where_the_network_saw_them(tmp_path):
    pictures = [np.full((40, 80, 3), 10, np.uint8), np.full((60, 40, 3), 200, np.uint8)]
    depth = np.ones((2, 14, 14), np.float32)
    # The middle of the first, at 14 / 40 of its size, and the whole of the second.
    changes = np.array([[[0.35, 0, -7], [0, 0.35, 0], [0, 0, 1]], [[14 / 40, 0, 0], [0, 14 / 60, 0], [0, 0, 1]]])
    sizes = np.array([picture.shape[:2] for picture in pictures])
    tokens = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1)
    native = to_native(Prediction(depth, from_image=changes, image_sizes=sizes, aux={"feat_layer_3": tokens}), pictures)
    first, second, _ = export(native, "feat_vis", tmp_path)
    colours = colour_features(tokens)
    first, second = (np.asarray(Image.open(path)) for path in (first, second))
    assert first.shape == (40, 160, 3)
    np.testing.assert_array_equal(first[:, 80:100], 128)
    np.testing.assert_array_equal(first[:, 100:140], np.broadcast_to(colours[0], (40, 40, 3)))
    np.testing.assert_array_equal(first[:, 140:], 128)
    assert second.shape == (60, 80, 3)
    np.testing.assert_array_equal(second[:, 40:], np.broadcast_to(colours[1], (60, 40, 3)))


@pytest.mark.parametrize("aux", [{}, {"metric_depth": np.ones((2, 20, 30), np.float32)}])
def test_without_features_it_is_refused_and_says_how_to_get_them(prediction, tmp_path, aux):
    message = (
        r"^export format 'feat_vis' needs features, and the prediction has none; export_feat_layers \(--export-feat on the command line\) "
        r"asks for those of the blocks that it names$"
    )
    with pytest.raises(ValueError, match=message):
        export(dataclasses.replace(prediction, aux=aux), "npz-feat_vis", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [(4, 6, 16), (3, 4, 6, 16), (2, 4, 0, 16)])
def test_features_of_another_shape_are_refused(prediction, tmp_path, shape):
    with pytest.raises(ValueError, match=r"^feat_layer_3 has the shape .*; for 2 views it is \(2, h, w, C\), none of them 0$"):
        export(with_features(prediction, layer_3=np.zeros(shape, np.float32)), "feat_vis", tmp_path / "out")
    assert not (tmp_path / "out").exists()
