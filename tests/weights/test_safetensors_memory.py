"""How much memory reading and writing the released layout take."""

import functools
import math
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from da3jax.config import BackboneConfig, DPTConfig, ModelConfig
from da3jax.models import init_params
from da3jax.weights.safetensors_store import save

MIDDLING = ModelConfig("middling", BackboneConfig(768, 6, 12, (2, 3, 4, 5), cat_token=False), DPTConfig(32, (16, 16, 16, 16)))
"""175 MB of parameters."""


@pytest.mark.integration
@pytest.mark.skipif(not pathlib.Path("/proc/self/status").is_file(), reason="reads a process's peak from /proc")
def test_neither_reading_nor_writing_holds_a_second_copy(tmp_path, single_view_dir):
    """Peaks of a fresh process: reading takes 1.3 times the file at most, and writing next to nothing."""
    script = """
import pathlib, sys
import jax
from da3jax.weights.safetensors_store import load, save
def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
small, large, out = map(pathlib.Path, sys.argv[1:])
jax.block_until_ready(load(small))  # what tracing and the libraries take once
before = status("VmRSS")
params, config = jax.block_until_ready(load(large))
reading = status("VmHWM") - before
before = status("VmHWM")
save(params, config, out)
print(reading, status("VmHWM") - before)
"""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(functools.partial(init_params, MIDDLING), jax.random.key(0))
    params = jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)
    save(params, MIDDLING, tmp_path / "large")
    file = tmp_path / "large" / "model.safetensors"
    size = file.stat().st_size
    assert 150e6 < size == pytest.approx(4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)), rel=1e-3)
    command = [sys.executable, "-c", script, str(single_view_dir), str(tmp_path / "large"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=pathlib.Path(__file__).parents[2])
    reading, writing = map(int, done.stdout.split())
    assert reading <= 1.3 * size
    assert writing <= 0.3 * size
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == file.read_bytes()
