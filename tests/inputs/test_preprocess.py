"""From pictures to views: sizes, values and intrinsics recorded from the official package, and the package itself where it is installed."""

import logging
import pathlib
import sys
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
from PIL import ExifTags, Image

import da3jax.inputs
from da3jax.inputs import lazy_images
from da3jax.inputs.images import read_with_size
from da3jax.inputs.preprocess import METHODS, preprocess

_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_K = np.array([[50.0, 0, 22], [0, 40, 16], [0, 0, 1]])


def _pattern(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([(7 * x + 3 * y) % 256, (x * x + 5 * y) % 256, (x * y) % 256], axis=-1).astype(np.uint8)


def _noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Official results for a pattern of 33 × 45 at 30: processed_images[0, 3::10, 3::10, 1] and (fx, cx, fy, cy).
_RECORDED = {
    "upper_bound_resize": (
        (28, 28),
        [[46, 221, 137], [105, 14, 203], [163, 79, 128]],
        (31.11111068725586, 13.688888549804688, 33.93939208984375, 13.57575798034668),
    ),
    "lower_bound_resize": (
        (28, 42),
        [[29, 224, 118, 160], [88, 71, 184, 33], [146, 74, 224, 117]],
        (46.66666793823242, 20.53333282470703, 33.93939208984375, 13.57575798034668),
    ),
    "upper_bound_crop": (
        (14, 28),
        [[94, 167, 94], [169, 72, 169]],
        (33.33333206176758, 13.666666984558105, 26.66666603088379, 6.666666507720947),
    ),
    "lower_bound_crop": (
        (28, 28),
        [[120, 201, 52], [174, 35, 67], [229, 56, 122]],
        (45.55555725097656, 14.04444408416748, 36.3636360168457, 13.545454978942871),
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_gives_the_recorded_official_result(method):
    size, pixels, (fx, cx, fy, cy) = _RECORDED[method]
    views = preprocess([_pattern(33, 45)], intrinsics=_K[None], process_res=30, process_res_method=method)
    assert views.images.shape == (1, 1, *size, 3)
    np.testing.assert_array_equal(views.processed_images[0, 3::10, 3::10, 1], pixels)
    np.testing.assert_allclose(views.intrinsics, [[[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]]], rtol=1e-7)
    assert views.images.dtype == views.intrinsics.dtype == np.float32
    assert views.extrinsics is None


@pytest.mark.parametrize(
    ("method", "size"),
    list(zip(METHODS, [(280, 504), (504, 896), (280, 504), (504, 882)], strict=True)),
)
def test_sizes_of_a_video_frame_at_the_default_resolution(method, size):
    assert preprocess(np.zeros((680, 1208), np.uint8), process_res_method=method).processed_images.shape == (1, *size, 3)


@pytest.mark.parametrize(("side", "expected"), [(20, 14), (21, 28), (22, 28), (28, 28), (34, 28), (35, 42)])
def test_resize_goes_to_the_nearest_multiple_of_14_and_up_on_ties(side, expected):
    assert preprocess(np.zeros((side, 70), np.uint8), process_res=70).images.shape == (1, 1, expected, 70, 3)


def test_the_first_resize_rounds_halves_to_even():
    # half of 85 is 42.5, which becomes 42: crop leaves all of it. Half of 83 is 41.5, which becomes 42 as well.
    for side in (83, 85):
        views = preprocess(
            np.zeros((side, 112), np.uint8), intrinsics=[np.diag([100, 100, 1])], process_res=56, process_res_method="upper_bound_crop"
        )
        assert views.images.shape == (1, 1, 42, 56, 3)
        np.testing.assert_allclose(views.intrinsics[0, 0, 1], [0, 100 * 42 / side, 0], rtol=1e-6)


def test_values_are_imagenet_normalised_and_shown_truncated():
    levels = np.arange(256, dtype=np.uint8).repeat(14).reshape(16, 224)[:14, :, None].repeat(3, axis=2)
    views = preprocess(levels, process_res=224)
    np.testing.assert_allclose(views.images[0, 0], (levels / 255 - _MEAN) / _STD, atol=1e-6)
    back = np.clip(views.images[0] * _STD + _MEAN, 0, 1) * 255  # in float64, as the official result is made
    np.testing.assert_array_equal(views.processed_images, back.astype(np.uint8))
    assert 0 < (views.processed_images[0] != levels).mean() < 0.5  # which is one less than the level, now and then
    assert np.abs(views.processed_images[0].astype(int) - levels).max() == 1


def test_a_single_image_is_a_list_of_one(tmp_path):
    image = _pattern(28, 42)
    Image.fromarray(image).save(tmp_path / "a.png")
    expected = preprocess([image], process_res=42).images
    for single in (image, Image.fromarray(image), tmp_path / "a.png", str(tmp_path / "a.png"), image[None]):
        np.testing.assert_array_equal(preprocess(single, process_res=42).images, expected)


def test_sources_mix_and_keep_their_order_whatever_the_number_of_threads(tmp_path):
    arrays = [_noise(seed, 30 + seed, 50) for seed in range(6)]
    arrays = [array[:30] for array in arrays]
    Image.fromarray(arrays[1]).save(tmp_path / "1.png")
    Image.fromarray(arrays[2]).save(tmp_path / "2.png")
    sources = [arrays[0], tmp_path / "1.png", str(tmp_path / "2.png"), Image.fromarray(arrays[3]), *arrays[4:]]
    expected = np.concatenate([preprocess(array, process_res=56).images for array in arrays], axis=1)
    for num_workers in (1, 2, 8, None):
        np.testing.assert_array_equal(preprocess(sources, process_res=56, num_workers=num_workers).images, expected)


def test_one_lazily_opened_image_many_times_in_a_list(tmp_path):
    Image.fromarray(_noise(0, 300, 400)).save(tmp_path / "a.jpg")
    expected = preprocess(tmp_path / "a.jpg", process_res=56).processed_images[0]
    with Image.open(tmp_path / "a.jpg") as image:
        for view in preprocess([image] * 16, process_res=56, num_workers=8).processed_images:
            np.testing.assert_array_equal(view, expected)


def test_one_pixel_fills_the_view():
    views = preprocess(np.full((1, 1, 3), (0, 128, 255), np.uint8), process_res=28)
    np.testing.assert_allclose(views.images, np.full((1, 1, 28, 28, 3), (np.array([0, 128, 255]) / 255 - _MEAN) / _STD), atol=1e-6)


def test_intrinsics_refer_to_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    upright = _pattern(42, 28)
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "a.png", exif=exif)
    views = preprocess(tmp_path / "a.png", intrinsics=_K[None], process_res=84)
    np.testing.assert_array_equal(views.images, preprocess(upright, process_res=84).images)
    np.testing.assert_allclose(views.intrinsics[0, 0], np.diag([2, 2, 1]) @ _K)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_intrinsics_of_a_jpeg_follow_its_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 50
    sideways = orientation >= 5
    Image.fromarray(_pattern(56, 84)).save(tmp_path / "a.jpg", exif=exif)
    views = preprocess(tmp_path / "a.jpg", use_exif=True, process_res=42)
    focal = 50 * np.hypot(28, 42) / np.hypot(36, 24)
    np.testing.assert_allclose(views.intrinsics, [[[[focal, 0, 14 if sideways else 21], [0, focal, 21 if sideways else 14], [0, 0, 1]]]])
    np.testing.assert_array_equal(views.image_sizes, [(84, 56) if sideways else (56, 84)])
    assert views.images.shape == (1, 1, *((42, 28) if sideways else (28, 42)), 3)


def test_mixed_sizes_are_cropped_to_the_smallest_with_one_warning_that_names_them(tmp_path, caplog):
    wide, tall = _pattern(28, 56), _pattern(56, 42)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    with caplog.at_level(logging.WARNING):
        views = preprocess([tmp_path / "wide.png", tall, wide[:, :42]], intrinsics=np.stack([_K] * 3), process_res=56)
    np.testing.assert_array_equal(views.images[0, 0], preprocess(wide, process_res=56).images[0, 0, :, 7:49])
    np.testing.assert_array_equal(views.images[0, 1], preprocess(tall, process_res=56).images[0, 0, 14:42])
    np.testing.assert_allclose(views.intrinsics[0, 0], _K - [[0, 0, 7], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(views.intrinsics[0, 1], _K - [[0, 0, 0], [0, 0, 14], [0, 0, 0]])
    assert [record.getMessage() for record in caplog.records] == [
        "the processed images differ in size (H × W): 3 of 3 are cropped about their centre to 28 × 42: "
        f"{tmp_path / 'wide.png'} (28 × 56), image 1 (56 × 42), image 2 (42 × 56)"
    ]


def test_the_warning_names_only_what_is_cropped_and_at_most_ten(caplog):
    with caplog.at_level(logging.WARNING):
        preprocess([np.zeros((14, 28), np.uint8)] + [np.zeros((28, 28), np.uint8)] * 12, process_res=28)
    (record,) = caplog.records
    assert "12 of 13" in record.getMessage()
    assert "image 0 " not in record.getMessage()
    assert record.getMessage().endswith("image 9 (28 × 28), image 10 (28 × 28) and 2 more")


def test_equal_sizes_warn_of_nothing(caplog):
    preprocess([_pattern(28, 28)] * 2, process_res=28)
    assert not caplog.records


@pytest.mark.parametrize("rows", [3, 4])
def test_extrinsics_pass_as_they_are(rows):
    extrinsics = np.stack([np.eye(4), [[0, 0, 1, 0.1], [1, 0, 0, -2], [0, 1, 0, 3], [0, 0, 0, 1]]])
    views = preprocess([_pattern(28, 28)] * 2, extrinsics=extrinsics[:, :rows], process_res=28)
    np.testing.assert_array_equal(views.extrinsics, extrinsics[None, :, :3])
    assert views.extrinsics.dtype == np.float64


def test_views_without_a_camera_have_nan_for_it():
    views = preprocess([_pattern(28, 28)] * 2, extrinsics=[None, np.eye(4)], intrinsics=[_K, None], process_res=42)
    np.testing.assert_array_equal(views.extrinsics, [[np.full((3, 4), np.nan), np.eye(3, 4)]])
    np.testing.assert_allclose(views.intrinsics, [[np.diag([1.5, 1.5, 1]) @ _K, np.full((3, 3), np.nan)]], rtol=1e-6)
    assert views.intrinsics.dtype == np.float32
    views = preprocess(_pattern(28, 28), extrinsics=[None], intrinsics=[None], process_res=28)
    assert views.extrinsics is views.intrinsics is None


def test_whole_numbers_are_fine_as_cameras():
    views = preprocess(_pattern(28, 28), intrinsics=[[[28, 0, 14], [0, 28, 14], [0, 0, 1]]], process_res=42)
    np.testing.assert_allclose(views.intrinsics, [[[[42, 0, 21], [0, 42, 21], [0, 0, 1]]]])


def test_exif_fills_in_for_intrinsics_that_were_not_given(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.FocalLengthIn35mmFilm: 50}
    Image.fromarray(_pattern(28, 42)).save(tmp_path / "a.jpg", exif=exif)
    focal = 50 * np.hypot(28, 42) / np.hypot(36, 24)
    tagged, unknown = [[focal, 0, 21], [0, focal, 14], [0, 0, 1]], np.full((3, 3), np.nan)
    images = [tmp_path / "a.jpg", tmp_path / "a.jpg", _pattern(28, 42)]
    options = {"process_res": 42, "use_exif": True}
    np.testing.assert_allclose(preprocess(images, **options).intrinsics, [[tagged, tagged, unknown]])
    np.testing.assert_allclose(preprocess(images, intrinsics=[None, _K, None], **options).intrinsics, [[tagged, _K, unknown]])
    np.testing.assert_allclose(preprocess(images, intrinsics=[_K] * 3, **options).intrinsics, [[_K] * 3])
    assert preprocess(images, process_res=42).intrinsics is None
    assert preprocess(_pattern(28, 42), **options).intrinsics is None
    for wrong in ([_K] * 4, [_K] * 2):
        with pytest.raises(ValueError, match=rf"intrinsics have {len(wrong)} entries for 3 images"):
            preprocess(images, intrinsics=wrong, **options)
    with pytest.raises(ValueError, match="intrinsics are of type float"):
        preprocess(images, intrinsics=3.0, **options)


@pytest.mark.parametrize("method", METHODS)
def test_from_image_takes_pixels_of_the_upright_image_to_those_of_the_processed_one(method):
    scale_x, scale_y, top, left = {
        "upper_bound_resize": (28 / 45, 28 / 33, 0, 0),
        "lower_bound_resize": (42 / 45, 28 / 33, 0, 0),
        "upper_bound_crop": (30 / 45, 22 / 33, 4, 1),
        "lower_bound_crop": (41 / 45, 30 / 33, 1, 6),
    }[method]
    views = preprocess(_pattern(33, 45), process_res=30, process_res_method=method)
    np.testing.assert_allclose(views.from_image, [[[scale_x, 0, -left], [0, scale_y, -top], [0, 0, 1]]], rtol=1e-15)
    assert views.from_image.dtype == np.float64


def test_from_image_is_the_identity_where_nothing_changes_and_counts_the_crop_to_the_smallest():
    views = preprocess([_pattern(28, 56), _pattern(56, 42)], process_res=56)
    np.testing.assert_array_equal(views.from_image, [[[1, 0, -7], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, -14], [0, 0, 1]]])
    np.testing.assert_array_equal(views.processed_images[0, 3, 5], preprocess(_pattern(28, 56), process_res=56).processed_images[0, 3, 12])


def test_intrinsics_are_from_image_times_those_given():
    images = [_pattern(60, 90), _pattern(90, 61), _pattern(70, 70)]
    given = np.stack([_K, _K + np.triu(np.ones((3, 3)), 1), np.diag([2, 2, 1]) @ _K])
    views = preprocess(images, intrinsics=given, process_res=70, process_res_method="lower_bound_crop")
    np.testing.assert_array_equal(views.intrinsics[0], (views.from_image @ given).astype(np.float32))


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ({"extrinsics": [None, np.diag([1, 1, -1, 1])]}, r"extrinsics of view 1 \(image 1\) are left-handed"),
        ({"intrinsics": [_K.T, _K]}, r"intrinsics of view 0 \(.*a.png\) end in a row of .*the matrix looks transposed"),
        ({"intrinsics": _K}, "intrinsics have 3 entries for 2 images"),
    ],
)
def test_cameras_that_do_not_fit_are_refused_naming_the_view(tmp_path, cameras, message):
    Image.fromarray(_pattern(28, 28)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        preprocess([tmp_path / "a.png", _pattern(28, 28)], process_res=28, **cameras)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process_res": 13}, r"process_res is 13; it is a whole number of pixels, at least one patch \(14\)"),
        ({"process_res": 504.0}, "process_res is 504.0; it is a whole number"),
        ({"process_res": True}, "process_res is True"),
        ({"process_res": "504"}, "process_res is '504'"),
        (
            {"process_res_method": "upper_bound_rezise"},
            "process_res_method 'upper_bound_rezise' is unknown; .*did you mean 'upper_bound_resize'",
        ),
        ({"max_long_side": 13}, r"max_long_side is 13; it is a whole number of pixels, at least one patch \(14\), or None"),
        ({"max_long_side": float("nan")}, "max_long_side is nan; it is a whole number"),
        ({"max_long_side": "100"}, "max_long_side is '100'; it is a whole number"),
        ({"num_workers": 0}, "num_workers is 0; it is a number of threads, at least 1, or None"),
        ({"num_workers": 2.0}, "num_workers is 2.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        preprocess(_pattern(28, 28), **options)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "there are no images; preprocess needs at least one"),
        (None, "image 0 is of type NoneType; an image is a path, a PIL image or a numpy array"),
        (Image.new("RGB", (0, 7)), "image 0 is a PIL image of 0 × 7 pixels; an image has one at least"),
        ([_pattern(28, 28), _pattern(28, 28) / 255], "image 1 is an array of float64; an image is uint8"),
    ],
)
def test_what_are_no_images_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        preprocess(images)


@pytest.mark.parametrize(("method", "size"), [("upper_bound_resize", "0 × 504"), ("upper_bound_crop", "0 × 504")])
def test_image_that_leaves_less_than_a_patch_is_refused(method, size):
    message = (
        rf"image 1 is too thin: 5 × 1000 \(H × W\) becomes {size} by {method} at process_res 504, less than one patch of 14; crop the image"
    )
    with pytest.raises(ValueError, match=message):
        preprocess([_pattern(28, 28), np.zeros((5, 1000), np.uint8)], process_res_method=method)


def test_the_first_bad_file_is_named_whatever_the_number_of_threads(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    for num_workers in (1, 4):
        with pytest.raises(OSError, match=r"bad.png is not an image that Pillow can read"):
            preprocess([_noise(0, 600, 600), tmp_path / "bad.png", tmp_path / "missing.png"], num_workers=num_workers)


@pytest.mark.parametrize("lazy", [False, True], ids=["files", "lazy images"])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_no_more_images_than_threads_are_held_at_their_own_size(tmp_path, monkeypatch, lazy, num_workers):
    held, most, lock = 0, 0, threading.Lock()

    def count(change):
        nonlocal held, most
        with lock:
            held += change
            most = max(most, held)

    def counted(*args):
        pixels, size = read_with_size(*args)
        count(1)
        weakref.finalize(pixels, count, -1)
        time.sleep(0.002)  # others catch up
        return pixels, size

    monkeypatch.setattr(sys.modules[preprocess.__module__], "read_with_size", counted)
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        Image.fromarray(_noise(number, 60, 80)).save(path)
    preprocess(lazy_images(paths) if lazy else paths, process_res=28, num_workers=num_workers)
    assert held == 0
    assert 1 <= most <= num_workers


@pytest.mark.parametrize("method", METHODS)
def test_fast_decode_changes_pixels_alone(tmp_path, method):
    y, x = np.mgrid[:320, :480]
    picture = np.stack([128 + 100 * np.sin(x / 20), 128 + 90 * np.cos(y / 25), 128 + 80 * np.sin((x + y) / 30)], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(picture).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    for name in ("a.jpg", "turned.jpg"):
        options = {"intrinsics": [_K], "process_res": 70, "process_res_method": method}
        whole, fast = (preprocess(tmp_path / name, fast_decode=fast_decode, **options) for fast_decode in (False, True))
        for field in ("intrinsics", "from_image", "image_sizes"):
            np.testing.assert_array_equal(getattr(fast, field), getattr(whole, field))
        difference = np.abs(fast.processed_images.astype(int) - whole.processed_images)
        assert 0 < difference.max() <= 6
        assert difference.mean() < 0.7


def test_fast_decode_leaves_at_least_twice_the_size_and_is_exact_where_it_has_none(tmp_path):
    Image.fromarray(_noise(0, 112, 168)).save(tmp_path / "a.jpg")
    for process_res, exact in ((168, True), (84, True), (43, True), (42, False), (14, False)):
        whole, fast = (preprocess(tmp_path / "a.jpg", process_res=process_res, fast_decode=fast) for fast in (False, True))
        assert (fast.images == whole.images).all() == exact
    Image.fromarray(_noise(0, 112, 168)).save(tmp_path / "a.png")
    whole, fast = (preprocess(tmp_path / "a.png", process_res=28, fast_decode=fast) for fast in (False, True))
    np.testing.assert_array_equal(fast.images, whole.images)


def test_fast_decode_refuses_what_is_too_thin_by_its_own_size(tmp_path):
    Image.new("RGB", (1000, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a.jpg is too thin: 8 × 1000 \(H × W\) becomes 0 × 504 by upper_bound_resize"):
        preprocess(tmp_path / "a.jpg", fast_decode=True)


@pytest.fixture(scope="module")
def official():
    from tests.parity.processor import official_processor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return official_processor()


def _compare(official, images, intrinsics, process_res, method):
    """Asserts equal sizes and intrinsics and at most one grey level of difference; returns pixel values that differ, and all."""
    official_images = [str(image) if isinstance(image, pathlib.Path) else image for image in images]
    theirs, _, their_intrinsics = official(official_images, None, intrinsics.copy(), process_res, method, num_workers=1)
    theirs = theirs.permute(0, 2, 3, 1).numpy()
    ours = preprocess(images, intrinsics=intrinsics, process_res=process_res, process_res_method=method)
    assert ours.images[0].shape == theirs.shape
    levels = np.abs((ours.images[0] - theirs) * _STD * 255)
    assert levels.max() < 1.001
    np.testing.assert_allclose(ours.intrinsics[0], their_intrinsics.numpy(), rtol=1e-6, atol=1e-5)
    same = levels == 0
    shown = (np.clip(theirs * _STD + _MEAN, 0, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(ours.processed_images[same], shown[same])
    return np.count_nonzero(~same), same.size


@pytest.mark.parity
@pytest.mark.parametrize("method", METHODS)
def test_random_sizes_equal_the_official_processor_to_one_grey_level(official, method):
    rng = np.random.default_rng(0)
    different = total = 0
    for seed in range(25):
        height, width = rng.integers(40, 700, 2)
        image = _noise(seed, height, width) if seed % 2 else _pattern(height, width)
        process_res = int(max(rng.integers(14, 500), np.ceil(14 * max(height, width) / min(height, width))))
        intrinsics = np.array([[[rng.uniform(9, 900), 0.5, width / 3], [0, rng.uniform(9, 900), height / 3], [0, 0, 1]]])
        found = _compare(official, [image], intrinsics, process_res, method)
        different, total = different + found[0], total + found[1]
    print(f"{method}: {different} of {total} values differ by one grey level")
    assert different <= 0.05 * total  # OpenCV without IPP: 3 %, with IPP 1e-5


@pytest.mark.parity
@pytest.mark.parametrize("method", METHODS)
def test_mixed_sizes_equal_the_official_processor(official, method):
    images = [_noise(seed, *size) for seed, size in enumerate([(120, 200), (200, 120), (150, 150), (131, 177)])]
    intrinsics = np.stack([np.array([[100.0 + seed, 0, 60], [0, 90, 70], [0, 0, 1]]) for seed in range(4)])
    _compare(official, images, intrinsics, 140, method)


@pytest.mark.parity
@pytest.mark.parametrize("method", METHODS)
def test_photographs_equal_the_official_processor(official, method):
    folder = pathlib.Path(__file__).parents[2] / ".." / "shared" / "data" / "soh"
    if not folder.is_dir():
        pytest.skip("the photographs are not there")
    images = da3jax.inputs.list_images(folder)
    different, total = _compare(official, images, np.stack([_K] * len(images)), 504, method)
    print(f"{method}: {different} of {total} values differ by one grey level")


def test_a_long_side_of_the_most_there_may_be_is_taken_and_it_is_the_one_in_whole_patches():
    image, options = np.zeros((30, 299), np.uint8), {"process_res": 28}
    for method, side in (("lower_bound_resize", 280), ("lower_bound_crop", 266)):  # 28 × 279 before
        options = {"process_res": 28, "process_res_method": method}
        assert preprocess(image, max_long_side=side, **options).images.shape[2:4] == (28, side)
        with pytest.raises(ValueError, match=rf"image 0 would be 28 × {side} \(H × W\) by {method} at process_res 28; its longer side"):
            preprocess(image, max_long_side=side - 1, **options)


def test_fast_decode_leaves_twice_the_size_in_whole_patches_too(tmp_path):
    Image.fromarray(_noise(0, 100, 168)).save(tmp_path / "a.jpg")  # 25 × 42, then 28 × 42: half of 100 is not twice 28
    whole, fast = (preprocess(tmp_path / "a.jpg", process_res=42, fast_decode=fast) for fast in (False, True))
    np.testing.assert_array_equal(fast.images, whole.images)
