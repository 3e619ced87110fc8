import dataclasses
import logging
import shutil
import struct
import subprocess

import numpy as np
import pycolmap
import pytest
from PIL import Image

from da3jax.inputs.colmap import read_colmap
from da3jax.outputs import export
from da3jax.outputs.colmap import quaternion
from da3jax.outputs.manifest import record
from tests.outputs.rendered import SIZES, render


@pytest.fixture(scope="module")
def scene():
    return render()


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    export(scene.prediction, "colmap", folder, images=scene.images)
    return folder / "colmap"


@pytest.fixture(scope="module")
def model(folder):
    return pycolmap.Reconstruction(folder / "sparse" / "0")


def test_pycolmap_reads_cameras_and_poses(scene, model):
    assert sorted(model.images) == sorted(model.cameras) == [1, 2, 3, 4]
    for view in range(4):
        image, camera = model.images[view + 1], model.cameras[view + 1]
        assert image.name == f"{view:04d}.{'png' if view % 2 else 'jpg'}"
        assert image.camera_id == view + 1
        assert camera.model.name == "PINHOLE"
        assert [camera.height, camera.width] == SIZES[view].tolist()
        np.testing.assert_allclose(camera.calibration_matrix(), scene.intrinsics[view], rtol=2e-7, atol=2e-5)
        np.testing.assert_allclose(image.cam_from_world().matrix(), scene.extrinsics[view], atol=1e-6)


def test_pycolmaps_own_reprojection_error_is_under_a_pixel_and_what_is_written(model):
    written = model.compute_mean_reprojection_error()
    errors = {number: point.error for number, point in model.points3D.items()}
    model.update_point_3d_errors()  # from the observations
    assert model.compute_mean_reprojection_error() == pytest.approx(written, abs=1e-9)
    assert all(point.error == pytest.approx(errors[number], abs=1e-9) for number, point in model.points3D.items())
    assert written < 1e-4  # the depth is true; float32 is what is left


def test_each_observation_is_that_of_its_point_and_at_the_depth_of_its_view(scene, model):
    assert len(model.points3D) > 1500
    for number, point in model.points3D.items():
        images = [element.image_id for element in point.track.elements]
        assert len(images) >= 2
        assert images == sorted(set(images))
        for element in point.track.elements:
            observation = model.images[element.image_id].points2D[element.point2D_idx]
            assert observation.point3D_id == number
    for view in range(4):
        observations = [point for point in model.images[view + 1].points2D if point.has_point3D()]
        assert len(observations) == len(model.images[view + 1].points2D) > 500
        places = np.array([point.xy for point in observations])
        points = np.array([model.points3D[point.point3D_id].xyz for point in observations])
        pixels, depth = scene.project(view, points)
        np.testing.assert_allclose(places, pixels, atol=1e-3)
        np.testing.assert_allclose(scene.depth(view, places), depth, rtol=1e-4)


def test_pycolmap_sees_each_point_in_front_and_where_its_picture_shows_its_colour(scene, model, folder):
    pictures = [np.asarray(Image.open(folder / "images" / model.images[view + 1].name)) for view in range(4)]
    differences = []
    for point in model.points3D.values():
        for element in point.track.elements:
            image = model.images[element.image_id]
            x, y = model.cameras[image.camera_id].img_from_cam(image.cam_from_world() * point.xyz)
            differences.append(np.abs(pictures[element.image_id - 1][int(y), int(x)].astype(int) - point.color).max())
    assert np.percentile(differences, 99) < 12


def test_pictures_are_those_of_the_cameras(scene, folder):
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["0000.jpg", "0001.png", "0002.jpg", "0003.png"]
    for view, image in enumerate(scene.images):
        with Image.open(folder / "images" / f"{view:04d}.{'png' if view % 2 else 'jpg'}") as picture:
            difference = np.abs(np.asarray(picture).astype(int) - image.read())
        assert difference.max() == 0 if view % 2 else np.percentile(difference, 99) < 10


