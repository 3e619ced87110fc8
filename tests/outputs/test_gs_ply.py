"""Gaussians in files that splatting programs read, opened with a reader that is not ours."""

import dataclasses

import numpy as np
import plyfile
import pytest

from da3jax.outputs import export
from da3jax.types import Gaussians
from tests.outputs.conftest import HEIGHT, WIDTH

FIELDS = [*"xyz", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(24)), "opacity"]
FIELDS += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
ALL = {"gs_trim_border": 0, "gs_depth_quantile": 1, "gs_min_opacity": 0}
"""Options that leave nothing out."""


def read(path):
    """The fields by name, and that they are what splatting programs expect."""
    ply = plyfile.PlyData.read(path)
    assert [element.name for element in ply.elements] == ["vertex"]
    assert not ply.text
    assert ply.byte_order == "<"
    assert {str(ply["vertex"].data.dtype[name]) for name in ply["vertex"].data.dtype.names} == {"float32"}
    return ply["vertex"].data


def columns(vertices, name, count):
    return np.stack([vertices[f"{name}_{i}"] for i in range(count)], axis=-1)


def places(vertices):
    return np.stack([vertices[axis] for axis in "xyz"], axis=-1)


def test_every_field_comes_back_in_the_standard_order(with_gaussians, tmp_path):
    (path,) = export(with_gaussians, "gs_ply", tmp_path, **ALL)
    assert path == tmp_path / "gs_ply" / "0000.ply"
    found, truth = read(path), with_gaussians.gaussians
    assert list(found.dtype.names) == FIELDS
    count = 2 * HEIGHT * WIDTH
    assert len(found) == count
    np.testing.assert_array_equal(places(found), truth.means.reshape(count, 3))
    np.testing.assert_array_equal(np.stack([found[f"n{axis}"] for axis in "xyz"]), 0)
    np.testing.assert_array_equal(columns(found, "f_dc", 3), truth.harmonics[..., 0].reshape(count, 3))
    np.testing.assert_array_equal(columns(found, "f_rest", 24).reshape(count, 3, 8), truth.harmonics[..., 1:].reshape(count, 3, 8))
    np.testing.assert_allclose(1 / (1 + np.exp(-found["opacity"])), truth.opacities.ravel(), rtol=1e-5)
    np.testing.assert_allclose(np.exp(columns(found, "scale", 3)), truth.scales.reshape(count, 3), rtol=1e-5)
    np.testing.assert_array_equal(columns(found, "rot", 4), truth.rotations.reshape(count, 4))


@pytest.mark.parametrize(("degree", "terms"), [(0, 0), (1, 3), (2, 8), (3, 15)])
def test_the_degree_says_how_many_harmonics_each_colour_has(with_gaussians, tmp_path, degree, terms):
    (path,) = export(with_gaussians, "gs_ply", tmp_path, gs_sh_degree=degree, **ALL)
    found = read(path)
    assert sum(name.startswith("f_rest_") for name in found.dtype.names) == 3 * terms
    truth = with_gaussians.gaussians.harmonics.reshape(-1, 3, 9)
    np.testing.assert_array_equal(columns(found, "f_dc", 3), truth[..., 0])
    if terms:
        rest = columns(found, "f_rest", 3 * terms).reshape(-1, 3, terms)
        np.testing.assert_array_equal(rest[..., :8], truth[..., 1 : 1 + terms])
        np.testing.assert_array_equal(rest[..., 8:], 0)


def test_borders_and_the_farthest_of_each_view_are_left_out(with_gaussians, tmp_path):
    (path,) = export(with_gaussians, "gs_ply", tmp_path, gs_trim_border=0.1)
    depth, means = with_gaussians.depth, with_gaussians.gaussians.means
    inside = np.zeros(depth.shape, bool)
    inside[:, 2:-2, 3:-3] = True
    keep = inside & (depth <= np.quantile(depth.reshape(2, -1), 0.9, axis=1)[:, None, None])
    assert 0 < keep[0].sum() != keep[1].sum() > 0
    np.testing.assert_array_equal(places(read(path)), means[keep])


def test_a_border_of_less_than_a_pixel_leaves_all(with_gaussians, tmp_path):
    (path,) = export(with_gaussians, "gs_ply", tmp_path, gs_depth_quantile=1)  # 8 / 256 of 20 and 30 pixels
    assert len(read(path)) == 2 * HEIGHT * WIDTH


