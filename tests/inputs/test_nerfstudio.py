"""A transforms.json gives pictures and the pinhole cameras that they are for, or says what is wrong with it."""

import json

import numpy as np
import pytest
from PIL import Image

from da3jax.geometry import opengl_from_extrinsics
from da3jax.inputs import read_nerfstudio
from da3jax.inputs.lenses import lens
from da3jax.inputs.undistort import pinhole_of, resample, undistortion_map
from tests.inputs.test_undistort import picture

WIDTH, HEIGHT = 80, 60
CAMERA = {"fl_x": 50, "fl_y": 51.5, "cx": 41, "cy": 29, "w": WIDTH, "h": HEIGHT}
POSE = [[0, 0, 1, 4], [1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 0, 1]]


def write(folder, content=None, names=("images/a.png",), **camera):
    """The file, its images, and frames with `POSE` unless `content` has its own."""
    frames = [{"file_path": name, "transform_matrix": POSE} for name in names]
    content = {**(camera or CAMERA), "frames": frames} if content is None else content
    for index, name in enumerate(names):
        save(folder / name, index)
    path = folder / "transforms.json"
    path.write_text(json.dumps(content) if not isinstance(content, str) else content)
    return path


def save(path, value, width=WIDTH, height=HEIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)


def values(intrinsics):
    return intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]


def test_cameras_are_turned_from_opengl(tmp_path):
    found = read_nerfstudio(write(tmp_path))
    np.testing.assert_array_equal(found.extrinsics[0], [[0, 1, 0, -5], [0, 0, -1, 6], [-1, 0, 0, 4]])
    np.testing.assert_allclose(opengl_from_extrinsics(found.extrinsics)[0], POSE[:3], atol=1e-6)
    np.testing.assert_array_equal(found.intrinsics, [[[50, 0, 41], [0, 51.5, 29], [0, 0, 1]]])
    assert found.extrinsics.dtype == found.intrinsics.dtype == np.float64


def test_the_folder_stands_for_its_file_and_names_are_relative_in_natural_order(tmp_path):
    write(tmp_path, names=("images/10.png", "./images/2.png"))
    found = read_nerfstudio(tmp_path)
    assert [image.name for image in found.images] == ["images/2.png", "images/10.png"]
    assert [int(image.read()[0, 0, 0]) for image in found.images] == [1, 0]


def test_a_synthetic_scene_of_nerf_is_read(tmp_path):
    frames = [{"file_path": "./train/r_0", "rotation": 0.01, "transform_matrix": POSE}]
    path = write(tmp_path, {"camera_angle_x": 0.7, "frames": frames}, ["train/r_0.png"])
    path.rename(tmp_path / "transforms_train.json")
    found = read_nerfstudio(tmp_path / "transforms_train.json")
    assert found.images[0].name == "train/r_0.png"
    focal = 40 / np.tan(0.35)
    np.testing.assert_allclose(values(found.intrinsics[0]), [focal, focal, 40, 30], rtol=1e-15)
    with pytest.raises(FileNotFoundError, match=r"transforms.json does not exist; transforms_train.json is there and can be named instead"):
        read_nerfstudio(tmp_path)


def test_a_frame_may_have_a_camera_of_its_own(tmp_path):
    own = {"file_path": "b.png", "transform_matrix": POSE[:3], "fl_x": 70, "fl_y": 71, "camera_model": "OPENCV_FISHEYE", "k1": 0.01}
    frames = [{"file_path": "a.png", "transform_matrix": POSE}, own]
    plain, fisheye = read_nerfstudio(write(tmp_path, {**CAMERA, "frames": frames}, ["a.png", "b.png"])).intrinsics
    np.testing.assert_array_equal(values(plain), [50, 51.5, 41, 29])
    expected = pinhole_of(lens("OPENCV_FISHEYE", WIDTH, HEIGHT, [70, 71, 41, 29, 0.01, 0, 0, 0], "it"), "it")
    np.testing.assert_allclose(fisheye, expected.intrinsics)


