"""Programs that are compiled ahead."""

import numpy as np
import pytest

import da3jax

SIZE = 56  # of pictures of 60 × 80: processed ones are 42 × 56
KNOWN = {
    "extrinsics": np.concatenate([np.tile(np.eye(3), (3, 1, 1)), np.arange(9.0).reshape(3, 3, 1) ** 2], axis=-1),
    "intrinsics": np.tile(np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]]), (3, 1, 1)),
}


@pytest.fixture
def fresh(model):
    """With nothing compiled yet."""
    return da3jax.DepthAnything3(model.params, model.config)


@pytest.mark.parametrize(
    ("count", "compile_options", "options"),
    [
        (1, {"outputs": ["depth"]}, {"outputs": ["depth"]}),
        (5, {"outputs": ["depth", "cameras"]}, {"outputs": ["cameras", "depth"]}),
        (5, {"independent": True, "outputs": ["depth"]}, {"independent": True, "outputs": ["depth"]}),
        (3, {"extrinsics": True, "intrinsics": True, "outputs": ["depth"]}, {**KNOWN, "outputs": ["depth"]}),
    ],
    ids=["one view", "a filled scene", "independent", "known cameras"],
)
def test_what_was_compiled_ahead_is_not_compiled_again(fresh, images, compiled, count, compile_options, options):
    pictures = (images * 2)[:count]
    assert fresh.compile(count, 42, 56, **compile_options) > 0
    assert len(compiled()) == 1
    found = fresh.inference(pictures, process_res=SIZE, **options)
    assert found.depth.shape == (count, 42, 56)
    assert compiled() == []


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((0, 42, 56), "views is 0; it is a whole number, at least 1"),
        ((2.0, 42, 56), "views is 2.0; it is a whole number, at least 1"),
        ((1, 42.0, 56), "height is 42.0; it is a whole number of pixels, a multiple of 14"),
        ((1, 378, 500), "width is 500; processed images have multiples of 14, for example 504"),
        ((1, 376, 504), "height is 376; processed images have multiples of 14, for example 378"),
        ((1, -14, 504), "height is -14; processed images have multiples of 14, for example 14"),
    ],
)
def test_a_size_that_no_processed_image_has_is_refused(model, size, message):
    with pytest.raises(ValueError, match=message):
        model.compile(*size)


def test_it_refuses_what_inference_refuses(model):
    with pytest.raises(ValueError, match="extrinsics place the views in one world, which independent images do not share"):
        model.compile(2, 42, 56, extrinsics=True, independent=True)
    with pytest.raises(ValueError, match="did you mean 'cameras'"):
        model.compile(2, 42, 56, outputs=["depth", "camera"])


def test_options_that_no_program_is_made_for_are_refused(model):
    with pytest.raises(ValueError, match="option of compile 'process_res' is unknown; it is one of align_to_input_ext_scale, "):
        model.compile(2, 28, 42, process_res=42)
    with pytest.raises(ValueError, match="extrinsics is of type ndarray; it says whether they will be given, True or False"):
        model.compile(2, 28, 42, extrinsics=np.zeros((2, 3, 4)), intrinsics=True)