def test_what_is_not_there_is_left_out(with_gaussians, tmp_path):
    gaussians, depth = with_gaussians.gaussians, with_gaussians.depth
    sky = np.zeros(depth.shape, bool)
    sky[0, :5] = True
    depth[0, :5] = 1e9  # of which the quantile does not hear
    depth[0, 6, :3] = np.nan, np.inf, -1
    gaussians.means[0, 7, 0, 1] = np.nan
    gaussians.scales[0, 7, 1, 2] = -0.01
    gaussians.scales[0, 7, 2, 0] = np.inf
    gaussians.rotations[0, 7, 3, 0] = np.nan
    gaussians.harmonics[0, 7, 4, 2, 8] = np.inf
    gaussians.opacities[0, 7, 5:7] = np.nan, 1 / 256
    (path,) = export(dataclasses.replace(with_gaussians, sky=sky), "gs_ply", tmp_path, gs_trim_border=0, gs_depth_quantile=0.5)
    keep = np.ones(depth.shape, bool)
    keep[0, :5] = keep[0, 6, :3] = False
    for view in range(2):
        keep[view] &= depth[view] <= np.median(depth[view][keep[view]])
    keep[0, 7, :7] = False
    np.testing.assert_array_equal(places(read(path)), gaussians.means[keep])
    assert all(np.isfinite(read(path)[name]).all() for name in FIELDS)


def test_opacities_of_0_and_1_are_finite(with_gaussians, tmp_path):
    with_gaussians.gaussians.opacities[0, 0, :2] = 0, 1
    (path,) = export(with_gaussians, "gs_ply", tmp_path, **ALL)
    logits = read(path)["opacity"]
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[:2], [-24 * np.log(2), 24 * np.log(2)], rtol=1e-5)


@pytest.mark.parametrize(("views", "interval", "chosen"), [(5, 2, [0, 2, 4]), (30, None, range(0, 30, 2)), (5, None, range(5))])
def test_gaussians_of_some_views_can_be_left_out(with_gaussians, tmp_path, views, interval, chosen):
    def repeated(x):
        return np.repeat(x[:1], views, axis=0)

    gaussians = Gaussians(**{name: repeated(value) for name, value in vars(with_gaussians.gaussians).items()})
    gaussians.means[..., 0] = np.arange(views)[:, None, None]
    many = dataclasses.replace(
        with_gaussians,
        gaussians=gaussians,
        **{name: repeated(getattr(with_gaussians, name)) for name in ("depth", "extrinsics", "intrinsics", "processed_images")},
    )
    (path,) = export(many, "gs_ply", tmp_path, gs_views_interval=interval)
    np.testing.assert_array_equal(np.unique(read(path)["x"]), chosen)


def test_independent_images_have_a_file_each(with_gaussians, tmp_path, caplog):
    alone = dataclasses.replace(with_gaussians, extrinsics=None)
    first, second = export(alone, "gs_ply", tmp_path / "both", **ALL)
    assert [path.name for path in (first, second)] == ["0000.ply", "0001.ply"]
    for path, means in zip((first, second), with_gaussians.gaussians.means, strict=True):
        np.testing.assert_array_equal(places(read(path)), means.reshape(-1, 3))
    with_gaussians.depth[0] = np.nan
    (only,) = export(alone, "gs_ply", tmp_path / "one", **ALL)
    assert only.name == "0001.ply"
    assert "gs_ply/0000.ply is left out: no Gaussian of image 0 is left" in caplog.text
    assert not (tmp_path / "one" / "gs_ply" / "0000.ply").exists()
    assert "earlier export" not in caplog.text
    export(alone, "gs_ply", tmp_path / "both", **ALL)
    assert "no Gaussian of image 0 is left; what lies there is of an earlier export" in caplog.text


def test_no_gaussian_at_all_is_refused(with_gaussians, prediction, tmp_path):
    with pytest.raises(ValueError, match=r"^gs_ply would be empty: no Gaussian is finite, in front of its camera, no sky, and within"):
        export(dataclasses.replace(with_gaussians, sky=np.ones(prediction.depth.shape, bool)), "gs_ply", tmp_path)
    with pytest.raises(
        ValueError, match=r"^export format 'gs_ply' needs Gaussians, and the prediction has none; infer_gs=True of inference"
    ):
        export(prediction, "npz-gs_ply", tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gs_sh_degree": 4}, "^gs_sh_degree is 4; it is 0, 1, 2 or 3$"),
        ({"gs_trim_border": 0.5}, r"^gs_trim_border is 0\.5; it is at least 0 and less than 0\.5$"),
        ({"gs_depth_quantile": 0}, "^gs_depth_quantile is 0; it is more than 0 and at most 1$"),
        ({"gs_depth_quantile": float("nan")}, "^gs_depth_quantile is nan; it is more than 0 and at most 1$"),
        ({"gs_min_opacity": -1}, "^gs_min_opacity is -1; it is between 0 and 1$"),
        ({"gs_views_interval": 0}, "^gs_views_interval is 0; it is a whole number, at least 1, or None for about 12 views$"),
    ],
)
def test_an_option_out_of_range_is_refused(with_gaussians, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(with_gaussians, "gs_ply", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("degree", [0, 2, 3])
def test_a_view_of_sky_alone_has_no_gaussians_and_the_others_have_theirs(with_gaussians, tmp_path, degree):
    sky = np.zeros(with_gaussians.depth.shape, bool)
    sky[0] = True
    (path,) = export(dataclasses.replace(with_gaussians, sky=sky), "gs_ply", tmp_path, gs_sh_degree=degree, **ALL)
    np.testing.assert_array_equal(places(read(path)), with_gaussians.gaussians.means[1].reshape(-1, 3))
