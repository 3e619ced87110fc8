"""What a step of training takes: all parameters, a frozen backbone, and inner values computed again.

usage: python benchmarks/training.py [--variant da3-small] [--scenes 2] [--views 2] [--size 252 252] [--repeats 7]

Each kind runs in a fresh process, so that the peak of its memory is its own (Linux): what the first step takes above state and batch. A
forward pass of all outputs on as many images is timed beside it; ratios are within one process.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

KINDS = {
    "all parameters": {},
    "all, computed again": {"remat": True},
    "frozen backbone": {"optimizer": {"freeze": ["^backbone/"]}},
    "frozen, computed again": {"optimizer": {"freeze": ["^backbone/"]}, "remat": True},
}


def resident(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    line = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def measure(args: argparse.Namespace) -> None:
    """Prints milliseconds a step and a forward pass, and bytes, as JSON."""
    import jax

    from da3jax import forward, init_params
    from da3jax.parallel import batch_sharding, make_mesh
    from da3jax.training.config import load_train_config
    from da3jax.training.data import PlannedBatch, ProceduralConfig, realise
    from da3jax.training.data.procedural import scene_seed
    from da3jax.training.optimizer import make_optimizer, split
    from da3jax.training.state import init_state, state_shardings
    from da3jax.training.step import make_forward, make_loss, make_train_step

    config = load_train_config({"model": args.variant, "steps": 100, **KINDS[args.measure]})
    mesh = make_mesh()
    params = jax.jit(lambda key: init_params(config.model, key))(jax.random.key(0))
    optimizer = make_optimizer(config.optimizer, split(params, config.optimizer.freeze)[0], mesh)
    shardings = state_shardings(params, optimizer, config.optimizer, mesh)
    state = jax.jit(lambda params: init_state(params, optimizer, config.optimizer), out_shardings=shardings)(params)
    loss = make_loss(config.model, config.losses, config.data.augment, make_forward(config.model, mesh, remat=config.remat))
    step = make_train_step(loss, optimizer, config.optimizer, steps=config.steps, mesh=mesh, shardings=shardings)
    seeds = jax.numpy.stack([scene_seed((0, i)) for i in range(args.scenes)])
    batch = realise(PlannedBatch(seeds, args.views, *args.size, ProceduralConfig()), batch_sharding(mesh))
    network = jax.jit(lambda params, images: forward(params, images, config=config.model))
    key, copy = jax.random.key(0), jax.tree.map(jax.numpy.copy, params)
    images = jax.numpy.asarray(batch.images)

    compiled = jax.jit(step, donate_argnums=0).lower(state, batch, key, None).compile()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of compiling
    before = resident("VmRSS")
    state, _ = jax.block_until_ready(compiled(state, batch, key, None))
    peak = resident("VmHWM") - before
    jax.block_until_ready(network(copy, images))
    times = {"step": [], "forward": []}
    for _ in range(args.repeats):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(compiled(state, batch, key, None))
        times["step"].append(time.perf_counter() - start)
        start = time.perf_counter()
        jax.block_until_ready(network(copy, images))
        times["forward"].append(time.perf_counter() - start)
    print(json.dumps({**times, "peak": peak, "moments": sum(leaf.nbytes for leaf in jax.tree.leaves(state.opt_state))}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="da3-small")
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=[252, 252], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--measure", choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure(args)

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; {args.variant}")
    print(f"{args.scenes} × {args.views} views of {args.size[0]} × {args.size[1]}, median (least – most)\n")
    print("| | step, ms | forward passes | peak, MB | optimiser, MB |\n|---|---|---|---|---|")
    for kind in KINDS:
        done = subprocess.run([sys.executable, *sys.argv, "--measure", kind], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        ratios = [a / b for a, b in zip(found["step"], found["forward"], strict=True)]
        milliseconds = summary([1e3 * seconds for seconds in found["step"]], 0)
        print(
            f"| {kind} | {milliseconds} | {summary(ratios, 1)} | {found['peak'] / 1e6:.0f} | {found['moments'] / 1e6:.0f} |",
            flush=True,
        )
    return None


def summary(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} – {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
