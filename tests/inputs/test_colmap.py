"""A COLMAP model gives each image its camera and pose, or says what is wrong with it."""

import os
import struct

import numpy as np
import pytest

from da3jax.geometry import extrinsics_from_colmap
from da3jax.inputs.colmap import read_colmap

HALF = np.sqrt(0.5)
SEVEN = "7 SIMPLE_PINHOLE 320 200 300 160 100\n"
CAMERAS = f"# Camera list\n3 PINHOLE 640 480 500.5 501 320 240\n{SEVEN}\n"
IMAGES = (
    "# Image list\n"
    f"1 {HALF} 0 {HALF} 0 1 2 3 3 a picture.png\n10.5 20.5 -1 30 40 5\n"
    "2 1 0 0 0 -1 0 0.5 7 sub/b.png\n\n"
    "4 2 0 0 0 0 0 0 7 c.png\n"
)


def write_text(folder, cameras=CAMERAS, images=IMAGES):
    (folder / "cameras.txt").write_text(cameras)
    (folder / "images.txt").write_text(images)


def write_binary(folder, model=1):
    cameras = struct.pack("<Q", 2) + struct.pack("<IiQQ4d", 3, model, 640, 480, 500.5, 501, 320, 240)
    cameras += struct.pack("<IiQQ3d", 7, 0, 320, 200, 300, 160, 100)
    images = struct.pack("<Q", 3)
    images += struct.pack("<I7dI", 1, HALF, 0, HALF, 0, 1, 2, 3, 3) + b"a picture.png\0" + struct.pack("<Qddqddq", 2, 10, 20, -1, 30, 40, 5)
    images += struct.pack("<I7dI", 2, 1, 0, 0, 0, -1, 0, 0.5, 7) + b"sub/b.png\0" + struct.pack("<Q", 0)
    images += struct.pack("<I7dI", 4, 2, 0, 0, 0, 0, 0, 0, 7) + b"c.png\0" + struct.pack("<Q", 0)
    (folder / "cameras.bin").write_bytes(cameras)
    (folder / "images.bin").write_bytes(images)


@pytest.mark.parametrize("write", [write_text, write_binary])
def test_each_image_has_its_camera_and_pose(tmp_path, write):
    write(tmp_path)
    views = read_colmap(tmp_path)
    assert list(views) == ["a picture.png", "sub/b.png", "c.png"]
    a, b, c = views.values()
    np.testing.assert_allclose(a.extrinsics, [[0, 0, 1, 1], [0, 1, 0, 2], [-1, 0, 0, 3]], atol=1e-15)
    np.testing.assert_array_equal(a.pinhole_intrinsics(), [[500.5, 0, 320], [0, 501, 240], [0, 0, 1]])
    assert (a.lens.height, a.lens.width) == (480, 640)
    np.testing.assert_array_equal(b.extrinsics, [[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 0.5]])
    np.testing.assert_array_equal(b.pinhole_intrinsics(), [[300, 0, 160], [0, 300, 100], [0, 0, 1]])
    np.testing.assert_array_equal(c.extrinsics, np.eye(3, 4))


@pytest.mark.parametrize("write", [write_text, write_binary])
def test_names_are_the_bytes_of_the_file_system(tmp_path, write):
    write(tmp_path)
    for path in tmp_path.glob("images.*"):
        path.write_bytes(path.read_bytes().replace(b"c.png", b"\xe4.png"))
    assert list(read_colmap(tmp_path)) == ["a picture.png", "sub/b.png", os.fsdecode(b"\xe4.png")]


def test_rotations_are_those_of_the_geometry(tmp_path):
    quaternion = np.array([0.6, -0.4, 0.3, 0.2])
    write_text(tmp_path, images=f"1 {' '.join(map(str, quaternion))} 1 2 3 3 a.png\n\n")
    ours = read_colmap(tmp_path)["a.png"].extrinsics
    theirs = extrinsics_from_colmap(quaternion / np.linalg.norm(quaternion), np.array([1.0, 2, 3]))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_radial_model_without_distortion_is_a_pinhole(tmp_path):
    write_text(tmp_path, cameras="3 SIMPLE_RADIAL 640 480 500 320 240 0\n7 OPENCV 320 200 300 301 160 100 0 0 0 0\n")
    views = read_colmap(tmp_path)
    np.testing.assert_array_equal(views["a picture.png"].pinhole_intrinsics(), [[500, 0, 320], [0, 500, 240], [0, 0, 1]])
    np.testing.assert_array_equal(views["c.png"].pinhole_intrinsics(), [[300, 0, 160], [0, 301, 100], [0, 0, 1]])


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (
            f"3 SIMPLE_RADIAL 640 480 500 320 240 0.1\n{SEVEN}",
            "camera 3 of .*cameras.txt is SIMPLE_RADIAL, a lens with distortion; .* pinholes",
        ),
        (
            f"3 OPENCV_FISHEYE 640 480 500 500 320 240 0 0 0 0\n{SEVEN}",
            "is OPENCV_FISHEYE, a lens with distortion; .* colmap image_undistorter",
        ),
        ("3 PINHOL 640 480 500 500 320 240\n", "the model of camera 3 of .* 'PINHOL' is unknown; .* did you mean 'PINHOLE'"),
        ("3 PINHOLE 640 480 500 320 240\n", "camera 3 of .* is PINHOLE with 3 parameters; it has 4"),
        ("8 PINHOLE 640 480 500 500 320 240\n", "images.txt gives a picture.png the camera 3, which cameras.txt does not have"),
        ("3 PINHOLE wide 480 500 500 320 240\n", "cameras.txt cannot be read as part of a COLMAP model; it may be cut off or damaged"),
    ],
)
def test_a_camera_that_cannot_be_used_is_named(tmp_path, cameras, message):
    write_text(tmp_path, cameras=cameras)
    with pytest.raises(ValueError, match=message):
        read_colmap(tmp_path)["a picture.png"].pinhole_intrinsics()


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_file_cut_short_is_named(tmp_path, name):
    write_binary(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-5])
    with pytest.raises(ValueError, match=rf"{name} cannot be read as part of a COLMAP model; it may be cut off"):
        read_colmap(tmp_path)