@pytest.mark.parametrize(
    ("said", "model", "further"),
    [
        ({"camera_model": "OPENCV", "k1": -0.1, "k2": 0.02, "p1": 0.002, "p2": -0.001}, "OPENCV", [-0.1, 0.02, 0.002, -0.001]),
        ({"k1": -0.1, "k3": 0.03}, "FULL_OPENCV", [-0.1, 0, 0, 0, 0.03, 0, 0, 0]),
        ({"camera_model": "SIMPLE_RADIAL", "k1": -0.1}, "OPENCV", [-0.1, 0, 0, 0]),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.02, "k4": 0.01, "p1": 9}, "OPENCV_FISHEYE", [0.02, 0, 0, 0.01]),
        ({"is_fisheye": True, "k2": 0.02}, "OPENCV_FISHEYE", [0, 0.02, 0, 0]),
    ],
)
def test_pictures_of_lenses_are_undistorted(tmp_path, said, model, further):
    of = lens(model, WIDTH, HEIGHT, [50, 51.5, 41, 29, *further], "it")
    write(tmp_path, **CAMERA, **said)
    Image.fromarray(picture(of)).save(tmp_path / "images/a.png")
    found = read_nerfstudio(tmp_path)
    pinhole = pinhole_of(of, "it")
    np.testing.assert_allclose(found.intrinsics[0], pinhole.intrinsics)
    np.testing.assert_allclose(found.images[0].read().astype(int), resample(picture(of), undistortion_map(of, pinhole)), atol=1)


@pytest.mark.parametrize(
    ("camera", "expected"),
    [
        ({"fl_x": 50}, [50, 50, 40, 30]),
        ({"fl_x": 100, "w": 160, "h": 120, "cx": 82}, [50, 50, 41, 30]),
        ({"camera_angle_x": np.pi / 2, "camera_angle_y": 2 * np.arctan(0.5)}, [40, 60, 40, 30]),
        ({"camera_angle_x": np.pi / 2, "fl_y": 55, "cx": None}, [40, 55, 40, 30]),
        ({"camera_model": "PINHOLE", "fl_x": 50, "applied_transform": [[0, 1, 0, 9]] * 3, "applied_scale": 3}, [50, 50, 40, 30]),
    ],
)
def test_what_is_not_said_is_as_usual(tmp_path, camera, expected):
    found = read_nerfstudio(write(tmp_path, **camera))
    np.testing.assert_allclose(values(found.intrinsics[0]), expected, rtol=1e-14)
    np.testing.assert_array_equal(found.extrinsics[0, :, 3], [-5, 6, 4])


def test_images_that_are_not_there_are_left_out_and_said(tmp_path, caplog):
    path = write(tmp_path, names=("a.png", "b.png"))
    (tmp_path / "a.png").unlink()
    assert [image.name for image in read_nerfstudio(path).images] == ["b.png"]
    assert f"1 of the 2 images that {path} names are not there and left out: a.png" in caplog.text