def test_our_own_reader_takes_it_too(scene, folder):
    views = read_colmap(folder / "sparse" / "0")
    for view, read in enumerate(views.values()):
        np.testing.assert_allclose(read.extrinsics, scene.extrinsics[view], atol=1e-6)
        np.testing.assert_allclose(read.pinhole_intrinsics(), scene.intrinsics[view], rtol=2e-7, atol=2e-5)
        assert [read.lens.height, read.lens.width] == SIZES[view].tolist()


def test_model_analyzer_accepts_it(folder):
    if shutil.which("colmap") is None:
        pytest.skip("COLMAP's own program is not installed")
    done = subprocess.run(
        ["colmap", "model_analyzer", "--path", folder / "sparse" / "0"], capture_output=True, text=True, check=True, timeout=60
    )
    said = done.stdout + done.stderr
    assert "Registered images: 4" in said
    assert "Mean reprojection error: 0.000" in said


def test_the_prediction_may_be_read_only_and_is_left_as_it_was(scene, folder, tmp_path):
    arrays = {name: np.array(value) for name, value in vars(scene.prediction).items() if isinstance(value, np.ndarray)}
    for array in arrays.values():
        array.flags.writeable = False
    paths = export(dataclasses.replace(scene.prediction, **arrays), "colmap", tmp_path, images=scene.images)
    for path in paths:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "colmap")).read_bytes()


def test_without_images_the_model_alone_is_written_for_pictures_called_by_number(scene, tmp_path):
    paths = export(scene.prediction, "colmap", tmp_path)
    assert [path.name for path in paths] == ["cameras.bin", "images.bin", "points3D.bin"]
    assert not (tmp_path / "colmap" / "images").exists()
    model = pycolmap.Reconstruction(tmp_path / "colmap" / "sparse" / "0")
    assert [model.images[number].name for number in range(1, 5)] == [f"image_{view:04d}.png" for view in range(4)]
    assert model.cameras[3].width == SIZES[2, 1]


def test_names_outside_ascii_and_folders_come_through(scene, tmp_path):
    images = [dataclasses.replace(image, name=f"/data/{'größe' if view < 2 else 'b'}/1.png") for view, image in enumerate(scene.images)]
    export(scene.prediction, "colmap", tmp_path, images=images)
    model = pycolmap.Reconstruction(tmp_path / "colmap" / "sparse" / "0")
    names = ["größe/1.png", "größe/1_2.png", "b/1.png", "b/1_2.png"]
    assert [model.images[number].name for number in range(1, 5)] == names
    assert all((tmp_path / "colmap" / "images" / name).is_file() for name in names)


def test_one_view_needs_no_pose_and_keeps_all_its_points(scene, tmp_path):
    one = {name: value[:1] for name, value in vars(scene.prediction).items() if isinstance(value, np.ndarray)}
    export(dataclasses.replace(scene.prediction, **one | {"extrinsics": None}), "colmap", tmp_path)
    model = pycolmap.Reconstruction(tmp_path / "colmap" / "sparse" / "0")
    assert len(model.points3D) == np.count_nonzero(~scene.sky[0] & ~scene.wrong[0])
    np.testing.assert_array_equal(model.images[1].cam_from_world().matrix(), np.eye(3, 4))
    assert {len(point.track.elements) for point in model.points3D.values()} == {1}