def test_an_unknown_model_number_is_refused(tmp_path):
    write_binary(tmp_path, model=99)
    with pytest.raises(ValueError, match="there is no camera model 99"):
        read_colmap(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "cameras.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"has no COLMAP model: neither cameras.bin and images.bin nor cameras.txt and images.txt"):
        read_colmap(tmp_path)


def test_comments_blank_lines_and_windows_line_ends_are_read(tmp_path):
    write_text(tmp_path)
    expected = read_colmap(tmp_path)
    cameras, images = CAMERAS.replace("\n", "\r\n"), IMAGES.replace("\n", "\r\n")
    (tmp_path / "cameras.txt").write_bytes(b"\xef\xbb\xbf" + f"\r\n{cameras}\r\n# the end".encode())
    (tmp_path / "images.txt").write_bytes(f"\r\n  \r\n{images}\r\n\r\n# the end".encode())
    found = read_colmap(tmp_path)
    assert list(found) == list(expected)
    for name, view in expected.items():
        np.testing.assert_array_equal(found[name].extrinsics, view.extrinsics)
        assert found[name].lens == view.lens


def test_text_images_without_lines_for_points_are_refused_rather_than_every_other_lost(tmp_path):
    write_text(tmp_path, images="1 1 0 0 0 0 0 0 7 a.png\n2 1 0 0 0 0 0 0 7 b.png\n")
    with pytest.raises(ValueError, match=r"images.txt .* \(the line after that of a.png is not its points, three numbers each"):
        read_colmap(tmp_path)


def test_a_line_of_an_image_that_is_too_short_is_refused(tmp_path):
    write_text(tmp_path, images="1 1 0 0 0 1 2 7 a.png\n\n")
    with pytest.raises(ValueError, match=r"images.txt .* \(the line of an image, '1 1 0 0 0 1 2 7 a.png', has 9 words and should have 10"):
        read_colmap(tmp_path)


@pytest.mark.parametrize(
    ("quaternion", "translation"), [("0 0 0 0", "1 2 3"), ("nan 0 0 0", "1 2 3"), ("1 0 0 0", "1 inf 3"), ("1e999 0 0 0", "1 2 3")]
)
def test_a_pose_that_is_none_is_refused(tmp_path, quaternion, translation):
    write_text(tmp_path, images=f"1 {quaternion} {translation} 3 a.png\n\n")
    with pytest.raises(
        ValueError, match=r"a.png in .*images.txt has the quaternion .*; they should be finite, and the quaternion not zero"
    ):
        read_colmap(tmp_path)


def test_what_is_there_twice_is_refused(tmp_path):
    write_text(tmp_path, cameras=CAMERAS + "7 PINHOLE 1 1 1 1 1 1\n")
    with pytest.raises(ValueError, match=r"cameras.txt has the camera 7 twice"):
        read_colmap(tmp_path)
    write_text(tmp_path, images=IMAGES + "\n9 2 0 0 0 0 0 0 7 c.png\n")
    with pytest.raises(ValueError, match=r"images.txt has the image c.png twice"):
        read_colmap(tmp_path)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("cameras.bin", lambda content: b"\xff" * 8 + content[8:], "cameras.bin cannot be read"),
        ("images.bin", lambda content: b"\xff" * 8 + content[8:], "images.bin cannot be read"),
        ("images.bin", lambda content: content[:86] + b"\xff" * 8 + content[94:], "it ends before the 18446744073709551615 points"),
        ("images.bin", lambda content: content[:72] + b"x" * 9000, "the name of an image does not end"),
        ("images.bin", lambda content: content[:80], "the name of an image does not end"),
        ("cameras.bin", lambda content: content + b"x", "it goes on after what it says it has"),
        ("images.bin", lambda content: b"\1" + content[1:], "it goes on after what it says it has"),
        ("images.bin", lambda content: b"", "images.bin cannot be read"),
    ],
)
def test_a_damaged_binary_file_is_named(tmp_path, name, damage, message):
    write_binary(tmp_path)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_colmap(tmp_path)
