"""A COLMAP folder, as pycolmap writes it, gives pictures and the pinhole cameras that they are for."""

import logging

import numpy as np
import pytest
from PIL import ExifTags, Image

from da3jax.inputs import read_scene_colmap
from da3jax.inputs.lenses import MODELS, lens
from da3jax.inputs.undistort import pinhole_of, resample, undistortion_map
from tests.inputs.test_lenses import parameters
from tests.inputs.test_undistort import picture, scene

WIDTH, HEIGHT, FOCAL = 80, 60, 50
CAMERA = f"1 PINHOLE {WIDTH} {HEIGHT} 50 50 40 30\n"


def turned(degrees):
    """A quaternion wxyz around y."""
    return np.array([np.cos(np.radians(degrees) / 2), 0, np.sin(np.radians(degrees) / 2), 0])


def write(folder, names, cameras=CAMERA, sparse="sparse"):
    """A text model of images that all have camera 1 and a pose by their position, and the pictures."""
    (folder / sparse).mkdir(parents=True)
    (folder / "images").mkdir(exist_ok=True)
    (folder / sparse / "cameras.txt").write_text(cameras)
    lines = [f"{i + 1} {' '.join(map(str, turned(10 * i)))} {i} 0 0 1 {name}\n\n" for i, name in enumerate(names)]
    (folder / sparse / "images.txt").write_text("".join(lines))
    for index, name in enumerate(names):
        if ".." not in name and not name.startswith("/"):
            save(folder / "images" / name, index)
    return folder


def save(path, value, width=WIDTH, height=HEIGHT, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path, **options)


def by_pycolmap(folder, form):
    """A model with an image by a camera of each kind, written by pycolmap; the lenses and the poses by name."""
    import pycolmap

    model, views = pycolmap.Reconstruction(), {}
    for number, name in enumerate(MODELS, 1):
        values = parameters(name, WIDTH, HEIGHT, FOCAL)
        model.add_camera_with_trivial_rig(pycolmap.Camera(camera_id=number, model=name, width=WIDTH, height=HEIGHT, params=values))
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(np.roll(turned(7 * number), -1)), np.array([number, 2, 3.0]))
        points = pycolmap.Point2DList([pycolmap.Point2D(np.array([1.0, 2.0]))] * (number % 3))
        image = pycolmap.Image(name=f"{number}.png", camera_id=number, image_id=number, points2D=points)
        model.add_image_with_trivial_frame(image, pose)
        views[f"{number}.png"] = lens(name, WIDTH, HEIGHT, values, name), pose.matrix()
    (folder / "images").mkdir()
    (folder / "sparse").mkdir()
    getattr(model, f"write_{form}")(folder / "sparse")
    for name, (of, _) in views.items():
        Image.fromarray(picture(of)).save(folder / "images" / name)
    return views


@pytest.mark.parametrize("form", ["binary", "text"])
def test_what_pycolmap_writes_opens_with_each_camera_model(tmp_path, form):
    views = by_pycolmap(tmp_path, form)
    assert (tmp_path / f"sparse/rigs.{form[:3] if form == 'binary' else 'txt'}").exists()
    found = read_scene_colmap(tmp_path)
    assert [image.name for image in found.images] == list(views)  # 2 before 10
    assert found.extrinsics.dtype == found.intrinsics.dtype == np.float64
    for image, extrinsics, intrinsics, (of, pose) in zip(found.images, found.extrinsics, found.intrinsics, views.values(), strict=True):
        np.testing.assert_allclose(extrinsics, pose, atol=1e-12)
        pinhole = pinhole_of(of, "it")
        np.testing.assert_allclose(intrinsics, pinhole.intrinsics, rtol=1e-12)
        pixels = image.read()
        assert pixels.shape == (pinhole.height, pinhole.width, 3)
        x, y = np.meshgrid(np.arange(pinhole.width) + 0.5, np.arange(pinhole.height) + 0.5)
        rays = np.linalg.inv(intrinsics) @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
        assert np.abs(pixels.reshape(-1, 3) - scene(*rays[:2])).mean() < 1


