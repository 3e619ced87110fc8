"""What is saved here opens in PyTorch, and `convert.verify` says in a table how near the two networks are."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from da3jax.weights import convert, load, save_pretrained

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
ROOT = pathlib.Path(__file__).parents[2]


def state_of(folder, config) -> dict[str, np.ndarray]:
    """All that the official network knows after loading `folder` strictly."""
    import torch
    from safetensors.torch import load_model

    from convert.verify import official_network

    holder = torch.nn.Module()
    holder.model = official_network(config)
    load_model(holder, str(folder / "model.safetensors"), strict=True)
    return {key: tensor.numpy() for key, tensor in holder.state_dict().items()}


@pytest.mark.parametrize("name", ["anyview", "single_view"])
@pytest.mark.parametrize("through", ["memory", "a converted folder"])
def test_what_is_saved_opens_in_the_official_package_with_the_same_values(tmp_path, name, through):
    original = GOLDEN / name
    source = original if through == "memory" else convert(original, tmp_path / "jax")
    params, config = load(source)
    save_pretrained(params, config, tmp_path / "saved")
    expected, found = state_of(original, config), state_of(tmp_path / "saved", config)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, strict=True, err_msg=key)


def test_what_was_changed_here_is_changed_there(tmp_path):
    params, config = load(GOLDEN / "anyview")
    save_pretrained(jax.tree.map(lambda leaf: 2 * leaf, params), config, tmp_path)
    expected = state_of(GOLDEN / "anyview", config)
    found = state_of(tmp_path, config)
    norm = "model.head.scratch.output_conv2_aux.3.2.weight"
    assert np.abs(expected[norm]).min() > 0.1
    for key in (norm, "model.cam_enc.trunk.1.attn.qkv.weight", "model.head.resize_layers.0.weight"):
        np.testing.assert_array_equal(found[key], 2 * expected[key], strict=True)


def test_the_released_reader_of_pytorch_and_ours_agree_on_the_metadata(tmp_path):
    from safetensors import safe_open

    save_pretrained(*load(GOLDEN / "anyview"), tmp_path)
    with safe_open(GOLDEN / "anyview" / "model.safetensors", "pt") as one, safe_open(tmp_path / "model.safetensors", "pt") as other:
        assert one.metadata() == other.metadata()
        assert one.keys() == other.keys()


def verify(folder, command=("-m", "convert.verify")) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "ignore", *command, str(folder)], capture_output=True, text=True, cwd=ROOT, check=False, env=environment
    )


def test_verify_prints_a_table_and_ends_well_where_the_networks_agree():
    done = verify(GOLDEN / "anyview")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for part in ("patch_embed", "block_0", "block_5", "tap_3", "depth", "ray_conf", "pose_enc", "camera_tokens", "raw_gs"):
        assert part in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("worst ")
    assert last.endswith("bar 1e-04: equal")
    assert 0 < float(last.split()[1].rstrip(",")) <= 1e-4


# The official half runs in a spawned process, which does not see the change.
PERTURBED = """
import sys
import jax
from convert import verify
from da3jax import weights

if __name__ == "__main__":
    load = weights.load

    def load_and_disturb(folder):
        params, config = load(folder)
        params["head"]["output"]["conv_2"]["bias"] += 0.01
        return params, config

    weights.load = load_and_disturb
    verify.main()
"""


def test_verify_ends_with_status_one_where_our_parameters_differ(tmp_path):
    (tmp_path / "perturbed.py").write_text(PERTURBED)
    done = verify(GOLDEN / "single_view", command=[str(tmp_path / "perturbed.py")])
    assert done.returncode == 1, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.endswith("bar 1e-04: NOT equal")
    assert float(last.split()[1].rstrip(",")) > 1e-3


@pytest.mark.parametrize(("made", "sentence"), [(False, "does not exist"), (True, "config.json is missing: it says which network")])
def test_verify_says_in_a_sentence_what_cannot_be_read(tmp_path, made, sentence):
    folder = tmp_path / "weights"
    if made:
        folder.mkdir()
    done = verify(folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("convert.verify: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
