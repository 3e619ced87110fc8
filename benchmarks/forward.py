"""Speed of our forward pass beside the official network's, on the same pseudo-random weights and images, in one process.

usage: python benchmarks/forward.py [--variant da3-small da3-base] [--views 1 4 8] [--dtype float32] [--outputs all without-rays]
                                    [--compile] [--repeats 7]

Images are 504 × 378. The official network is float32 and computes the ray branch whatever is asked for. Every contestant runs once a
round, for the machine's speed drifts, and a ratio is taken within a round: how many times faster than the official network in eager mode.
A run during which other processes had more than a twentieth of the machine is repeated: the official network's threads wait for each
other in busy loops, so that it loses far more by company than ours. `--compile` adds it under torch.compile. Needs the parity extra
(CONTRIBUTING.md) and, to see the other processes, Linux.
"""

import argparse
import copy
import functools
import os
import pathlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
import torch
from depth_anything_3.model.dinov2.layers.rope import RotaryPositionEmbedding2D
from safetensors.torch import load_model

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from convert.verify import official_network
from da3jax import forward, weights
from da3jax.config import PRESETS
from tests.parity.checkpoints import write_checkpoint

HEIGHT, WIDTH = 504, 378
OUTPUTS = {"all": None, "without-rays": ("depth", "cameras")}


class RotationWithoutGraphBreak(RotaryPositionEmbedding2D):
    """The official one asks the positions for their largest, and a number taken out of a tensor ends torch.compile's graph."""

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        tables = self._compute_frequency_components(tokens.shape[-1] // 2, max(HEIGHT, WIDTH) // 14 + 1, tokens.device, tokens.dtype)
        axes = zip(tokens.chunk(2, dim=-1), positions.unbind(-1), strict=True)
        return torch.cat([self._apply_1d_rope(part, place, *tables) for part, place in axes], dim=-1)


def load(variant: str):
    """The official network and our parameters, of the same weights."""
    holder = torch.nn.Module()
    holder.model = official_network(PRESETS[variant]).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = write_checkpoint(PRESETS[variant], pathlib.Path(folder))
        load_model(holder, str(path / "model.safetensors"))
        params, _ = weights.load(path)
    return holder.model, jax.device_put(params)


def contestants(variant: str, views: int, args: argparse.Namespace) -> dict[str, Callable]:
    network, params = load(variant)
    images = np.random.default_rng(0).standard_normal((1, views, HEIGHT, WIDTH, 3), dtype=np.float32)
    theirs, ours = torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous(), jax.device_put(images)

    def official(network):
        with torch.no_grad():
            return network(theirs)

    found = {"official, eager": functools.partial(official, network)}
    if args.compile:
        compiled = copy.deepcopy(network)
        compiled.backbone.pretrained.rope.__class__ = RotationWithoutGraphBreak
        found["official, torch.compile"] = functools.partial(official, torch.compile(compiled))
    for dtype in args.dtype:
        for outputs in args.outputs:
            run = jax.jit(functools.partial(forward, config=PRESETS[variant], dtype=dtype, outputs=OUTPUTS[outputs]))
            found[f"ours, {dtype}, {outputs}"] = lambda run=run: jax.block_until_ready(run(params, ours))
    return found


def others() -> float:
    """Seconds of processor time that all else on the machine has taken so far."""
    with pathlib.Path("/proc/stat").open() as stat:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    own = os.times()
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def timed(run: Callable, patience: float = 900) -> float:
    """Seconds that a run takes when nothing else runs."""
    give_up = time.perf_counter() + patience
    while time.perf_counter() < give_up:
        before = others()
        time.sleep(0.2)
        if others() - before > 0.03:
            time.sleep(2)
            continue
        start, before = time.perf_counter(), others()
        run()
        took = time.perf_counter() - start
        if others() - before < 0.05 * took * os.cpu_count() + 0.03:
            return took
    raise SystemExit(f"other processes have kept this machine busy for {patience:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=["da3-small", "da3-base"])
    parser.add_argument("--views", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--outputs", nargs="+", default=list(OUTPUTS), choices=list(OUTPUTS))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}, torch {torch.__version__}")
    print("\n| network | views | contestant | ms, median | least | most | times as fast, median | least | most |\n" + "|---" * 9 + "|")
    for variant in args.variant:
        for views in args.views:
            runs = contestants(variant, views, args)
            times: dict[str, list[float]] = {name: [] for name in runs}
            for run in runs.values():  # compiles
                run()
            for _ in range(args.repeats):
                for name, run in runs.items():
                    times[name].append(timed(run))
            for name, own in times.items():
                ratios = [theirs / mine for theirs, mine in zip(times["official, eager"], own, strict=True)]
                took = " | ".join(f"{1e3 * figure:.0f}" for figure in (statistics.median(own), min(own), max(own)))
                faster = " | ".join(f"{figure:.2f}" for figure in (statistics.median(ratios), min(ratios), max(ratios)))
                print(f"| {variant} | {views} | {name} | {took} | {faster} |", flush=True)


if __name__ == "__main__":
    main()
