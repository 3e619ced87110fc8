"""A path says by its names what it is."""

import pytest

from da3jax.inputs.detect import VIDEO_EXTENSIONS, kind


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.png"], "images"),
        ([], "images"),
        (["transforms.json", "images/a.png"], "nerfstudio"),
        (["images/a.png", "sparse/cameras.bin"], "colmap"),
        (["images/a.png", "sparse/0/cameras.bin", "transforms.json"], "colmap"),
        (["images/a.png"], "images"),
        (["sparse/cameras.bin"], "images"),
    ],
)
def test_a_folder_is_what_it_holds(tmp_path, files, expected):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert kind(tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.JPG", "image"),
        ("a.b.tiff", "image"),
        ("a.heic", "image"),
        ("transforms_train.json", "nerfstudio"),
        *((f"a.{ending}", "video") for ending in (*VIDEO_EXTENSIONS, "MP4")),
    ],
)
def test_a_file_is_what_it_ends_in(tmp_path, name, expected):
    (tmp_path / name).touch()
    assert kind(str(tmp_path / name)) == expected


def test_endings_of_images_can_be_chosen(tmp_path):
    (tmp_path / "a.jp2").touch()
    assert kind(tmp_path / "a.jp2", ["png", " .JP2"]) == "image"


@pytest.mark.parametrize("name", ["a.txt", "a", "png"])
def test_an_unknown_file_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"{name} is neither a folder nor an image \(png, jpg, .*\), a video \(mp4, .* by its ending"):
        kind(tmp_path / name)


def test_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; it should be an image, a video, or a folder"):
        kind(tmp_path / "nowhere")