def test_pictures_without_distortion_are_left_as_they_are(tmp_path):
    write(tmp_path, ["a.png"])
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "images/a.png")
    found = read_scene_colmap(tmp_path)
    np.testing.assert_array_equal(found.images[0].read(), noise)
    np.testing.assert_array_equal(found.intrinsics, [[[50, 0, 40], [0, 50, 30], [0, 0, 1]]])


@pytest.mark.parametrize(("sparse", "subdir"), [("sparse", ""), ("sparse/0", ""), ("sparse/7", "7"), ("sparse/7", "sparse/7")])
def test_the_model_is_found(tmp_path, sparse, subdir):
    assert [image.name for image in read_scene_colmap(write(tmp_path, ["a.png"], sparse=sparse), subdir).images] == ["a.png"]


def test_of_several_models_the_first_is_taken_with_a_warning(tmp_path, caplog):
    write(tmp_path, ["a.png"], sparse="sparse/0")
    write(tmp_path, ["b.png"], sparse="sparse/1")
    assert [image.name for image in read_scene_colmap(tmp_path).images] == ["a.png"]
    assert "sparse has several models; 0 is taken, and sparse_subdir chooses another" in caplog.text
    assert [image.name for image in read_scene_colmap(tmp_path, "1").images] == ["b.png"]


def test_images_come_in_natural_order_with_their_own_poses(tmp_path):
    write(tmp_path, ["10.png", "2.png", "b/1.png", "a 1.png"])
    found = read_scene_colmap(tmp_path)
    assert [image.name for image in found.images] == ["2.png", "10.png", "a 1.png", "b/1.png"]
    assert [int(image.read()[0, 0, 0]) for image in found.images] == [1, 0, 3, 2]
    np.testing.assert_array_equal(found.extrinsics[:, 0, 3], [1, 0, 3, 2])


def test_images_that_are_only_in_one_place_are_left_out_and_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "images/b.png").rename(tmp_path / "images/d.png")
    assert [image.name for image in read_scene_colmap(tmp_path).images] == ["a.png", "c.png"]
    assert f"1 of the 3 images that {tmp_path / 'sparse'} names are not there and left out: b.png" in caplog.text
    assert f"1 images in {tmp_path / 'images'} are not in the COLMAP model and left out" in caplog.text


def test_cameras_of_resized_pictures_are_resized(tmp_path):
    write(tmp_path, ["a.png", "b.png"], cameras="1 SIMPLE_PINHOLE 161 121 100 80 60\n")
    save(tmp_path / "images/b.png", 0, 322, 242)
    half, double = read_scene_colmap(tmp_path).intrinsics
    np.testing.assert_allclose(half[[0, 1, 0, 1], [0, 1, 2, 2]], np.array([100, 100, 80, 60]) * ([80 / 161, 60 / 121] * 2), rtol=1e-12)
    np.testing.assert_allclose(double[[0, 1, 0, 1], [0, 1, 2, 2]], [200, 200, 160, 120], rtol=1e-12)


def test_a_resized_picture_of_a_lens_is_undistorted_at_its_size(tmp_path):
    write(tmp_path, ["a.png"], cameras="1 SIMPLE_RADIAL 160 120 100 80 60 -0.1\n")
    half = lens("SIMPLE_RADIAL", WIDTH, HEIGHT, [50, 40, 30, -0.1], "it")
    Image.fromarray(picture(half)).save(tmp_path / "images/a.png")
    found = read_scene_colmap(tmp_path)
    pinhole = pinhole_of(half, "it")
    np.testing.assert_allclose(found.intrinsics[0], pinhole.intrinsics)
    np.testing.assert_array_equal(found.images[0].read(), resample(picture(half), undistortion_map(half, pinhole)))


def test_a_picture_of_another_shape_is_refused(tmp_path):
    write(tmp_path, ["a.png"])
    save(tmp_path / "images/a.png", 0, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"a.png is 60 × 80 pixels \(W × H\), not turned by EXIF; camera 1 of .* is for images of 80 × 60"):
        read_scene_colmap(tmp_path)


