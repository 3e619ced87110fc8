"""`da3jax auto` without INPUT: what it renders, what it says of the errors."""

import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from da3jax.cli import app
from da3jax.cli.rendered import as_table, errors, picture_size
from da3jax.geometry import rays_from_cameras
from da3jax.training.scenes.render import RenderedViews
from da3jax.types import Prediction


def call(*arguments):
    return CliRunner().invoke(app, ["auto", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ((), (4, 84, 112)),
        (("--process-res", 60), (4, 42, 56)),
        (("--process-res", 42, "--process-res-method", "lower_bound_resize"), (4, 42, 56)),
    ],
)
def test_without_input_a_scene_is_rendered_at_the_networks_size_or_as_told(tmp_path, options, shape):
    done = call("--export-dir", tmp_path, "--export-format", "npz", *options)
    assert done.exit_code == 0, done.stderr
    with np.load(tmp_path / "exports/npz/results.npz") as arrays:
        assert arrays["depth"].shape == shape
    assert "da3-tiny is used" in done.stderr
    assert re.search(r"depth, after one scale +AbsRel 0\.\d+", done.stderr)
    assert all(f"cameras by the {part}" in done.stderr for part in ("head", "rays"))


def test_pictures_are_three_to_four_and_the_side_that_is_told_is_the_longer_or_the_shorter():
    assert [picture_size(side, shorter=False) for side in (112, 60, 504, 1)] == [(84, 112), (42, 56), (378, 504), (14, 14)]
    assert [picture_size(side, shorter=True) for side in (84, 42, 378, 1)] == [(84, 112), (42, 56), (378, 504), (14, 14)]


@pytest.mark.integration
def test_a_network_without_cameras_in_a_folder_of_any_name_has_errors_of_depth_alone(released_dir, tmp_path, monkeypatch):
    shutil.copytree(released_dir.parent / "single_view", tmp_path / "da3-tiny")
    monkeypatch.chdir(tmp_path)
    done = call("--export-format", "npz", "--model-dir", "da3-tiny", "--process-res", 56)
    assert done.exit_code == 0, done.stderr
    assert "render 4 views of 56 × 42" in done.stderr
    assert "da3-tiny is used" not in done.stderr
    assert "AbsRel" in done.stderr
    assert "cameras by" not in done.stderr


def test_markers_are_not_looked_for_in_a_rendered_scene(tmp_path):
    done = call("--export-dir", tmp_path, "--aruco-size", 0.1)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the rendered scene has none; name an INPUT" in done.stderr
    assert not list(tmp_path.iterdir())


def test_independent_views_make_no_model_and_nothing_is_rendered_for_it(tmp_path):
    done = call("--export-dir", tmp_path / "out", "--independent", "--export-format", "colmap")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "export format 'colmap' needs the cameras of all views in one world" in done.stderr
    assert "render 4 views" not in done.stderr


def cells(table):
    names, values = ([*column.cells] for column in table.columns)
    return dict(zip(names, values, strict=True))


def test_errors_are_those_of_the_prediction():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 3, (2, 28, 42)).astype(np.float32)
    extrinsics = np.tile(np.eye(3, 4, dtype=np.float32), (2, 1, 1))
    extrinsics[1, 0, 3] = -1
    turned = extrinsics.copy()
    turned[1, :, :3] = [[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]]
    intrinsics = np.tile(np.float32([[40, 0, 21], [0, 40, 14], [0, 0, 1]]), (2, 1, 1))
    sky = np.zeros(depth.shape, bool)
    sky[:, :4] = True
    truth = RenderedViews(None, np.where(sky, 0, depth), sky, None, None, extrinsics, intrinsics)
    ray = np.asarray(rays_from_cameras(extrinsics, intrinsics, (28, 42)))
    prediction = Prediction(
        depth=2 * depth, extrinsics=turned, intrinsics=intrinsics, ray=ray, ray_conf=np.ones(ray.shape[:-1], np.float32)
    )
    found = cells(as_table(errors(prediction, truth, decoded=True, independent=False), scales="one scale"))
    assert found["depth, after one scale"] == "AbsRel 0.000, δ1 1.000"
    assert "median 11.5° off, over 1 pairs" in found["cameras by the head"]
    assert found["cameras by the rays"].startswith("AUC@30 100.0, median 0.0° off")
    assert "cameras by the head" not in errors(prediction, truth, decoded=False, independent=False)


def test_independent_views_have_a_scale_each():
    depth = np.random.default_rng(0).uniform(1, 3, (2, 28, 42)).astype(np.float32)
    truth = RenderedViews(None, depth, np.zeros(depth.shape, bool), None, None, None, None)
    prediction = Prediction(depth=depth * np.float32([[[1.0]], [[3.0]]]))
    together, apart = (errors(prediction, truth, decoded=True, independent=independent) for independent in (False, True))
    assert together["depth"]["abs_rel"] > 0.1
    np.testing.assert_allclose(apart["depth"]["abs_rel"], 0, atol=1e-6)
    assert cells(as_table(apart, scales="one scale a view"))["depth, after one scale a view"] == "AbsRel 0.000, δ1 1.000"
