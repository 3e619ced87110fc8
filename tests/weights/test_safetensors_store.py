"""Reading the released layout: each number in its place, and every fault named."""

import re
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from safetensors.numpy import load_file, save_file

from da3jax.weights.keys import released_tensors
from da3jax.weights.safetensors_store import load
from tests.weights.trees import equal

STEM = "model.head.scratch.output_conv2_aux"
NORM, PATCH, QKV = (
    f"{STEM}.0.2.weight",
    "model.backbone.pretrained.patch_embed.proj.weight",
    "model.backbone.pretrained.blocks.3.attn.qkv.weight",
)
CAMERA = "model.backbone.pretrained.camera_token"


@pytest.fixture
def changed(tmp_path, released_dir, original):
    """A released folder with some tensors changed; None takes one away."""

    def write(changes):
        folder = tmp_path / "changed"
        folder.mkdir()
        shutil.copy(released_dir / "config.json", folder)
        arrays = {key: array for key, array in {**original, **changes}.items() if array is not None}
        save_file(arrays, folder / "model.safetensors")
        return folder

    return write


def with_value(array, place, value):
    array = array.copy()
    array.flat[place] = value
    return array


def test_each_number_lands_where_its_layer_wants_it(loaded, original):
    params, config = loaded
    assert config.name == "tiny-anyview"
    leaves = traverse_util.flatten_dict(params)
    tensors = released_tensors(leaves, config)
    assert {tensor.key for tensor in tensors.values()} == original.keys()
    for path, tensor in tensors.items():
        np.testing.assert_array_equal(leaves[path], tensor.to_ours(original[tensor.key]), strict=True)
    assert params["backbone"]["patch_embed"]["kernel"][5, 7, 2, 31] == original[PATCH][31, 2, 5, 7]
    assert params["backbone"]["blocks_3"]["attn"]["qkv"]["kernel"][30, 95] == original[QKV][95, 30]
    np.testing.assert_array_equal(params["head"]["ray_norm"]["scale"], original[NORM])
    assert all(leaf.dtype == np.float32 and leaf.devices() == {jax.devices()[0]} for leaf in leaves.values())


def test_a_file_with_the_shared_norm_stored_once_or_four_times_gives_the_same(changed, loaded, original):
    copies = {f"{STEM}.{level}.2.{leaf}": original[f"{STEM}.0.2.{leaf}"] for level in (1, 2, 3) for leaf in ("weight", "bias")}
    assert equal(load(changed(copies))[0], loaded[0])


def test_copies_of_the_shared_norm_that_disagree_are_named(changed, original):
    copies = {f"{STEM}.{level}.2.{leaf}": original[f"{STEM}.0.2.{leaf}"] for level in (1, 2, 3) for leaf in ("weight", "bias")}
    copies[f"{STEM}.3.2.weight"] = copies[f"{STEM}.3.2.weight"] + 1
    copies[f"{STEM}.1.2.bias"] = with_value(copies[f"{STEM}.1.2.bias"], 4, 9)
    with pytest.raises(ValueError, match=r"2 different from level 0, whose norm they share: \S+aux.1.2.bias, \S+aux.3.2.weight$"):
        load(changed(copies))


def test_level_three_alone_does_not_stand_for_level_zero(changed, original):
    with pytest.raises(ValueError, match=rf"1 missing: {NORM}$"):
        load(changed({NORM: None, f"{STEM}.3.2.weight": original[NORM]}))


