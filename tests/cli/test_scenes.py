"""`da3jax scenes`: photographs with ground truth that fits together."""

import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from da3jax.cli import app
from da3jax.geometry import matrix_from_quaternion

pytestmark = pytest.mark.integration

SMALL = ("--count", "2", "--views", "3", "--height", "56", "--width", "70")


def run(*arguments):
    return CliRunner().invoke(app, ["scenes", *map(str, arguments)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "out"
    result = run(folder, *SMALL)
    assert result.exit_code == 0, result.stderr
    return folder, result.stdout.splitlines()


def lines(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def test_what_is_printed_is_what_is_there(written):
    folder, printed = written
    assert [pathlib.Path(path) for path in printed] == [
        folder / scene / name
        for scene in ("0000", "0001")
        for name in (
            *(f"images/{view:04d}.png" for view in range(3)),
            "truth.npz",
            *(f"sparse/0/{name}.txt" for name in ("cameras", "images", "points3D")),
        )
    ]
    assert {path for path in folder.rglob("*") if path.is_file()} == {pathlib.Path(path) for path in printed}


def test_pictures_and_truth_have_the_sizes_asked_for_and_the_values_of_a_scene(written):
    folder, _ = written
    picture = np.asarray(Image.open(folder / "0000/images/0002.png"))
    assert picture.shape == (56, 70, 3)
    assert 30 < picture.mean() < 230
    with np.load(folder / "0000/truth.npz", allow_pickle=False) as truth:
        assert set(truth) == {"depth", "sky", "normals", "surface", "extrinsics", "intrinsics"}
        assert truth["depth"].shape == (3, 56, 70)
        assert np.array_equal(truth["depth"] == 0, truth["sky"])
        np.testing.assert_allclose(truth["intrinsics"][:, :2, 2], [[35, 28]] * 3, rtol=1e-6)
        rotation = truth["extrinsics"][..., :3]
        np.testing.assert_allclose(rotation @ rotation.swapaxes(-1, -2), [np.eye(3)] * 3, atol=1e-5)


@pytest.mark.parametrize("scene", ["0000", "0001"])
def test_the_colmap_model_agrees_with_itself_and_with_the_truth(written, scene):
    folder = written[0] / scene
    truth = np.load(folder / "truth.npz")
    cameras = {}
    for view, line in enumerate(lines(folder / "sparse/0/cameras.txt")):
        number, model, width, height, *parameters = line.split()
        assert (int(number), model, int(width), int(height)) == (view + 1, "PINHOLE", 70, 56)
        cameras[int(number)] = np.array(parameters, float)
        k = truth["intrinsics"][view]
        np.testing.assert_allclose(cameras[int(number)], [k[0, 0], k[1, 1], k[0, 2], k[1, 2]], rtol=1e-6)
    points = {}
    for line in lines(folder / "sparse/0/points3D.txt"):
        number, x, y, z, *rest = line.split()
        assert all(0 <= int(value) <= 255 for value in rest[:3])
        points[int(number)] = (np.array([x, y, z], float), {tuple(map(int, pair)) for pair in zip(rest[4::2], rest[5::2], strict=True)})
    assert len(points) > 50

    observed = dict.fromkeys(points, 0)
    rows = lines(folder / "sparse/0/images.txt")
    assert len(rows) == 6
    for view, (head, places) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        number, *pose, camera, name = head.split()
        assert (int(number), int(camera), name) == (view + 1, view + 1, f"{view:04d}.png")
        pose = np.array(pose, float)
        rotation, translation = np.asarray(matrix_from_quaternion(np.roll(pose[:4], -1))), pose[4:]
        np.testing.assert_allclose(np.c_[rotation, translation], truth["extrinsics"][view], atol=1e-5)
        fx, fy, cx, cy = cameras[int(camera)]
        for index, (u, v, point) in enumerate(np.array(places.split(), float).reshape(-1, 3)):
            xyz, track = points[int(point)]
            assert (view + 1, index) in track
            observed[int(point)] += 1
            x, y, z = rotation @ xyz + translation
            assert abs(fx * x / z + cx - u) < 2e-3
            assert abs(fy * y / z + cy - v) < 2e-3
            row, column = int(v), int(u)
            depth = truth["depth"][view][max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            assert 0 < z < 1.5 * max(depth.max(), z * (depth == 0).any())  # nothing in front of it in all the pixels around
    assert all(count == len(track) >= 2 for count, (_, track) in zip(observed.values(), points.values(), strict=True))


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(written, tmp_path):
    folder, printed = written
    for seed, same in ((0, True), (1, False)):
        again = tmp_path / str(seed)
        assert run(again, *SMALL, "--seed", seed).exit_code == 0
        pairs = [(pathlib.Path(path), again / pathlib.Path(path).relative_to(folder)) for path in printed]
        assert all((a.read_bytes() == b.read_bytes()) == same for a, b in pairs if a.suffix == ".png")
        if same:
            assert all(a.read_bytes() == b.read_bytes() for a, b in pairs if a.suffix == ".txt")


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "0001").mkdir()
    (tmp_path / "0001" / "mine.txt").write_text("mine")
    result = run(tmp_path, *SMALL)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{tmp_path}/0001 is there already and is not overwritten; name another folder than {tmp_path}, or remove it" in result.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["0001", "mine.txt"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    result = run(tmp_path / "file", *SMALL)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is a file" in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--count", "0", "0 is out of range; it is between 1 and 10000"),
        ("--views", "0", "0 is out of range; it is between 1 and 64"),
        ("--height", "13", "13 is out of range; it is between 14 and 2048"),
        ("--width", "100000", "100000 is out of range; it is between 14 and 2048"),
        ("--seed", "-1", "-1 is out of range; it is between 0 and 4294967295"),
        ("--views", "many", "Invalid value for '--views'"),
    ],
)
def test_a_wrong_number_is_refused(tmp_path, option, value, message):
    result = run(tmp_path / "out", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_of_the_readme_runs(tmp_path, monkeypatch):
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    (line,) = re.findall(r"^da3jax (scenes .*)$", readme, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*shlex.split(line), *SMALL])
    assert result.exit_code == 0, result.stderr
    assert pathlib.Path(result.stdout.splitlines()[0]).is_file()
