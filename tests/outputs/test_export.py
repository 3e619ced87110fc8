import dataclasses
import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.outputs import FORMATS, check_formats, export
from da3jax.types import Gaussians, LazyImage

PLAIN = tuple(name for name in FORMATS if name != "rerun")
"""Rerun is an extra, and its numbering of rows is never the same twice: tests/outputs/test_rerun.py."""

FILES = {
    "npz": ["exports/npz/results.npz"],
    "mini_npz": ["exports/mini_npz/results.npz"],
    "depth_vis": ["depth_vis/0000.jpg", "depth_vis/0001.jpg"],
    "depth_png16": ["depth_png16/0000.png", "depth_png16/0001.png", "depth_png16/scale.json"],
    "glb": ["scene.glb"],
    "ply": ["points.ply"],
    "mesh": ["mesh.glb", "mesh.ply"],
    "colmap": [f"colmap/sparse/0/{name}.bin" for name in ("cameras", "images", "points3D")],
    "nerfstudio": ["nerfstudio/sparse_pc.ply", "nerfstudio/transforms.json"],
    "video": ["video/depth.mp4", "video/side_by_side.mp4"],
    "feat_vis": ["feat_vis/layer_2/0000.png", "feat_vis/layer_2/0001.png", "feat_vis/layer_2.mp4"],
    "gs_ply": ["gs_ply/0000.ply"],
}


@pytest.fixture
def prediction(with_gaussians):
    """What every format can be made of."""
    features = np.random.default_rng(3).normal(size=(2, 2, 3, 8)).astype(np.float32)
    return dataclasses.replace(with_gaussians, aux={"feat_layer_2": features})


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_formats_are_split_at_hyphens_and_counted_once():
    assert check_formats("npz-glb-depth_vis") == ["npz", "glb", "depth_vis"]
    assert check_formats("glb-mini_npz-glb") == ["glb", "mini_npz"]


