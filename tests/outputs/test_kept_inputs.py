"""What an export is made of is still there afterwards."""

import pathlib

import numpy as np
import pytest
from PIL import Image

import da3jax
from da3jax.config import PRESETS
from da3jax.inputs import lazy_images, read_nerfstudio, read_scene_colmap, video_frames
from da3jax.outputs import check_inputs_stay, export
from da3jax.types import LazyImage
from tests.outputs.rendered import render
from tests.videos import frames_of, write_video


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 100, np.uint8)).save(path)
    return path


def opened(path):
    image = Image.open(path)
    image.load()  # closes the file
    return image


def bytes_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["depth_vis", "depth_png16", "video", "feat_vis", "colmap", "nerfstudio"])
@pytest.mark.parametrize("given", [str, pathlib.Path, opened])
def test_a_photograph_in_a_folder_that_is_written_into_is_refused(tmp_path, name, given):
    path = picture(tmp_path / name / "0000.png")
    message = rf"^{path} is in {tmp_path}/{name}, which export format '{name}' writes into; what is read stays as it is; choose another "
    with pytest.raises(ValueError, match=message):
        check_inputs_stay(["glb", name], tmp_path, lazy_images([given(path)]))
    check_inputs_stay(["glb", "ply"], tmp_path, lazy_images([given(path)]))
    check_inputs_stay([name], tmp_path / "out", lazy_images([given(path)]))


def test_links_do_not_hide_it(tmp_path):
    path = picture(tmp_path / "photos" / "a.png")
    (tmp_path / "colmap").mkdir()
    (tmp_path / "colmap" / "images").symlink_to(path.parent)
    (tmp_path / "depth_vis").symlink_to(path.parent)
    with pytest.raises(ValueError, match=r"is in .*depth_vis"):
        check_inputs_stay(["depth_vis"], tmp_path, lazy_images([path]))
    with pytest.raises(ValueError, match=r"is in .*colmap"):
        check_inputs_stay(["colmap"], tmp_path, lazy_images([tmp_path / "colmap" / "images" / "a.png"]))


@pytest.mark.parametrize("name", ["colmap", "nerfstudio"])
@pytest.mark.parametrize("linked", ["folder", "symbolic", "hard"])
def test_a_photograph_is_not_replaced_by_the_copy_of_another(tmp_path, name, linked):
    first, second = picture(tmp_path / "photos" / "a.bmp"), picture(tmp_path / "photos" / "a.png")
    folder = tmp_path / name / "images"
    folder.parent.mkdir()
    if linked == "folder":
        folder.symlink_to(first.parent)
    else:
        folder.mkdir()
        (folder / "a.png").symlink_to(second) if linked == "symbolic" else (folder / "a.png").hardlink_to(second)
    before = bytes_below(tmp_path)
    message = rf"^{folder}/a\.png is a picture that is read, and the copy of {first} would replace it; choose another folder to export to$"
    with pytest.raises(ValueError, match=message):
        check_inputs_stay(["ply", name], tmp_path, lazy_images([first, second]))
    check_inputs_stay(["ply", name], tmp_path, lazy_images([first]))
    assert bytes_below(tmp_path) == before


def test_export_asks_before_the_first_format_is_written(tmp_path):
    scene = render()
    path = picture(tmp_path / "photos" / "0001.png")
    (tmp_path / "colmap").mkdir()
    (tmp_path / "colmap" / "images").symlink_to(path.parent)
    images = [*scene.images[:3], LazyImage("/data/walk/last.png", None, path)]
    before = bytes_below(tmp_path)
    with pytest.raises(ValueError, match=r"/images/0001\.png is a picture that is read, and the copy of /data/walk/0001\.png "):
        export(scene.prediction, "ply-colmap", tmp_path, images=images)
    assert bytes_below(tmp_path) == before


def test_a_picture_does_not_overwrite_what_it_is_read_from(tmp_path):
    path = picture(tmp_path / "colmap" / "images" / "2.png")
    images = [LazyImage(str(path.with_name(name)), None) for name in ("1.png", "2.png")]
    message = rf"^{path} would be overwritten by a copy of itself, compressed anew; choose another folder to export to$"
    with pytest.raises(ValueError, match=message):
        check_inputs_stay(["colmap"], tmp_path, images)


def test_what_has_no_file_is_in_nobodys_way(tmp_path):
    images = [np.zeros((6, 8, 3), np.uint8), Image.new("RGB", (8, 6)), LazyImage("depth_vis/0000.jpg", lambda: None)]
    check_inputs_stay(["depth_vis"], tmp_path, lazy_images(images))
    check_inputs_stay(["depth_vis"], tmp_path, None)


@pytest.mark.parametrize("name", ["colmap", "nerfstudio"])
def test_a_model_is_not_written_over_the_one_that_the_pictures_come_from(tmp_path, name):
    scene = render()
    export(scene.prediction, name, tmp_path, images=scene.images)
    before = bytes_below(tmp_path)
    views = {"colmap": read_scene_colmap, "nerfstudio": read_nerfstudio}[name](tmp_path / name)
    with pytest.raises(ValueError, match=f"which export format '{name}' writes into"):
        export(scene.prediction, f"ply-{name}", tmp_path, images=views.images)
    assert bytes_below(tmp_path) == before


def test_a_video_is_not_written_over_the_one_that_the_frames_come_from(tmp_path):
    path = tmp_path / "video" / "depth.mp4"
    path.parent.mkdir()
    write_video(path, frames_of(2))
    with pytest.raises(ValueError, match=f"^{path} is in .*'video' writes into"):
        check_inputs_stay(["video"], tmp_path, video_frames(path, fps=None))


@pytest.mark.parametrize("name", ["colmap", "nerfstudio"])
def test_inference_leaves_a_model_of_other_origin_before_the_network_runs(tmp_path, monkeypatch, name):
    other = tmp_path / ("colmap/sparse/0/rigs.bin" if name == "colmap" else "nerfstudio/transforms.json")
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    monkeypatch.setattr("da3jax.inference.model.preprocess", None)
    model = da3jax.DepthAnything3({}, "da3-tiny")
    with pytest.raises(ValueError, match=rf"^{other} .*; move it away"):
        model.inference([picture(tmp_path / "0.png")], export_dir=tmp_path, export_format=f"mini_npz-{name}")
    assert sorted(bytes_below(tmp_path)) == sorted([tmp_path / "0.png", other])


def test_inference_names_its_own_pictures_for_the_exports(tmp_path):
    model = da3jax.DepthAnything3({}, PRESETS["da3-tiny"])
    path = picture(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"^export_kwargs has images, and exports take those that inference was given; leave them out$"):
        model.inference([path], export_dir=tmp_path / "out", export_kwargs={"images": lazy_images([path])})


def test_inference_says_so_before_the_network_runs(tmp_path):
    model = da3jax.DepthAnything3({}, PRESETS["da3-tiny"])
    with pytest.raises(ValueError, match=r"'depth_vis' writes into"):
        model.inference([picture(tmp_path / "depth_vis" / "0000.png")], export_dir=tmp_path, export_format="depth_vis")