def test_without_points_the_cameras_are_written_with_a_warning(scene, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        export(dataclasses.replace(scene.prediction, sky=np.ones_like(scene.sky)), "colmap", tmp_path)
    assert [record.getMessage() for record in caplog.records] == [
        "the COLMAP model has cameras only: there is no point that two views agree on"
    ]
    model = pycolmap.Reconstruction(tmp_path / "colmap" / "sparse" / "0")
    assert len(model.images) == 4
    assert len(model.points3D) == 0


@pytest.mark.parametrize(("name", "reader"), [("rigs.bin", "COLMAP"), ("points3D.ply", "3D Gaussian Splatting")])
def test_what_belongs_to_another_model_is_not_mixed_with_the_new_one(scene, tmp_path, name, reader):
    other = tmp_path / "colmap" / "sparse" / "0" / name
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    message = rf"^{other} belongs to another model, and {reader} would read it with the new one; move it away first$"
    with pytest.raises(ValueError, match=message):
        export(scene.prediction, "ply-colmap", tmp_path, images=scene.images)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [other]


def test_quaternions_of_all_half_turns_are_exact():
    for diagonal in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]):
        w, x, y, z = quaternion(np.diag(diagonal).astype(float))
        expected = [1.0, 0, 0, 0] if diagonal == [1, 1, 1] else [0.0, *(np.array(diagonal) > 0)]
        np.testing.assert_array_equal(np.abs([w, x, y, z]), expected)
    rng = np.random.default_rng(0)
    for _ in range(50):
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        expected = pycolmap.Rotation3d(rotation).quat[[3, 0, 1, 2]]
        np.testing.assert_allclose(quaternion(rotation), expected * np.sign(expected[0]), atol=1e-14)


MESSAGE = "has a COLMAP model that da3jax has not written, as far as its files tell; move it away, or choose another folder to export to"


def foreign(folder, change):
    """Makes the model in a folder one of another origin."""
    model = pycolmap.Reconstruction(folder)
    if change == "lens":
        for camera in model.cameras.values():
            camera.model = pycolmap.CameraModelId.OPENCV
            camera.params = [*camera.params, 0, 0, 0, 0]
    elif change == "unmatched":
        model.delete_point3D(7)
    elif change in ("unordered", "known cameras", "points without tracks"):
        text = folder / "text"
        text.mkdir()
        model.write_text(text)
        lines = ((text / name).read_text().splitlines(keepends=True) for name in ("images.txt", "points3D.txt"))
        images, points = ([line for line in some if line[0] != "#"] for some in lines)
        for index in range(1, len(images), 2):  # what an image observes: x, y and the point
            if change == "unordered":
                numbers = np.array(images[index].split(), object).reshape(-1, 3)
                numbers[:, 2] = [str(len(points) + 1 - int(number)) for number in numbers[:, 2]]
                images[index] = " ".join(numbers.ravel()) + "\n"
            else:
                images[index] = "\n"
        if change == "unordered":
            points = [f"{len(points) + 1 - int(line.split()[0])} {line.split(maxsplit=1)[1]}" for line in points]
        else:
            points = ["1 0 0 1 9 9 9 0.5\n", "2 0 0 2 9 9 9 0.5\n"] if change == "points without tracks" else []
        (text / "images.txt").write_text("".join(images))
        (text / "points3D.txt").write_text("".join(points))
        model = pycolmap.Reconstruction(text)
        shutil.rmtree(text)
    model.write_text(folder) if change == "text" else model.write_binary(folder)
    for path in [*folder.glob("rigs.*"), *folder.glob("frames.*")]:  # of newer versions; older ones have none
        path.unlink()
    if change == "text":
        for path in folder.glob("*.bin"):
            path.unlink()


def damage(folder, change):
    """Makes one of the model's files one that is not whole."""
    path = folder / ("cameras.bin" if change == "cameras" else "points3D.bin" if change == "points" else "images.bin")
    data = bytearray(path.read_bytes())
    name_ends = data.index(b"\0", 8 + 64)
    if change == "cut":
        del data[-5:]
    elif change == "observations":
        data[name_ends + 1 : name_ends + 9] = struct.pack("<Q", 2**63)
    elif change == "few too many observations":
        data[name_ends + 1 : name_ends + 9] = struct.pack("<Q", 2**40)
    elif change == "longer":
        data += bytes(5)
    elif change == "camera of another view":
        data[68:72] = struct.pack("<I", 2)
    elif change == "a point twice":  # an observation is 16 bytes of place and 8 of point
        data[name_ends + 49 : name_ends + 57] = data[name_ends + 25 : name_ends + 33]
    elif change == "name":
        data = data[:name_ends] + b"x" * (len(data) - name_ends)
    else:
        data[:8] = struct.pack("<Q", 2**64 - 1)
    path.write_bytes(data)


