"""A folder of scenes gives samples with its truth; what is broken is named and another stands in for it."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from da3jax.training.data import AugmentConfig, FolderConfig
from da3jax.training.data.folder import draw_views, list_scenes, load_sample
from da3jax.training.data.view import relative_to_first
from tests.training.data.plane import HEIGHT, VIEWS, WIDTH

PLAIN = AugmentConfig(crop=(1, 1))


def load(root, size=(56, 84), views=VIEWS, augment=PLAIN, position=0, **options):
    config = FolderConfig(str(root), **options)
    return load_sample(list_scenes(config), config, augment, views, size, seed=0, source=0, position=position)


@pytest.fixture
def alone(forms, tmp_path):
    """A folder with one of the forms only."""

    def link(form):
        (tmp_path / form).mkdir()
        (tmp_path / form / "scene").symlink_to(forms / form)
        return tmp_path / form

    return link


@pytest.mark.parametrize("form", ["npy", "npz", "png", "colmap"])
def test_every_form_gives_the_truth_of_the_written_scene(alone, form):
    expected, _ = load(alone("truth"))
    found, skipped = load(alone(form))
    assert skipped == []
    assert np.array_equal(found["images"], expected["images"])
    assert np.array_equal(found["mask"], expected["mask"])
    np.testing.assert_allclose(found["depth"], expected["depth"], atol=0.00051 if form == "png" else 0)
    np.testing.assert_allclose(found["extrinsics"], expected["extrinsics"], atol=1e-6)
    np.testing.assert_allclose(found["intrinsics"], expected["intrinsics"], rtol=1e-6)
    assert np.isnan(found["sky"]).all()
    assert np.array_equal(expected["sky"], np.zeros_like(expected["depth"]))


def test_of_a_scene_without_labels_its_images_are_all_that_is_read(alone, forms, tmp_path):
    expected, _ = load(alone("truth"))
    (tmp_path / "bare" / "scene").mkdir(parents=True)
    (tmp_path / "bare" / "scene" / "images").symlink_to(forms / "truth" / "images")
    found, skipped = load(tmp_path / "bare", labelled=False)
    assert skipped == []
    assert np.array_equal(found["images"], expected["images"])
    assert not found["mask"].any()
    assert np.isnan(found["sky"]).all()
    assert np.isnan(found["extrinsics"]).all()
    assert np.isfinite(found["intrinsics"]).all()
    with pytest.raises(ValueError, match=r"scene, the first of 1, has no truth\.npz or depth"):
        load(tmp_path / "bare")


def test_a_sample_is_what_was_written(alone, truth):
    found, _ = load(alone("truth"), size=(HEIGHT // 2, WIDTH // 2))  # no multiple of 14, but exact
    order = [int(np.argmin([np.abs(k - m).sum() for m in truth.intrinsics / 2])) for k in found["intrinsics"] * [[[1], [1], [0.5]]]]
    assert sorted(order) == list(range(VIEWS))
    assert order != sorted(order)
    np.testing.assert_allclose(found["depth"], truth.depth[order][:, 1::2, 1::2])
    np.testing.assert_allclose(found["extrinsics"], relative_to_first(truth.extrinsics[order]), atol=1e-6)
    means = truth.images[order].reshape(VIEWS, HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(found["images"], means, atol=0.51)


def test_augmented_samples_keep_their_cameras(alone):
    root, seen = alone("npy"), set()
    for position in range(16):
        augment = AugmentConfig(crop=(0.5, 1), crop_shift=1, flip=0.5, quarter_turn=0.5)
        found, _ = load(root, (42, 56), 3, augment, position)
        again, _ = load(root, (42, 56), 3, augment, position)
        assert all(np.array_equal(found[name], again[name], equal_nan=True) for name in found)
        seen.add(tuple(np.round(found["intrinsics"][0, :2, 2], 3)))
        # All views see one plane: their points in the first view's frame lie on it, to what the nearest pixel costs.
        v, u = np.meshgrid(np.arange(42) + 0.5, np.arange(56) + 0.5, indexing="ij")
        points = []
        for depth, pose, k in zip(found["depth"], np.float64(found["extrinsics"]), np.float64(found["intrinsics"]), strict=True):
            camera = depth[..., None] * (np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(k).T)
            points.append(((camera - pose[:, 3]) @ pose[:, :3]).reshape(-1, 3))
        first = np.linalg.lstsq(points[0], np.ones(len(points[0])), rcond=None)[0]
        for other in points[1:]:
            np.testing.assert_allclose(other @ first, 1, atol=0.02)
    assert len(seen) == 16


def test_views_are_near_one_another_and_in_random_order():
    draws = [draw_views(np.random.default_rng(i), 100, 4, 8) for i in range(400)]
    assert all(len(set(draw)) == 4 and max(draw) - min(draw) < 8 and min(draw) >= 0 and max(draw) < 100 for draw in draws)
    assert {view for draw in draws for view in draw} == set(range(100))
    assert 0.3 < np.mean([draw[0] < draw[1] for draw in draws]) < 0.7
    assert sorted(draw_views(np.random.default_rng(0), 5, 5, 1)) == list(range(5))


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("form", ["npy", "colmap"])
def test_pictures_are_those_that_cameras_and_depth_are_of_whatever_their_exif_says(copy_of, alone, form, orientation):
    scene = copy_of(form)
    for file in (scene / "images").iterdir():
        with Image.open(file) as image:
            image.load()
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(file, exif=exif)
    found, skipped = load(scene.parent)
    assert skipped == []
    assert np.array_equal(found["images"], load(alone(form))[0]["images"])


def test_cameras_in_an_order_of_names_that_may_be_another_are_refused(copy_of, forms):
    scene = copy_of("npy")
    for file in (*(scene / "images").iterdir(), *(scene / "depth").iterdir()):
        file.rename(file.with_stem(str(8 + int(file.stem))))
    (scene.parent / "two").symlink_to(forms / "truth")
    skipped = [sentence for position in range(4) for sentence in load(scene.parent, position=position)[1]]
    assert skipped
    assert "cameras.npz has the order of the images' names, which is one by numbers and another by letters (8.png or 10.png" in skipped[0]


def test_unknown_depth_is_masked_and_zero(copy_of):
    scene = copy_of("npy")
    for file in (scene / "depth").iterdir():
        depth = np.load(file).astype(np.float64)
        depth[0, :5] = [np.nan, np.inf, -1, 0, 1e39]  # the last is infinite in float32
        np.save(file, depth)
    found, skipped = load(scene.parent, (HEIGHT, WIDTH))
    assert skipped == []
    assert not found["mask"][:, 0, :5].any()
    assert found["mask"].sum() == found["mask"].size - 5 * VIEWS
    assert np.array_equal(found["depth"] > 0, found["mask"])


def spoil_npz(path, **changed):
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{name: array for name, array in (arrays | changed).items() if array is not None})


def twice(scene):
    with np.load(scene / "cameras.npz") as file:
        pose = file["extrinsics"].copy()
    pose[2, :, :3] *= 2
    spoil_npz(scene / "cameras.npz", extrinsics=pose)


def bad_camera_size(scene):
    file = scene / "sparse/0/cameras.txt"
    file.write_text(file.read_text().replace(f"PINHOLE {WIDTH} {HEIGHT}", f"PINHOLE {2 * WIDTH} {2 * HEIGHT}"))


def skewed(scene):
    with np.load(scene / "cameras.npz") as file:
        k = file["intrinsics"].copy()
    k[0, 0, 1] = 2
    spoil_npz(scene / "cameras.npz", intrinsics=k)


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def every_depth(write):
    def spoil(scene):
        for file in (scene / "depth").iterdir():
            write(file)

    return spoil


BROKEN = {
    "missing depth": ("npy", every_depth(lambda f: f.unlink()), r"depth/000\d is missing, with any of the endings .png, .npy, .npz"),
    "other size": (
        "npy",
        every_depth(lambda f: np.save(f, np.ones((30, 45)))),
        r"depth/000\d.npy is 30 × 45; its image 000\d.png is 60 × 90 \(H × W\), and so should it be",
    ),
    "NaN depth": (
        "npy",
        every_depth(lambda f: np.save(f, np.full((60, 90), np.nan))),
        r"depth/000\d.npy has no valid value: all are zero, negative, NaN or infinite",
    ),
    "infinite depth": ("npz", every_depth(lambda f: np.savez(f, np.full((60, 90), np.inf))), r"depth/000\d.npz has no valid value"),
    "text depth": ("npy", every_depth(lambda f: np.save(f, np.full((60, 90), "a"))), r"depth/000\d.npy is of type <U1; .* real numbers"),
    "depth cut short": ("npy", every_depth(cut_short), r"depth/000\d.npy cannot be read; it may be cut off or damaged"),
    "PNG cut short": ("png", every_depth(cut_short), r"depth/000\d.png cannot be read as an image; it may be cut off or damaged"),
    "8-bit depth": (
        "png",
        every_depth(lambda f: Image.fromarray(np.ones((60, 90), np.uint8)).save(f)),
        r"depth/000\d.png has pixels of mode L; depth is 16-bit grey",
    ),
    "two arrays": (
        "npz",
        every_depth(lambda f: np.savez(f, a=np.ones(3), b=np.ones(3))),
        r"000\d.npz lacks depth; it has a, b",
    ),
    "scaled pose": ("npy", twice, r"extrinsics of view 2 \(0002.png\) are scaled: their rotation part is 2 times a rotation"),
    "skew": ("npy", skewed, r"intrinsics of 0000.png have a skew of 2 at \[0, 1\]; it should be 0"),
    "no intrinsics": (
        "npy",
        lambda scene: spoil_npz(scene / "cameras.npz", intrinsics=None),
        "cameras.npz lacks intrinsics; it has extrinsics",
    ),
    "few cameras": (
        "npy",
        lambda scene: spoil_npz(scene / "cameras.npz", extrinsics=np.eye(3, 4)[None]),
        "extrinsics have 1 entries for 5 images",
    ),
    "cameras cut short": (
        "npy",
        lambda scene: cut_short(scene / "cameras.npz"),
        "cameras.npz cannot be read; it may be cut off or damaged",
    ),
    "COLMAP of another size": (
        "colmap",
        bad_camera_size,
        r"000\d.png is 60 × 90; its COLMAP camera is for images of 120 × 180 \(H × W\)",
    ),
    "COLMAP of other images": (
        "colmap",
        lambda scene: [file.rename(file.with_name(f"x{file.name}")) for file in list((scene / "images").iterdir())],
        "none of its images is in the COLMAP model, whose first is 0000.png",
    ),
    "no images": ("npy", lambda scene: [file.unlink() for file in list((scene / "images").iterdir())], "images has no images: no file"),
    "an image that is none": (
        "npy",
        lambda scene: [file.write_text("no image") for file in (scene / "images").iterdir()],
        r"images/000\d.png is not an image that Pillow can read",
    ),
    "short truth": (
        "truth",
        lambda scene: spoil_npz(scene / "truth.npz", depth=np.ones((4, 60, 90))),
        r"truth.npz has depth of shape \(4, 60, 90\) and sky of shape \(5, 60, 90\); there are 5 images, so both are \(5, height, width\)",
    ),
    "depth of no shape": ("truth", lambda scene: spoil_npz(scene / "truth.npz", depth=np.ones(())), r"truth.npz has depth of shape \(\)"),
    "intrinsics of another size": (
        "npy",
        lambda scene: spoil_npz(scene / "cameras.npz", intrinsics=np.tile([[500.0, 0, 450], [0, 500, 300], [0, 0, 1]], (VIEWS, 1, 1))),
        r"intrinsics of 000\d.png have their principal point at \(450, 300\), outside of the image, which is 60 × 90 \(H × W\) and",
    ),
    "sky that is no mask": (
        "truth",
        lambda scene: spoil_npz(scene / "truth.npz", sky=np.full((VIEWS, 60, 90), 255, np.uint8)),
        r"sky \d of truth.npz has values from 255 to 255; it is bool, or from 0 to 1 and NaN where unknown",
    ),
    "few images": (
        "truth",
        lambda scene: [shutil.rmtree(scene), make_short(scene)],
        "it has 2 images with a camera; this batch needs 5",
    ),
}


def make_short(scene):
    (scene / "images").mkdir(parents=True)
    (scene / "depth").mkdir()
    for view in range(2):
        Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(scene / f"images/{view}.png")
        np.save(scene / f"depth/{view}.npy", np.ones((60, 90)))
    np.savez(scene / "cameras.npz", extrinsics=np.stack([np.eye(3, 4)] * 2), intrinsics=np.stack([np.diag([50.0, 50, 1])] * 2))


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_scene_is_named_and_another_stands_in(copy_of, forms, case):
    form, spoil, message = BROKEN[case]
    scene = copy_of(form)
    spoil(scene)
    (scene.parent / "two").symlink_to(forms / "truth")
    expected = f"the scene {scene} is left out: "
    skipped = [sentence for position in range(4) for sentence in load(scene.parent, position=position)[1]]
    assert skipped
    assert all(sentence.startswith(expected) for sentence in skipped)
    assert all(re.search(message, sentence) for sentence in skipped), skipped[0]


def test_the_one_scene_with_enough_images_is_found_among_many_with_too_few(copy_of):
    root = copy_of("npy").parent
    for index in range(40):
        make_short(root / f"short{index}")
    expected, _ = load(root, views=VIEWS)
    for position in range(20):
        found, skipped = load(root, position=position)
        assert found["images"].shape == expected["images"].shape
        assert len(set(skipped)) == len(skipped) <= 40
    shutil.rmtree(root / "one")
    with pytest.raises(ValueError, match=r"scenes: none of 40 scenes has 5 images; the last one: the scene .* has 2 images with a camera"):
        load(root)


def test_a_crop_without_depth_is_broken(copy_of):
    scene = copy_of("npy")
    corner = np.zeros((60, 90))
    corner[0, 0] = 1
    for file in (scene / "depth").iterdir():
        np.save(file, corner)
    with pytest.raises(ValueError, match="no depth is known inside the crops of its views"):
        load(scene.parent, (14, 14), augment=AugmentConfig(crop=(0.5, 0.5)))


def test_a_stand_in_is_the_same_again(copy_of, forms):
    scene = copy_of("npy")
    (scene / "cameras.npz").write_text("nothing")
    for form in ("truth", "png", "colmap"):
        (scene.parent / form).symlink_to(forms / form)
    for position in range(4):
        first, again = (load(scene.parent, position=position) for _ in range(2))
        assert first[1] == again[1]
        assert np.array_equal(first[0]["images"], again[0]["images"])


def test_a_folder_in_which_all_is_broken_ends_the_run(copy_of):
    scene = copy_of("npy")
    (scene / "cameras.npz").write_text("nothing")
    with pytest.raises(ValueError, match=r"scenes: 32 samples in a row are broken; the last one: the scene .*one is left out: cameras.npz"):
        load(scene.parent)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda root: None, FileNotFoundError, "data does not exist; it should be a folder that holds a folder for each scene"),
        (lambda root: root.touch(), NotADirectoryError, "data is a file; it should be a folder that holds a folder for each scene"),
        (lambda root: root.mkdir(), ValueError, "data has no scenes: none of its folders has a folder named images"),
        (
            lambda root: (root / "a/images").mkdir(parents=True),
            ValueError,
            r"data has no scene to learn from: a, the first of 1, has no truth.npz or depth",
        ),
        (
            lambda root: [(root / "a" / name).mkdir(parents=True) for name in ("images", "depth")],
            ValueError,
            r"data has no scene to learn from: a, the first of 1, has no cameras.npz or sparse/0",
        ),
    ],
)
def test_a_folder_without_scenes_is_refused(tmp_path, make, error, message):
    make(tmp_path / "data")
    with pytest.raises(error, match=message):
        list_scenes(FolderConfig(str(tmp_path / "data")))


def test_a_missing_part_of_a_scene_is_named(copy_of, forms):
    scene = copy_of("npy")
    shutil.rmtree(scene / "depth")
    (scene.parent / "two").symlink_to(forms / "truth")
    skipped = [sentence for position in range(4) for sentence in load(scene.parent, position=position)[1]]
    assert set(skipped) == {f"the scene {scene} is left out: it has no truth.npz or depth"}


def test_images_that_colmap_did_not_register_are_left_out(copy_of):
    scene = copy_of("colmap")
    (scene / "images/0005.png").write_bytes((scene / "images/0001.png").read_bytes())
    assert load(scene.parent)[1] == []
    with pytest.raises(ValueError, match="it has 5 images with a camera; this batch needs 6"):
        load(scene.parent, views=6)