def frame(**changes):
    """The content of a file whose only frame is changed; None takes a key away."""
    return {"fl_x": 50, "frames": [{k: v for k, v in {"file_path": "a.png", "transform_matrix": POSE, **changes}.items() if v is not None}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "transforms.json is not JSON; it may be cut off or damaged"),
        ("[" * 100_000, "transforms.json is not JSON"),
        ('{"fl_x": NaN}', "NaN is no number of JSON"),
        (b"\xff\xfe\xfa".decode("latin-1"), "is not JSON"),
        ([1], "transforms.json holds no JSON object; it should have frames"),
        ({"fl_x": 50}, "transforms.json has no frames; it should have a list of them"),
        ({"fl_x": 50, "frames": {}}, "transforms.json has no frames"),
        ({"fl_x": 50, "frames": [3]}, "frame 0 of .*transforms.json has no file_path; it should be the image's path"),
        (frame(file_path=3), "frame 0 of .* has no file_path"),
        (frame(transform_matrix=None), "frame 0 of .* has no transform_matrix of 4 rows of 4 numbers"),
        (frame(transform_matrix=[[1, 0, 0, 0]] * 2), "has no transform_matrix of 4 rows of 4 numbers"),
        (frame(transform_matrix=[*POSE[:2], [0, 1, 0, "6"], POSE[3]]), "transform_matrix of frame 0 of .* is of type str"),
        (
            frame(transform_matrix=[*POSE[:3], [0, 0, 1, 1]]),
            "transform_matrix of frame 0 .* ends in a row of 0 0 1 1, which should be 0 0 0 1",
        ),
        (frame(transform_matrix=(2 * np.array(POSE[:3])).tolist()), r"extrinsics of view 0 \(a.png\) are scaled"),
        (frame(transform_matrix=[POSE[1], POSE[0], POSE[2]]), r"extrinsics of view 0 \(a.png\) are left-handed"),
        (frame(fl_x="50"), "fl_x of frame 0 of .* is of type str; it should be a number"),
        (frame(fl_x=True), "fl_x of frame 0 of .* is of type bool"),
        (frame(fl_x=10**400), "fl_x of frame 0 of .* is too large; it should be a finite float32 number"),
        ('{"fl_x": 1e999, "frames": [{"file_path": "a.png", "transform_matrix": []}]}', "fl_x of frame 0 of .* is too large"),
        (frame(transform_matrix=[[0, 0, -1e308, 4], *POSE[1:]]), "transform_matrix of frame 0 of .* is too large"),
        (frame(fl_x=-50), "with focal lengths of -50 and -50; all of these should be positive"),
        ({"frames": frame()["frames"]}, "frame 0 of .* has neither fl_x nor camera_angle_x; it should have a focal length"),
        (frame(w=80), "frame 0 of .* has only one of w and h; it should have both or none"),
        (frame(w=80.5, h=60), r"frame 0 of .* is for images of 80.5 × 60 pixels \(w × h\), which should be whole numbers"),
        (frame(w=60, h=80), r"a.png is 80 × 60 pixels .*; frame 0 of .* is for images of 60 × 80"),
        (frame(camera_angle_x=4), "camera_angle_x of frame 0 of .* is 4; it should be an angle of view in radians, between 0 and π"),
        (frame(k4=0.1), "k4 of frame 0 of .* is 0.1; a lens of model OPENCV should have k1 to k3, p1 and p2 only"),
        (
            frame(camera_model="EQUIRECTANGULAR"),
            "the camera_model of frame 0 of .* 'EQUIRECTANGULAR' is unknown; it is one of SIMPLE_PINHOLE",
        ),
        (frame(camera_model=["OPENCV"]), "the camera_model of frame 0 of .* 'list' is unknown"),
        ({"fl_x": 50, "frames": frame()["frames"] * 2}, "transforms.json has the image a.png twice; each should have one camera"),
        (frame(file_path="../a.png"), r"frame 0 of .* names the image '../a.png'; names should be paths inside .*, without \.\."),
        (frame(file_path="images\\..\\..\\a.png"), "names should be paths inside"),
        (frame(file_path="/etc/passwd"), "names should be paths inside"),
        (frame(file_path=""), "names should be paths inside"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_nerfstudio(write(tmp_path, content, ["a.png"]))


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    write(tmp_path / "scene", names=("a.png",))
    (tmp_path / "scene/a.png").rename(tmp_path / "a.png")
    (tmp_path / "scene/a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"names the image 'a.png', a symbolic link that leads out of"):
        read_nerfstudio(tmp_path / "scene")


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"transforms.json does not exist$"):
        read_nerfstudio(tmp_path)
    write(tmp_path, frame(file_path="x" * 300), [])
    with pytest.raises(FileNotFoundError, match=r"none of the 1 images that .*transforms.json names is there: xxx"):
        read_nerfstudio(tmp_path)


def test_a_path_that_is_no_text_is_refused_by_its_frame(tmp_path):
    frame = {"file_path": "\ud800.png", "transform_matrix": np.eye(4).tolist()}
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 30, "frames": [frame]}))
    with pytest.raises(ValueError, match=r"^frame 0 of .*transforms\.json names the image '\\ud800\.png', which cannot be followed: "):
        read_nerfstudio(tmp_path)