DAMAGES = (
    *("cut", "longer", "observations", "few too many observations", "a point twice", "camera of another view"),
    *("name", "cameras", "images", "points"),
)


@pytest.mark.parametrize("change", ["lens", "unmatched", "unordered", "known cameras", "points without tracks", "text"])
def test_a_model_of_other_origin_is_not_written_over(scene, tmp_path, change):
    export(scene.prediction, "colmap", tmp_path)
    export(scene.prediction, "colmap", tmp_path)  # over one of ours
    refused(scene, tmp_path, lambda folder: foreign(folder, change))


@pytest.mark.parametrize("change", DAMAGES)
def test_a_damaged_model_is_not_written_over(scene, tmp_path, change):
    export(scene.prediction, "colmap", tmp_path)
    refused(scene, tmp_path, lambda folder: damage(folder, change))


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
@pytest.mark.parametrize("ending", ["bin", "txt"])
def test_a_part_of_a_model_is_not_written_over(scene, tmp_path, name, ending):
    folder = tmp_path / "colmap" / "sparse" / "0"
    folder.mkdir(parents=True)
    (folder / f"{name}.{ending}").write_text("mine")
    refused(scene, tmp_path, lambda folder: None)


def refused(scene, export_dir, change):
    folder = export_dir / "colmap" / "sparse" / "0"
    change(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=rf"^{folder} {MESSAGE}$"):
        export(scene.prediction, "ply-colmap", export_dir, images=scene.images)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (export_dir / "colmap" / "images").exists()
    assert not (export_dir / "points.ply").exists()


def test_text_beside_a_model_of_ours_stays(scene, tmp_path):
    export(scene.prediction, "colmap", tmp_path)
    text = tmp_path / "colmap" / "sparse" / "0" / "cameras.txt"
    text.write_text("converted")
    export(scene.prediction, "colmap", tmp_path)
    assert text.read_text() == "converted"


def test_a_model_of_one_view_is_known_again(scene, tmp_path):
    one = {name: value[:1] for name, value in vars(scene.prediction).items() if isinstance(value, np.ndarray)}
    for _ in range(2):
        export(dataclasses.replace(scene.prediction, **one), "colmap", tmp_path)


def test_a_model_without_points_is_known_by_the_list_that_commands_keep(scene, tmp_path):
    empty = dataclasses.replace(scene.prediction, sky=np.ones_like(scene.sky))
    written = export(empty, "colmap", tmp_path)
    with pytest.raises(ValueError, match=MESSAGE):
        export(scene.prediction, "colmap", tmp_path)
    record(tmp_path, written)
    export(scene.prediction, "colmap", tmp_path)


def test_a_model_of_ours_that_was_refined_since_is_not_written_over(scene, tmp_path):
    record(tmp_path, export(scene.prediction, "colmap", tmp_path))
    export(scene.prediction, "colmap", tmp_path)  # the same again
    folder = tmp_path / "colmap" / "sparse" / "0"
    model = pycolmap.Reconstruction(folder)
    model.points3D[1].xyz += 0.1
    model.write_binary(folder)
    for path in [*folder.glob("rigs.*"), *folder.glob("frames.*")]:  # of newer versions; older ones have none
        path.unlink()
    before = (folder / "points3D.bin").read_bytes()
    message = rf"^{folder} has a COLMAP model that was changed since da3jax wrote it; move it away, or choose another folder to export to$"
    with pytest.raises(ValueError, match=message):
        export(scene.prediction, "colmap", tmp_path)
    assert (folder / "points3D.bin").read_bytes() == before