def test_a_resized_picture_of_which_two_rows_are_more_than_rounding_is_refused(tmp_path):
    write(tmp_path, ["a.png"], cameras="1 SIMPLE_PINHOLE 160 120 100 80 60\n")
    save(tmp_path / "images/a.png", 0, 80, 62)
    with pytest.raises(ValueError, match=r"a.png is 80 × 62 pixels \(W × H\), .* is for images of 160 × 120"):
        read_scene_colmap(tmp_path)


def test_exif_does_not_turn_pictures(tmp_path):
    write(tmp_path, ["a.png"])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save(tmp_path / "images/a.png", 9, exif=exif)
    assert read_scene_colmap(tmp_path).images[0].read().shape == (HEIGHT, WIDTH, 3)


def test_a_map_is_computed_once_a_lens(tmp_path, monkeypatch):
    from da3jax.inputs import known_views

    calls = []
    monkeypatch.setattr(known_views, "undistortion_map", lambda *lenses: calls.append(1) or undistortion_map(*lenses))
    write(tmp_path, ["a.png", "b.png"], cameras=f"1 SIMPLE_RADIAL {WIDTH} {HEIGHT} 50 40 30 0.1\n")
    for image in read_scene_colmap(tmp_path).images * 2:
        image.read()
    assert len(calls) == 1
    monkeypatch.setattr(known_views, "_KEPT", 0)
    (tmp_path / "sparse/cameras.txt").write_text("".join(f"{n} SIMPLE_RADIAL {WIDTH} {HEIGHT} 5{n} 40 30 0.1\n" for n in (1, 2)))
    (tmp_path / "sparse/images.txt").write_text("1 1 0 0 0 0 0 0 1 a.png\n\n2 1 0 0 0 0 0 0 2 b.png\n")
    for image in read_scene_colmap(tmp_path).images * 2:
        image.read()
    assert len(calls) == 5  # there is room for one only


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "a/../../secret.png", "C:\\secret.png", "..\\secret.png", "\\secret.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    write(tmp_path / "scene", ["a.png"])
    save(tmp_path / "secret.png", 0)
    images = tmp_path / "scene/sparse/images.txt"
    images.write_text(f"{images.read_text()}2 1 0 0 0 0 0 0 1 {name}\n\n")
    with pytest.raises(ValueError, match=r"scene/sparse names the image .*; names should be paths inside .*images, without \.\."):
        read_scene_colmap(tmp_path / "scene")


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    write(tmp_path / "scene", ["a.png", "b.png", "sub/c.png"])
    save(tmp_path / "secret.png", 0)
    link = tmp_path / "scene/images/b.png"
    link.unlink()
    link.symlink_to("a.png")
    assert len(read_scene_colmap(tmp_path / "scene").images) == 3
    link.unlink()
    link.symlink_to(tmp_path / "secret.png")
    with pytest.raises(
        ValueError, match=r"names the image 'b.png', a symbolic link that leads out of .*images; it should be a file inside"
    ):
        read_scene_colmap(tmp_path / "scene")
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(ValueError, match=r"names the image 'b.png', which cannot be followed"):
        read_scene_colmap(tmp_path / "scene")


def test_what_is_not_a_colmap_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; a COLMAP folder has images and sparse in it"):
        read_scene_colmap(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no folder images; a COLMAP folder has images and sparse in it"):
        read_scene_colmap(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"sparse has no COLMAP model: neither cameras.bin"):
        read_scene_colmap(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"sparse/3 has no COLMAP model"):
        read_scene_colmap(tmp_path, "3")
    for subdir in ("../..", "/tmp"):
        with pytest.raises(ValueError, match=rf"sparse_subdir is {subdir}; it is a folder inside .*sparse, like 0"):
            read_scene_colmap(tmp_path, subdir)


def test_a_model_without_images_and_images_without_files_are_refused(tmp_path):
    write(tmp_path, ["a.png", *(f"{i}.png" for i in range(6))])
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"none of the 7 images that .*sparse names is there: a.png, 0.png, 1.png, 2.png, 3.png and 2 more"
    ):
        read_scene_colmap(tmp_path)
    (tmp_path / "sparse/images.txt").write_text("# none\n")
    with pytest.raises(ValueError, match="sparse has no images; it should have registered some"):
        read_scene_colmap(tmp_path)
