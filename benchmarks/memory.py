"""Memory: a forward pass on a CPU beside the official network; how many views fit in the memory of a GPU, which need not be here.

usage: python benchmarks/memory.py cpu [--variant da3-small] [--views 8 32] [--repeats 3]
       python benchmarks/memory.py gpu --target h100.textproto [--variant da3-giant ...] [--size 504 336] [--gib 79] [--views N ...]

`cpu`: views of 504 × 378, float32, all outputs, the same pseudo-random weights; each measurement in a process of its own, as the largest
resident memory during a call less what is resident once the network is loaded. The first call of ours compiles, or loads what an earlier
process has compiled, as `inference` does by default. Needs the parity extra.

`gpu`: compiles what `inference` runs by default, in bfloat16, with XLA's compiler for the GPU that a target configuration describes
(arguments + outputs + temporaries - aliased, as the compiler plans them), and looks for the largest multiple of `--step` views that
fits, or prints it for the given numbers. No GPU is used, but jax[cuda12] has to be installed: best in an environment of its own.
"""

import argparse
import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

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


def gpu_bytes(variant: str, views: int, size: tuple[int, int], target: str, outputs: tuple[str, ...]) -> tuple[int, float]:
    """What the compiler plans for `inference` of so many views, in bytes, and the seconds that it took."""
    import jax
    import jax.experimental.topologies
    import jax.numpy as jnp
    import numpy as np

    from da3jax import DepthAnything3
    from da3jax.config import PRESETS
    from da3jax.inference.program import KnownCameras, Task
    from da3jax.models import init_params, stack_layers

    config = PRESETS[variant]
    topology = jax.experimental.topologies.get_topology_desc(platform="cuda", topology_name="", target_config=target, topology="1x1x1")
    device = jax.sharding.SingleDeviceSharding(topology.devices[0])
    params = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    if config.backbone.depth >= 24:  # as from_pretrained on an accelerator
        params = stack_layers(params, config)
    model = DepthAnything3(params, config, dtype="bfloat16")
    images = jax.ShapeDtypeStruct((1, views, *size, 3), np.float32)
    params, images = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32, sharding=device), (params, images))
    task, start = Task(outputs, to_host=True), time.perf_counter()
    plan = model._program(task).lower(params, images, KnownCameras(), None, task=task).compile().memory_analysis()
    used = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes
    return used, time.perf_counter() - start


def gpu(args: argparse.Namespace) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"  # else the plugin asks for a driver
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_enable_triton_gemm=false"  # no device to tune its tiles on
    import jax

    from da3jax.ops import attention

    jax.default_backend = lambda: "gpu"  # what is chosen by the backend is chosen as there
    attention.has_cudnn_attention = lambda: True
    target = pathlib.Path(args.target).read_text()
    for variant in args.variant:

        @functools.cache
        def needs(views: int, variant: str = variant) -> float:
            used, seconds = gpu_bytes(variant, views, tuple(args.size), target, tuple(args.outputs))
            print(f"{variant}, {views} views: {used / GIB:.2f} GiB, compiled in {seconds:.0f} s", file=sys.stderr, flush=True)
            return used / GIB

        if args.views:
            print(*(f"| {variant} | {views} | {needs(views):.2f} GiB |" for views in args.views), sep="\n", flush=True)
            continue
        few, more = 5 * args.step, 10 * args.step
        low, high = needs(few), needs(more)
        most = few + int((args.gib - low) / (high - low) * (more - few)) // args.step * args.step  # it grows nearly in proportion
        while needs(most) > args.gib:
            most -= args.step
        while needs(most + args.step) <= args.gib:
            most += args.step
        print(f"| {variant} | {args.size[0]} × {args.size[1]} | {args.gib:g} GiB | {most} views |", flush=True)


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
    on_gpu = commands.add_parser("gpu")
    on_gpu.add_argument("--target", required=True, help="target configuration of the GPU, as XLA writes it (textproto)")
    on_gpu.add_argument("--variant", nargs="+", default=["da3-giant", "da3-large", "da3-base", "da3-small"])
    on_gpu.add_argument("--size", nargs=2, type=int, default=[504, 336])
    on_gpu.add_argument("--outputs", nargs="+", default=["depth", "ray", "cameras", "points"])
    on_gpu.add_argument("--gib", type=float, default=79)
    on_gpu.add_argument("--step", type=int, default=100, help="views to which the result is exact")
    on_gpu.add_argument("--views", nargs="+", type=int, default=[])
    on_gpu.set_defaults(run=gpu)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
