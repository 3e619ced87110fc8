"""Memory: a forward pass on a CPU beside the official network; what is planned for devices that are not here; whether plans are right.

usage: python benchmarks/memory.py cpu [--variant da3-small] [--views 8 32] [--repeats 3]
       python benchmarks/memory.py plan [--topology h100] [--variant da3-giant ...] [--size 504 336] [--gib 79] [--views N ...]
       python benchmarks/memory.py check [--variant da3-small] [--size 504 378] [--views 2 8 32]

`cpu`: views of 504 × 378, float32, all outputs, the same pseudo-random weights; each measurement in a process of its own, as the largest
resident memory during a call less what is resident once the network is loaded. The first call of ours compiles, or loads what an earlier
process has compiled, as `inference` does by default. Needs the parity extra.

`plan`: what `da3jax.planner` says of `inference` on other devices, without views that fill a scene up: the largest number of views that
fits, or the memory of the given numbers. Needs the extra of the devices' compiler, best in an environment of its own.

`check`: what the planner says of `inference` on this CPU, and by how much the resident memory of a process that has loaded its libraries
and nothing else grows when it loads weights and runs it; what is compiled is there from an earlier process.
"""

import argparse
import functools
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
HEIGHT, WIDTH = 504, 378
GIB = 2**30


def resident(field: str) -> int:
    """Bytes of this process: `VmRSS` now, or `VmHWM`, the most since `forget_peak`."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def forget_peak() -> None:
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def official(folder: pathlib.Path, images):
    import torch
    from safetensors.torch import load_model

    from convert.verify import official_network
    from da3jax.weights.official_config import read_config

    torch.set_num_threads(os.cpu_count())
    holder = torch.nn.Module()
    holder.model = official_network(read_config(folder / "config.json")).eval()
    load_model(holder, str(folder / "model.safetensors"))
    images = torch.from_numpy(images).permute(0, 1, 4, 2, 3).contiguous()

    def call():
        with torch.no_grad():
            return holder.model(images)

    return call


def ours(folder: pathlib.Path, images):
    import jax

    from da3jax import forward, weights

    params, config = weights.load(folder)
    params, images = jax.device_put((params, images))
    run = jax.jit(functools.partial(forward, config=config))
    return lambda: jax.block_until_ready(run(params, images))


def measure(network: str, folder: pathlib.Path, views: int) -> None:
    """Prints the bytes that the first and the second call take."""
    import numpy as np

    images = np.random.default_rng(0).standard_normal((1, views, HEIGHT, WIDTH, 3), dtype=np.float32)
    call = {"official": official, "ours": ours}[network](folder, images)
    loaded, peaks = resident("VmRSS"), []
    for _ in range(2):
        forget_peak()
        call()
        peaks.append(resident("VmHWM") - loaded)
    print(*peaks)


def cpu(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write = "from tests.parity.checkpoints import *; from da3jax.config import PRESETS; import sys; "
        write += "write_checkpoint(PRESETS[sys.argv[1]], pathlib.Path(sys.argv[2]))"
        root = pathlib.Path(__file__).parents[1]
        subprocess.run([sys.executable, "-c", write, args.variant, folder], check=True, cwd=root)
        cached = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        contestants = {"official": ("official", {}), "ours": ("ours", {}), "ours, compiled by an earlier process": ("ours", cached)}
        print("| network | views | contestant | first call, MB | second call, MB | second: share of the official, median | least | most |")
        print("|---" * 8 + "|")
        for views in args.views:
            taken = {name: [] for name in contestants}
            for repeat in range(args.repeats + 1):
                for name, (network, extra) in contestants.items():
                    if repeat or extra:  # round 0 fills the cache
                        command = [sys.executable, __file__, "measure", network, folder, str(views)]
                        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | extra)
                        taken[name].append([int(number) for number in done.stdout.split()[-2:]])
            for name, rounds in taken.items():
                rounds = rounds[-args.repeats :]
                shares = [own[1] / theirs[1] for own, theirs in zip(rounds, taken["official"], strict=True)]
                calls = [statistics.median(one[call] for one in rounds) / 1e6 for call in (0, 1)]
                figures = (*(f"{x:.0f}" for x in calls), *(f"{x:.2f}" for x in (statistics.median(shares), min(shares), max(shares))))
                print("|", " | ".join((args.variant, str(views), name, *figures)), "|", flush=True)


def plan(args: argparse.Namespace) -> None:
    import jax

    from da3jax.planner import plan

    jax.config.update("jax_platforms", "cpu")  # accelerators that are here are left alone
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    usable = None if args.gib is None else int(args.gib * GIB)
    options = {"outputs": args.outputs, "bucket_views": False, "usable_bytes": usable}
    for variant in args.variant:
        for views in args.views:
            found = plan(variant, views, *args.size, args.topology, search=False, **options)
            print(f"| {variant} | {views} views | {found.peak_bytes_per_device / GIB:.2f} GiB | {found.flops:.3g} FLOPs |", flush=True)
        if not args.views:
            found = plan(variant, 512, *args.size, args.topology, **options)
            usable_gib = found.usable_bytes_per_device / GIB
            print(f"| {variant} | {args.size[0]} × {args.size[1]} | {usable_gib:.2f} GiB | {found.max_views} views |", flush=True)


def measure_inference(folder: pathlib.Path, views: int, height: int, width: int) -> None:
    """Prints by how many bytes this process grows."""
    import jax
    import numpy as np

    from da3jax import DepthAnything3

    photos = list(np.random.default_rng(0).integers(0, 256, (views, height, width, 3), dtype=np.uint8))
    jax.block_until_ready(jax.numpy.zeros(1))
    before = resident("VmRSS")
    forget_peak()
    model = DepthAnything3.from_pretrained(folder)
    result = model.inference(photos, process_res=max(height, width))
    if result.depth.shape != (views, height, width):
        raise ValueError(f"depth has the shape {result.depth.shape}")
    print(resident("VmHWM") - before)


def random_params(variant: str):
    import jax
    import numpy as np

    from da3jax import init_params
    from da3jax.config import PRESETS

    shapes = jax.eval_shape(functools.partial(init_params, PRESETS[variant]), jax.random.key(0))
    return jax.tree.map(lambda leaf: np.random.default_rng(0).standard_normal(leaf.shape, np.float32) / 50, shapes)


def check(args: argparse.Namespace) -> None:
    from da3jax import weights
    from da3jax.config import PRESETS
    from da3jax.planner import plan

    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        weights.save_pretrained(random_params(args.variant), PRESETS[args.variant], folder)
        cached = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        print("| network | views | planned, MB | measured, MB | measured / planned |")
        print("|---" * 5 + "|")
        for views in args.views:
            planned = plan(args.variant, views, *args.size, search=False).peak_bytes_per_device
            command = [sys.executable, __file__, "measure-inference", folder, str(views), *map(str, args.size)]
            runs = [subprocess.run(command, check=True, capture_output=True, text=True, env=cached) for _ in range(2)]
            grown = int(runs[-1].stdout.split()[-1])
            print(f"| {args.variant} | {views} | {planned / 1e6:.0f} | {grown / 1e6:.0f} | {grown / planned:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    on_cpu = commands.add_parser("cpu")
    on_cpu.add_argument("--variant", default="da3-small")
    on_cpu.add_argument("--views", nargs="+", type=int, default=[8, 32])
    on_cpu.add_argument("--repeats", type=int, default=3)
    on_cpu.set_defaults(run=cpu)
    one = commands.add_parser("measure", help="one measurement, as `cpu` starts it")
    one.add_argument("network", choices=["official", "ours"])
    one.add_argument("folder", type=pathlib.Path)
    one.add_argument("views", type=int)
    one.set_defaults(run=lambda args: measure(args.network, args.folder, args.views))
    planned = commands.add_parser("plan")
    planned.add_argument("--topology", default="h100")
    planned.add_argument("--variant", nargs="+", default=["da3-giant", "da3-large", "da3-base", "da3-small"])
    planned.add_argument("--size", nargs=2, type=int, default=[504, 336])
    planned.add_argument("--outputs", nargs="+", default=None)
    planned.add_argument("--gib", type=float, default=None, help="memory of a device for the program; else what the planner knows of it")
    planned.add_argument("--views", nargs="+", type=int, default=[])
    planned.set_defaults(run=plan)
    checked = commands.add_parser("check")
    checked.add_argument("--variant", default="da3-small")
    checked.add_argument("--size", nargs=2, type=int, default=[504, 378])
    checked.add_argument("--views", nargs="+", type=int, default=[2, 8, 32])
    checked.set_defaults(run=check)
    one = commands.add_parser("measure-inference", help="one measurement, as `check` starts it")
    one.add_argument("folder", type=pathlib.Path)
    for name in ("views", "height", "width"):
        one.add_argument(name, type=int)
    one.set_defaults(run=lambda args: measure_inference(args.folder, args.views, args.height, args.width))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
