"""What drawing procedural scenes costs beside the network that is trained on them.

usage: python benchmarks/scenes.py [--variant da3-small] [--scenes 1] [--views 4] [--size 252 252] [--repeats 7]

A training step is reckoned as three forward passes, float32, all outputs. Both programs run once a round, in turn, and a ratio is taken
within a round, of wall time and of processor time: where other processes disturb a run, the latter says more.
"""

import argparse
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp

from da3jax import forward, init_params
from da3jax.config import PRESETS
from da3jax.training.scenes import sample_views


def timed(run) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="da3-small")
    parser.add_argument("--scenes", type=int, default=1)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=2, default=[252, 252], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()

    config = PRESETS[args.variant]
    params = jax.jit(lambda key: init_params(config, key))(jax.random.key(0))
    draw = jax.jit(jax.vmap(lambda key: sample_views(key, args.views, *args.size)))
    network = jax.jit(lambda params, images: forward(params, images, config=config))
    keys = jax.random.split(jax.random.key(0), args.scenes)
    images = jnp.zeros((args.scenes, args.views, *args.size, 3))
    runs = {"scenes": lambda: draw(keys), "forward pass": lambda: network(params, images)}

    for run in runs.values():  # compiles
        timed(run)
    times = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            times[name].append(timed(run))

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}, {jax.default_backend()}")
    print(f"{args.variant}, {args.scenes} × {args.views} views of {args.size[0]} × {args.size[1]}; median (least – most)\n")
    print("| | scenes, ms | forward pass, ms | scenes / (3 · forward pass) |\n|---|---|---|---|")
    for i, clock in enumerate(("wall time", "processor time")):
        own, theirs = ([pair[i] for pair in times[name]] for name in runs)
        ratios = [a / (3 * b) for a, b in zip(own, theirs, strict=True)]
        milliseconds = [summary([1e3 * x for x in seconds], 0) for seconds in (own, theirs)]
        print(f"| {clock} | {' | '.join(milliseconds)} | {summary(ratios, 3)} |")


def summary(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} – {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
