"""Damaged and hostile models: each is read or refused with a sentence, and nothing outside its folder is opened."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from da3jax.inputs import known_views, read_nerfstudio, read_scene_colmap
from da3jax.inputs.stored import stored_picture

WIDTH, HEIGHT = 24, 18
LENSES = {  # model: its number in binary files and its parameters
    "PINHOLE": (1, [20, 21, 12, 9]),
    "OPENCV": (4, [20, 21, 12, 9, -0.1, 0.02, 0.002, -0.001]),
    "RAD_TAN_THIN_PRISM_FISHEYE": (11, [15, 15, 12, 9, *[0.01] * 12]),
}
NAMES = ("a.png", "sub/b.png", "c 3.png")
OUTSIDE = "secret.png"
HOSTILE = [b"../secret.png", b"/etc/passwd", b"-1", b"0", b"nan", b"1e999", b"-1e308", b"4294967297", b"99999999999999999999", b"1e-300"]
HOSTILE += [
    b"",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x00" * 8,
    b"\x00\x00\x00\x00\x00\x00\xf0\x7f",
    b"\n",
    b'"',
    b"[",
    b"[]",
    b"{}",
    b"null",
]
JSON_POSE = [[0, 0, 1, 4], [1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 0, 1]]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder each of a text, a binary and a Nerfstudio model of the same pictures."""
    import pycolmap

    outer = tmp_path_factory.mktemp("fuzz")
    Image.new("RGB", (WIDTH, HEIGHT)).save(outer / OUTSIDE)
    model = pycolmap.Reconstruction()
    for number, (name, lens) in enumerate(zip(NAMES, LENSES, strict=True), 1):
        camera = pycolmap.Camera(camera_id=number, model=lens, width=WIDTH, height=HEIGHT, params=LENSES[lens][1])
        model.add_camera_with_trivial_rig(camera)
        points = pycolmap.Point2DList([pycolmap.Point2D(np.array([1.0, 2.0]))] * number)
        image = pycolmap.Image(name=name, camera_id=number, image_id=number, points2D=points)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d())
    for form in ("text", "binary", "json"):
        for name in NAMES:
            (outer / form / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), (9, 99, 199)).save(outer / form / "images" / name)
        (outer / form / "sparse").mkdir()
    model.write_text(outer / "text/sparse")
    model.write_binary(outer / "binary/sparse")
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": JSON_POSE, "k1": 0.1 * i, "camera_model": kind}
        for i, (name, kind) in enumerate(zip(NAMES, ("PINHOLE", "OPENCV", "OPENCV_FISHEYE"), strict=True))
    ]
    (outer / "json/transforms.json").write_text(json.dumps({"fl_x": 20, "cx": 12.5, "w": WIDTH, "h": HEIGHT, "frames": frames}))
    return outer


def mutated(content, rng):
    """`content` with one to four changes: bits, bytes, cuts, copies, and numbers or names that are no good."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at, length = int(rng.integers(0, len(content) + 1)), int(rng.integers(0, 12))
        change = rng.integers(0, 7)
        if change == 0 and content:
            content[at % len(content)] ^= 1 << int(rng.integers(0, 8))
        elif change == 1:
            content[at : at + length] = rng.integers(0, 256, length, np.uint8).tobytes()
        elif change == 2:
            del content[at : at + length]
        elif change == 3 and rng.random() < 0.3:
            del content[at:]
        elif change == 4:
            content[at:at] = content[at : at + 5 * length]
        elif words := [match.span() for match in re.finditer(rb"[^\s,\x00]+", content)]:  # 5 and 6: numbers and names
            start, end = words[int(rng.integers(0, len(words)))]
            content[start:end] = HOSTILE[int(rng.integers(0, len(HOSTILE)))]
    return bytes(content)


def fuzz(scenes, form, file, count, tmp_path, monkeypatch):
    """How many of `count` mutants were read."""
    scene = tmp_path / form
    shutil.copytree(scenes / form, scene)
    shutil.copy(scenes / OUTSIDE, tmp_path)
    opened = set()
    monkeypatch.setattr(known_views, "stored_picture", lambda path: opened.add(path) or stored_picture(path))
    original = (scene / file).read_bytes()
    rng = np.random.default_rng(len(file) + count)
    read, refusals = 0, []
    for _ in range(count):
        (scene / file).write_bytes(mutated(original, rng))
        try:
            found = (read_nerfstudio if form == "json" else read_scene_colmap)(scene)
            pictures = [image.read() for image in found.images]
        except (ValueError, OSError) as error:
            refusals.append(str(error))
            continue
        read += 1
        assert np.isfinite(found.extrinsics).all()
        assert np.isfinite(found.intrinsics).all()
        assert all(np.less_equal(pixels.shape, (2 * HEIGHT, 2 * WIDTH, 3)).all() for pixels in pictures)
    # Sentences of ours say where; those of Python and NumPy do not.
    assert [sentence for sentence in refusals if str(scene) not in sentence and " of view " not in sentence] == []
    (scene / file).write_bytes(original)
    assert {path.resolve().is_relative_to(scene) for path in opened} <= {True}
    before = {path.relative_to(scenes / form) for path in (scenes / form).rglob("*")}
    assert {path.relative_to(scene) for path in scene.rglob("*")} == before
    return read


FILES = [("text", "sparse/cameras.txt"), ("text", "sparse/images.txt"), ("binary", "sparse/cameras.bin"), ("binary", "sparse/images.bin")]
FILES += [("json", "transforms.json")]


@pytest.mark.parametrize(("form", "file"), FILES)
def test_a_mutant_is_read_or_refused_with_a_sentence(scenes, form, file, tmp_path, monkeypatch):
    assert 3 < fuzz(scenes, form, file, 300, tmp_path, monkeypatch) < 270


@pytest.mark.slow
@pytest.mark.parametrize(("form", "file"), FILES)
def test_so_are_many(scenes, form, file, tmp_path, monkeypatch):
    assert 30 < fuzz(scenes, form, file, 3000, tmp_path, monkeypatch) < 2700


def test_the_originals_are_read(scenes):
    for form in ("text", "binary", "json"):
        found = (read_nerfstudio if form == "json" else read_scene_colmap)(pathlib.Path(scenes / form))
        assert len(found.images) == 3
        assert all((image.read() == (9, 99, 199)).all() for image in found.images)
