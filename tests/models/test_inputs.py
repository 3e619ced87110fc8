"""What `forward` refuses, before anything is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.models import forward, init_params
from da3jax.parallel import make_mesh
from tests.models.tiny import ANYVIEW, SINGLE_VIEW, images_of, params_of

IMAGES = images_of(2, 3)
EXTRINSICS = np.tile(np.eye(3, 4, dtype=np.float32), (2, 3, 1, 1))
INTRINSICS = np.tile(np.diag(np.float32([40, 40, 1])), (2, 3, 1, 1))

REFUSED = {
    "rank": ({"images": IMAGES[0]}, r"images have shape \(3, 28, 42, 3\); they are \(scenes, views, height, width, 3\)"),
    "channels first": ({"images": IMAGES.transpose(0, 1, 4, 2, 3)}, r"images have shape \(2, 3, 3, 28, 42\); they are \(scenes, views,"),
    "four channels": ({"images": np.zeros((1, 1, 14, 14, 4), np.float32)}, r"images have shape \(1, 1, 14, 14, 4\)"),
    "integers": ({"images": np.zeros(IMAGES.shape, np.uint8)}, "images are uint8; they are floating point, ImageNet-normalised"),
    "no scene": ({"images": IMAGES[:0]}, r"images have shape \(0, 3, 28, 42, 3\); at least one scene with one view is needed"),
    "no view": ({"images": IMAGES[:, :0]}, r"images have shape \(2, 0, 28, 42, 3\); at least one scene with one view is needed"),
    "height": ({"images": images_of(1, 1, height=30)}, "images are 30 × 42; both sides are multiples of 14, for example 28 × 42"),
    "width": ({"images": images_of(1, 1, width=41)}, "images are 28 × 41; both sides are multiples of 14, for example 28 × 42"),
    "tiny": ({"images": images_of(1, 1, height=1, width=1)}, "images are 1 × 1; both sides are multiples of 14, for example 14 × 14"),
    "no pixel": ({"images": images_of(1, 1, height=0)}, "images are 0 × 42; both sides are multiples of 14, for example 14 × 42"),
    "no intrinsics": (
        {"extrinsics": EXTRINSICS},
        "one of extrinsics and intrinsics is missing; the network is conditioned on both or on none",
    ),
    "no extrinsics": ({"intrinsics": INTRINSICS}, "one of extrinsics and intrinsics is missing"),
    "views of extrinsics": (
        {"extrinsics": EXTRINSICS[:, :2], "intrinsics": INTRINSICS},
        r"extrinsics have shape \(2, 2, 3, 4\); for these images they are \(2, 3, 3, 4\) or \(2, 3, 4, 4\)",
    ),
    "extrinsics of one scene": (
        {"extrinsics": EXTRINSICS[0], "intrinsics": INTRINSICS},
        r"extrinsics have shape \(3, 3, 4\); for these images",
    ),
    "rotations only": ({"extrinsics": EXTRINSICS[..., :3], "intrinsics": INTRINSICS}, r"extrinsics have shape \(2, 3, 3, 3\)"),
    "intrinsics": (
        {"extrinsics": EXTRINSICS, "intrinsics": INTRINSICS[:, :1]},
        r"intrinsics have shape \(2, 1, 3, 3\); for these images they are \(2, 3, 3, 3\)",
    ),
    "outputs": ({"outputs": "depth"}, r"outputs is the string 'depth'; it is a list of names, like \['depth'\]"),
    "outputs of another kind": ({"outputs": 3}, r"outputs is 3; it is a list of names, like \['depth'\]"),
    "mesh": ({"mesh": 2}, "mesh is 2; it is a jax.sharding.Mesh, which da3jax.make_mesh makes"),
    "preset": ({"config": "da3-tyni"}, "preset 'da3-tyni' is unknown; it is one of .* did you mean 'da3-tiny'"),
    "config": ({"config": 5}, "model 5 is no configuration of a network; that is the name of a preset, a YAML file or a dict"),
    "params": ({"config": "da3-tiny"}, "params are not those of da3-tiny: "),
    "dtype": ({"dtype": "bfloat61"}, r"dtype 'bfloat61' is unknown; it is one of float32, bfloat16; did you mean 'bfloat16'\?"),
    "another dtype": ({"dtype": "float16"}, "dtype 'float16' is unknown; it is one of float32, bfloat16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_refused_with_the_reason(name):
    options, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        forward(params_of(ANYVIEW), **{"images": IMAGES, "config": ANYVIEW, **options})


def test_parameters_that_lack_a_part_are_refused():
    params = {name: part for name, part in params_of(ANYVIEW).items() if name != "head"}
    with pytest.raises(ValueError, match="params are not those of four-blocks: "):
        forward(params, IMAGES, config=ANYVIEW)


@pytest.mark.parametrize("name", ["rank", "views of extrinsics", "extrinsics of one scene"])
def test_on_a_mesh_the_same_sentences_come_of_the_shapes_that_were_given(name):
    options, message = REFUSED[name]
    mesh = make_mesh(1, view=2, devices=jax.devices()[:2])
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: forward(params_of(ANYVIEW), **{"images": IMAGES, **options}, config=ANYVIEW, mesh=mesh))


def test_on_a_mesh_lists_are_arrays_too():
    mesh = make_mesh(1, view=2, devices=jax.devices()[:2])
    mask = [[True, True, False]] * 2
    found = jax.eval_shape(lambda: forward(params_of(ANYVIEW), IMAGES.tolist(), config=ANYVIEW, mesh=mesh, view_mask=mask))
    assert found.depth.shape == (2, 3, 28, 42)


def test_random_parameters_are_float32_whatever_the_default():
    with jax.enable_x64(True):
        shapes = jax.eval_shape(lambda: init_params(ANYVIEW, jax.random.key(0)))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}


def test_a_network_without_camera_encoder_takes_no_cameras():
    with pytest.raises(ValueError, match="four-plain-blocks has no camera encoder; it takes no extrinsics"):
        forward(params_of(SINGLE_VIEW), IMAGES, config=SINGLE_VIEW, extrinsics=EXTRINSICS, intrinsics=INTRINSICS)


def test_under_jit_the_same_sentences_come():
    run = jax.jit(lambda params, images: forward(params, images, config=ANYVIEW))
    with pytest.raises(ValueError, match="images are 30 × 42; both sides are multiples of 14"):
        run(params_of(ANYVIEW), jnp.zeros((1, 1, 30, 42, 3)))