def test_an_unknown_format_is_refused_with_the_closest_and_nothing_is_written(prediction, tmp_path):
    message = f"^export format 'depth_viz' is unknown; it is one of {', '.join(FORMATS)}; did you mean 'depth_vis'[?]$"
    with pytest.raises(ValueError, match=message):
        export(prediction, "npz-depth_viz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_format_is_refused():
    with pytest.raises(ValueError, match=f"^export_format is empty; it is one or more of {', '.join(FORMATS)}, joined by hyphens$"):
        check_formats("")
    with pytest.raises(ValueError, match="export format '' is unknown"):
        check_formats("npz-")


@pytest.mark.parametrize("name", PLAIN)
def test_each_format_writes_its_files_and_says_which(prediction, tmp_path, name):
    paths = export(prediction, name, str(tmp_path))
    assert [str(path.relative_to(tmp_path)) for path in paths] == FILES[name]
    assert sorted(FILES[name]) == sorted(files(tmp_path))


def test_the_same_prediction_gives_the_same_bytes_and_other_files_stay(prediction, tmp_path):
    every = "-".join(PLAIN)
    export(prediction, every, tmp_path / "first", num_max_points=100)
    (tmp_path / "second" / "depth_vis").mkdir(parents=True)
    (tmp_path / "second" / "depth_vis" / "0007.jpg").write_text("from a longer run")
    (tmp_path / "second" / "notes.txt").write_text("mine")
    (tmp_path / "second" / "scene.glb").write_text("old")
    for _ in range(2):
        export(prediction, every, tmp_path / "second", num_max_points=100)
    others = {"depth_vis/0007.jpg": b"from a longer run", "notes.txt": b"mine"}
    assert files(tmp_path / "second") == files(tmp_path / "first") | others


def test_the_prediction_is_left_as_it_was(prediction, tmp_path):
    before = jax.tree.map(np.copy, prediction)
    export(prediction, "-".join(PLAIN), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, before, prediction)


def test_device_arrays_export_as_numpy_arrays_do(prediction, tmp_path):
    export(prediction, "-".join(PLAIN), tmp_path / "numpy")
    export(jax.tree.map(jnp.asarray, prediction), "-".join(PLAIN), tmp_path / "device")
    assert files(tmp_path / "numpy") == files(tmp_path / "device")


@pytest.mark.parametrize("name", PLAIN)
def test_a_full_disk_keeps_the_old_files_and_is_one_sentence(prediction, tmp_path, name):
    resource = pytest.importorskip("resource")
    export(prediction, name, tmp_path)
    before = files(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))  # a write beyond it fails as one on a full disk does
    try:
        with pytest.raises(OSError, match=r"^\S+ cannot be written into the folder \S+: File too large$") as caught:
            export(prediction, name, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(tmp_path) in str(caught.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_error_at_the_last_moment_keeps_the_old_files(prediction, tmp_path, monkeypatch, name, error):
    export(prediction, name, tmp_path)
    before = files(tmp_path)

    def fail(*args):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error), match="No space left on device" if isinstance(error, OSError) else None):
        export(dataclasses.replace(prediction, depth=2 * prediction.depth), name, tmp_path)
    assert files(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_refused_first(prediction, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=f"^the export folder {tmp_path}/file is a file"):
        export(prediction, "npz", tmp_path / "file")
    assert files(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_max_points": 0}, "^num_max_points is 0; it is a whole number, at least 1$"),
        ({"num_max_points": 1e3}, "^num_max_points is 1000.0; it is a whole number, at least 1$"),
        ({"num_max_points": "1000"}, "^num_max_points is '1000'; it is a whole number, at least 1$"),
        ({"num_max_points": None}, "^num_max_points is None; it is a whole number, at least 1$"),
        ({"num_max_points": True}, "^num_max_points is True; it is a whole number, at least 1$"),
        ({"mesh_max_faces": 1e6}, "^mesh_max_faces is 1000000.0; it is a whole number, at least 1$"),
        ({"gs_sh_degree": 2.0}, "^gs_sh_degree is 2.0; it is 0, 1, 2 or 3$"),
        ({"gs_views_interval": 1.5}, "^gs_views_interval is 1.5; it is a whole number, at least 1, or None for about 12 views$"),
        ({"sparse_max_points": 0}, "^sparse_max_points is 0; it is a whole number, at least 1$"),
        ({"seed": 1.5}, "^seed is 1.5; it is a whole number, at least 0$"),
        ({"seed": -1}, "^seed is -1; it is a whole number, at least 0$"),
        ({"track_tolerance": 0}, "^track_tolerance is 0; it is between 0 and 1, both excluded$"),
        ({"track_tolerance": 1.0}, "^track_tolerance is 1.0; it is between 0 and 1, both excluded$"),
        ({"video_fps": 0}, "^video_fps is 0; it is in frames a second, between 0.1 and 1000$"),
        ({"feat_vis_fps": float("nan")}, "^feat_vis_fps is nan; it is in frames a second, between 0.1 and 1000$"),
        ({"conf_thresh_percentile": "40"}, "^conf_thresh_percentile is '40'; it is between 0 and 100$"),
        ({"video_fps": None}, "^video_fps is None; it is in frames a second, between 0.1 and 1000$"),
        ({"conf_thresh_percentile": True}, "^conf_thresh_percentile is True; it is between 0 and 100$"),
        ({"conf_thresh_percentile": np.array([40.0])}, r"^conf_thresh_percentile is array\(\[40[.]\]\); it is between 0 and 100$"),
        ({"filter_sky": "no"}, "^filter_sky is 'no'; it is True or False$"),
        ({"conf_thresh_percentile": 101}, "^conf_thresh_percentile is 101; it is between 0 and 100$"),
        ({"conf_thresh_percentile": float("nan")}, "^conf_thresh_percentile is nan; it is between 0 and 100$"),
        ({"max_points": 3}, "^export option 'max_points' is unknown; it is one of .*num_max_points.*; did you mean 'num_max_points'[?]$"),
        ({"thinning": "voxels"}, "^thinning 'voxels' is unknown; it is one of voxel, random; did you mean 'voxel'[?]$"),
        ({"edge_threshold": 0.0}, "^edge_threshold is 0.0; it is a positive number, or None$"),
        ({"edge_threshold": float("nan")}, "^edge_threshold is nan; it is a positive number, or None$"),
        ({"png16_scale": float("inf")}, "^png16_scale is inf; it is a positive number, or None$"),
        ({"images": ["a.jpg", "b.jpg"]}, "^images is not a list of LazyImage; da3jax.inputs.lazy_images makes one of files, PIL images"),
        ({"images": LazyImage("a.png", lambda: None)}, "^images is not a list of LazyImage; da3jax.inputs.lazy_images makes one of"),
    ],
)
def test_an_option_out_of_range_is_refused(prediction, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(prediction, "npz", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_whole_numbers_of_numpy_are_whole_numbers(prediction, tmp_path):
    (path,) = export(prediction, "ply", tmp_path, num_max_points=np.int64(100), seed=np.uint8(3))
    assert path.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": np.ones((20, 30), np.float32)}, r"^depth has the shape \(20, 30\); it is \(N, H, W\), none of them 0$"),
        ({"depth": np.ones((0, 20, 30), np.float32)}, r"^depth has the shape \(0, 20, 30\)"),
        ({"processed_images": None}, "^export format 'glb' needs processed_images, and the prediction has none; mini_npz does without$"),
        (
            {"processed_images": np.zeros((1, 20, 30, 3), np.uint8)},
            r"^processed_images has the shape \(1, 20, 30, 3\); beside a depth of \(2, 20, 30\) it is \(2, 20, 30, 3\)$",
        ),
        ({"processed_images": np.zeros((2, 20, 30, 3))}, "^processed_images are of type float64; they are uint8$"),
        ({"conf": np.ones((2, 20, 29))}, r"^conf has the shape \(2, 20, 29\)"),
        ({"sky": np.zeros((1, 20, 30), bool)}, r"^sky has the shape \(1, 20, 30\)"),
        ({"extrinsics": np.zeros((2, 3, 3))}, r"^extrinsics has the shape .* it is \(2, 3, 4\) or \(2, 4, 4\)$"),
        ({"intrinsics": np.zeros((3, 3))}, r"^intrinsics has the shape .* it is \(2, 3, 3\)$"),
        (
            {"gaussians": Gaussians(*np.ones((4, 2, 20, 30, 3)), np.ones((2, 20, 30)))},
            r"^gaussians.rotations has the shape \(2, 20, 30, 3\); beside a depth of \(2, 20, 30\) it is \(2, 20, 30, 4\)$",
        ),
    ],
)
def test_a_prediction_that_does_not_fit_together_is_refused(prediction, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        export(dataclasses.replace(prediction, **changes), "glb", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["colmap", "nerfstudio"])
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (["extrinsics"], "no extrinsics"),
        (["intrinsics"], "no intrinsics"),
        (["intrinsics", "extrinsics"], "no intrinsics and no extrinsics"),
    ],
)
def test_a_format_that_is_its_cameras_needs_them(prediction, tmp_path, name, missing, said):
    bare = dataclasses.replace(prediction, **dict.fromkeys(missing))
    message = f"^export format '{name}' needs cameras, and the prediction has {said}; glb does without$"
    with pytest.raises(ValueError, match=message):
        export(bare, f"mini_npz-{name}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_as_many_pictures_as_views_are_wanted(prediction, tmp_path):
    images = [LazyImage("a.png", lambda: prediction.processed_images[0])]
    with pytest.raises(ValueError, match=r"^images are 1 beside a prediction of 2 views; there is one picture a view$"):
        export(prediction, "npz", tmp_path / "out", images=images)
    assert not (tmp_path / "out").exists()