FAULTS = {
    "missing": ({CAMERA: None}, rf"1 missing: {CAMERA}"),
    "extra": ({"model.mask_token": np.zeros(3, np.float32)}, r"1 unknown to the network: model.mask_token"),
    "wrong shape": (
        {PATCH: np.zeros((32, 14, 14, 3), np.float32)},
        rf"1 of another shape: {PATCH} \(32, 14, 14, 3\) instead of \(32, 3, 14, 14\)",
    ),
    "wrong dtype": ({NORM: np.zeros(32, np.int64)}, rf"1 of another dtype than F32, F16, BF16: {NORM} I64"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(changed, fault):
    changes, sentence = FAULTS[fault]
    folder = changed(changes)
    with pytest.raises(
        ValueError, match=rf"{folder}/model.safetensors does not hold the weights of tiny-anyview .* describes; {sentence}$"
    ):
        load(folder)


def test_all_faults_are_named_at_once(changed):
    folder = changed({key: array for changes, _ in FAULTS.values() for key, array in changes.items()})
    with pytest.raises(ValueError, match="does not hold the weights") as caught:
        load(folder)
    said = str(caught.value)
    assert all(re.search(sentence, said) for _, sentence in FAULTS.values())
    assert said.count(";") == len(FAULTS)


def test_double_precision_is_refused_rather_than_rounded(changed, original):
    with pytest.raises(ValueError, match=rf"1 of another dtype than F32, F16, BF16: {QKV} F64"):
        load(changed({QKV: original[QKV].astype(np.float64)}))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_read_as_the_float32_of_the_same_value(changed, original, dtype):
    params, _ = load(changed({QKV: original[QKV].astype(dtype), NORM: original[NORM].astype(dtype)}))
    kernel = params["backbone"]["blocks_3"]["attn"]["qkv"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, original[QKV].astype(dtype).astype(np.float32).T)
    np.testing.assert_array_equal(params["head"]["ray_norm"]["scale"], original[NORM].astype(dtype).astype(np.float32))


def test_each_tensor_that_is_not_finite_is_named(changed, original):
    changes = {QKV: with_value(original[QKV], 1000, np.nan), PATCH: with_value(original[PATCH], -1, np.inf)}
    changes[CAMERA] = with_value(original[CAMERA], 0, -np.inf)
    with pytest.raises(ValueError, match=rf"3 not finite \(NaN or infinite\): {QKV}, {CAMERA}, {PATCH}$"):
        load(changed(changes))


def test_weights_of_another_variant_are_refused_with_counts_and_ten_names(tmp_path, released_dir, single_view_dir, original):
    shutil.copy(released_dir / "config.json", tmp_path)
    shutil.copy(single_view_dir / "model.safetensors", tmp_path)
    other = load_file(single_view_dir / "model.safetensors")
    missing, unknown = original.keys() - other.keys(), other.keys() - original.keys()
    with pytest.raises(ValueError, match="does not hold the weights of tiny-anyview") as caught:
        load(tmp_path)
    said = str(caught.value)
    assert f"{len(missing)} missing: {', '.join(sorted(missing)[:10])} and {len(missing) - 10} more" in said
    assert f"{len(unknown)} unknown to the network: {', '.join(sorted(unknown)[:10])} and {len(unknown) - 10} more" in said
    assert len(said) < 4000


@pytest.mark.parametrize("keep", [0, 5, 8, 1000, 40_000, 200_000, -1])
def test_a_truncated_file_is_one_sentence(changed, keep):
    folder = changed({})
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"^{path} cannot be read: .*; it is truncated or no safetensors file, fetch it again$"):
        load(folder)


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(5000), b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_of_another_kind_is_one_sentence(changed, content):
    folder = changed({})
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read: .*; it is truncated or no safetensors file, fetch it again"):
        load(folder)


def test_a_key_that_the_header_names_twice_is_refused(changed):
    folder = changed({})
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"blocks.0.ls1.gamma", b"blocks.0.ls2.gamma", 1))
    with pytest.raises(ValueError, match=r"cannot be read: .*invalid offset"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "sentence"), [("model.safetensors", "weights of tiny-anyview are expected"), ("config.json", "which network")]
)
def test_a_missing_file_is_one_sentence(changed, name, sentence):
    folder = changed({})
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing: .*{sentence}"):
        load(folder)


def test_leaves_go_where_the_shardings_say(released_dir, loaded):
    mesh = Mesh(np.array(jax.devices()), ("x",))
    rows, everywhere = NamedSharding(mesh, PartitionSpec("x")), NamedSharding(mesh, PartitionSpec())
    third = SingleDeviceSharding(jax.devices()[3])
    a_tree = jax.tree.map(lambda leaf: rows if leaf.shape[0] % 8 == 0 else everywhere, loaded[0])

    def by_path(path, shape):
        return rows if path.endswith("qkv/kernel") and shape == (32, 96) else third

    for shardings, qkv, pos_embed in ((third, third, third), (a_tree, rows, everywhere), (by_path, rows, third)):
        params, _ = load(released_dir, shardings=shardings)
        assert equal(params, loaded[0])
        kernel = params["backbone"]["blocks_3"]["attn"]["qkv"]["kernel"]
        assert kernel.sharding.is_equivalent_to(qkv, 2)
        assert params["backbone"]["pos_embed"].sharding.is_equivalent_to(pos_embed, 3)
        assert len(jax.tree.leaves(params)) == 375
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(4, 96)}
    with jax.default_device(jax.devices()[5]):
        assert jax.tree.leaves(load(released_dir)[0])[0].devices() == {jax.devices()[5]}


def test_a_tree_of_shardings_without_a_leaf_names_it(released_dir, loaded):
    tree = jax.tree.map(lambda leaf: SingleDeviceSharding(jax.devices()[1]), loaded[0])
    del tree["head"]["ray_norm"]
    with pytest.raises(
        ValueError, match=r"shardings has no entry for head/ray_norm/(scale|bias); as a dict it is a tree like the parameters'"
    ):
        load(released_dir, shardings=tree)
