"""Exported programs give what `forward` gives, with nothing but jax and numpy."""

import builtins
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import da3jax
from da3jax.inference.export import export_forward
from da3jax.ops.blockwise import blockwise_attention
from tests.models.tiny import ANYVIEW, HEIGHT, SINGLE_VIEW, WIDTH, compiled, images_of, params_of

CALL = """
import pathlib, sys
import jax, numpy as np
folder = pathlib.Path(sys.argv[1])
program = jax.export.deserialize((folder / "forward.stablehlo").read_bytes())
params = dict(np.load(folder / "params.npz"))
for name in sys.argv[2:]:
    inputs = np.load(folder / f"{name}.npz")
    np.savez(folder / f"{name}_out.npz", **program.call(params, *inputs.values()))
assert not {"da3jax", "flax", "einops"} & set(sys.modules), sorted(sys.modules)
print(*program.platforms)
"""


def known_cameras(*leading):
    extrinsics = np.tile(np.eye(3, 4, dtype=np.float32), (*leading, 1, 1))
    extrinsics[..., 0, 3] = np.arange(leading[1])
    return extrinsics, np.tile(np.float32([[40, 0, WIDTH / 2], [0, 40, HEIGHT / 2], [0, 0, 1]]), (*leading, 1, 1))


@pytest.mark.integration
@pytest.mark.parametrize("cameras", [False, True])
def test_jax_alone_computes_forward_for_any_scenes_and_views(tmp_path, cameras):
    model = da3jax.DepthAnything3(params_of(ANYVIEW), ANYVIEW)
    written = model.export(tmp_path, HEIGHT, WIDTH, known_cameras=cameras)
    assert [path.name for path in written] == ["forward.stablehlo", "params.npz"]
    inputs = {}
    for scenes, views in [(2, 3)] if cameras else [(1, 1), (2, 3)]:
        name = f"{scenes}x{views}"
        inputs[name] = {"images": images_of(scenes, views)}
        if cameras:
            inputs[name]["extrinsics"], inputs[name]["intrinsics"] = known_cameras(scenes, views)
        np.savez(tmp_path / f"{name}.npz", **inputs[name])
    quick = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"}
    command = [sys.executable, "-c", CALL, tmp_path, *inputs]
    done = subprocess.run(command, cwd=tmp_path, env=quick, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "cpu cuda tpu\n"), done.stderr
    for name, arrays in inputs.items():
        found = np.load(tmp_path / f"{name}_out.npz")
        expected = {key: value for key, value in vars(compiled(ANYVIEW)(model.params, **arrays)).items() if value is not None}
        assert set(found) == set(expected) == {"depth", "depth_conf", "ray", "ray_conf", "pose_enc", "extrinsics", "intrinsics"}
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5 * np.abs(value).max(), err_msg=f"{key} of {name}")


@pytest.mark.integration
def test_sky_and_what_was_asked_for_alone():
    program = export_forward(SINGLE_VIEW, HEIGHT, WIDTH, outputs=("depth", "sky"))
    params, images = params_of(SINGLE_VIEW), images_of(2, 2)
    found = program.call(flatten_dict(params, sep="/"), images)
    expected = compiled(SINGLE_VIEW, outputs=("depth", "sky"))(params, images)
    assert set(found) == {"depth", "sky"}
    for name, value in found.items():
        np.testing.assert_allclose(value, getattr(expected, name), rtol=1e-5, atol=1e-6)


def test_a_stacked_model_is_exported_block_by_block(tmp_path):
    model = da3jax.DepthAnything3(da3jax.stack_layers(params_of(ANYVIEW), ANYVIEW), ANYVIEW, dtype="bfloat16")
    _, params = model.export(tmp_path, HEIGHT, WIDTH, outputs=("cameras",))
    with np.load(params) as archive:
        assert archive["backbone/blocks_3/attn/qkv/kernel"].shape == (16, 48)
        assert {archive[name].dtype for name in archive.files} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 30}, "height is 30; processed images have multiples of 14, for example 28"),
        ({"outputs": ["deph"]}, "deph"),
        ({"ref_view_strategy": "last"}, "last"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence_and_leaves_nothing(tmp_path, options, message):
    model = da3jax.DepthAnything3(params_of(ANYVIEW), ANYVIEW)
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / "exported", **{"height": HEIGHT, "width": WIDTH, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "exported").write_bytes(b"mine")
    model = da3jax.DepthAnything3(params_of(ANYVIEW), ANYVIEW)
    with pytest.raises(OSError, match=r"the export folder .*exported is a file, or lies below one"):
        model.export(tmp_path / "exported", HEIGHT, WIDTH, outputs=("cameras",))
    assert (tmp_path / "exported").read_bytes() == b"mine"


def test_an_export_is_not_overwritten(tmp_path):
    (tmp_path / "params.npz").write_bytes(b"mine")
    model = da3jax.DepthAnything3(params_of(ANYVIEW), ANYVIEW)
    with pytest.raises(FileExistsError, match=r"params\.npz is there already"):
        model.export(tmp_path, HEIGHT, WIDTH)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_without_flatbuffers_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **kwargs):
        if name == "flatbuffers":
            raise ModuleNotFoundError("No module named 'flatbuffers'")
        return real(name, *rest, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "da3jax\[export\]"'):
        da3jax.DepthAnything3(params_of(ANYVIEW), ANYVIEW).export(tmp_path, HEIGHT, WIDTH)


def test_a_program_for_accelerators_attends_by_blocks_of_views():
    (views,) = jax.export.symbolic_shape("s", constraints=["s >= 1"])
    struct = lambda tokens: jax.ShapeDtypeStruct((2, tokens, 3, 8), np.float32)  # noqa: E731
    program = jax.export.export(jax.jit(lambda *x: blockwise_attention(*x)[0]))(struct(7), struct(7 * views), struct(7 * views))
    rng = np.random.default_rng(0)
    for count in (1, 4):
        q, k, v = (rng.standard_normal((2, tokens, 3, 8), dtype=np.float32) for tokens in (7, 7 * count, 7 * count))
        np.testing.assert_allclose(program.call(q, k, v), jax.nn.dot_product_attention(q, k, v), rtol=1e-4, atol=1e-5)
