"""One scene over 1, 2, 4 and 8 devices, and over two processes: what they tell each other, what each holds, what it takes.

usage: python benchmarks/scaling.py [--variant da3-small] [--views 16] [--size 252 336] [--devices 1 2 4 8] [--repeats 3]

Devices are XLA's CPU devices on one machine: communication and memory are those that the compiler plans for each device, and hold for other
backends up to their layouts; processor time, of all devices together, shows that nothing is computed twice.

A row is a compiled `da3jax.forward` (depth, rays and cameras, float32). `gather` has keys and values of all views on each device; in a
`ring` they go round, which is forced here, however small they are; `fsdp` splits the parameters over all devices, too. Communication is
what a device receives, by the collectives in the compiled program, loops counted: for a cross-view block, for the parameters of one block,
and for all else. Memory is arguments, outputs and temporaries.
"""

import argparse
import collections
import functools
import math
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
MB = 1e6
BYTES = {"f32": 4, "bf16": 2, "f16": 2, "pred": 1, "s32": 4, "u32": 4, "f64": 8}
COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast"


def received(hlo: str) -> dict[str, float]:
    """Bytes that a device receives, by the block whose they are (`blocks_7`) or `else`, and `parameters` for those of one block."""
    turns, callers, computation = collections.defaultdict(lambda: 1), {}, ""
    found = []
    for line in hlo.splitlines():
        if opened := re.match(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$", line):
            computation = opened.group(1)
        if " while(" in line:
            body = re.search(r"body=%?([\w.-]+)", line).group(1)
            count = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            turns[body], callers[body] = int(count.group(1)) if count else 1, computation
        if told := re.search(rf"= (\S+|\(.*?\)) ({COLLECTIVES})(?:-start)?\(", line):
            groups = re.search(r"replica_groups=\{\{([\d,]*)\}|replica_groups=\[\d+,(\d+)\]", line)
            size = (len(groups.group(1).split(",")) if groups.group(1) else int(groups.group(2))) if groups else 2
            whole = sum(
                BYTES[kind] * math.prod(map(int, filter(None, shape.split(","))))
                for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", told.group(1))
            )
            share = 1 if told.group(2) == "collective-permute" else (size - 1) / size
            name = re.search(r'op_name="([^"]*)"', line)
            found.append((computation, whole * share, name.group(1) if name else ""))

    def times(computation: str) -> int:
        own = turns[computation]
        return own * times(callers[computation]) if computation in callers else own

    sums = collections.Counter()
    for computation, amount, name in found:
        block = re.search(r"blocks_(\d+)", name)
        sums[block.group(0) if block else "else"] += amount * times(computation)
    return sums


def compiled(args: argparse.Namespace, axes: tuple[int, int, int]):
    """The program for a mesh of these axes, its arguments, and its configuration."""
    import jax
    import numpy as np

    import da3jax
    from da3jax.inference.placing import put_views
    from da3jax.parallel import fsdp_shardings, make_mesh

    config = da3jax.config.load_config(args.variant)
    mesh = make_mesh(*axes, devices=jax.devices()[: math.prod(axes)])
    shapes = jax.eval_shape(functools.partial(da3jax.init_params, config), jax.random.key(0))
    rng = np.random.default_rng(0)

    def parameter(leaf, sharding):
        values = 0.02 * rng.standard_normal(leaf.shape, dtype=np.float32)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: values[index])

    params = jax.tree.map(parameter, shapes, fsdp_shardings(shapes, mesh))
    pixels = np.random.default_rng(0).standard_normal((1, args.views, *args.size, 3), dtype=np.float32)
    images = put_views(lambda place: pixels[place], pixels.shape[:2], mesh)
    run = jax.jit(functools.partial(da3jax.forward, config=config, mesh=mesh))
    return run.lower(params, images).compile(), (params, images), config


def row(args: argparse.Namespace, label: str, form: str, axes: tuple[int, int, int]) -> str:
    import jax
    import numpy as np

    from da3jax.parallel import ring
    from da3jax.parallel.processes import gathered

    ring.LARGEST_GATHERED = 0 if form == "ring" else 2**62
    program, arguments, config = compiled(args, axes)
    memory = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    told = received(program.as_text())
    across = [f"blocks_{index}" for index in range(config.backbone.depth) if config.backbone.cross_view(index)]
    inside = [f"blocks_{index}" for index in range(config.backbone.depth) if not config.backbone.cross_view(index)]
    parameters = max(told[block] for block in inside)
    block = max(told[block] for block in across) - parameters
    seconds = []
    for _ in range(args.repeats + 1):
        start = time.process_time()
        jax.block_until_ready(program(*arguments))
        seconds.append(gathered(np.array([time.process_time() - start])).sum())
    figures = (block, parameters, told["else"], memory.argument_size_in_bytes, held)
    cells = [label, form, *(f"{figure / MB:.2f}" for figure in figures), f"{statistics.median(seconds[1:]):.2f}"]
    return f"| {' | '.join(cells)} |"


def in_processes(args: argparse.Namespace) -> None:
    """The last row, by two processes with half of the devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    half = max(args.devices) // 2
    flags = f"--xla_force_host_platform_device_count={half} {FLAGS}"
    common = ["--variant", args.variant, "--views", args.views, "--size", *args.size, "--repeats", args.repeats, "--devices", 2 * half]
    command = [sys.executable, __file__, *map(str, common), "--coordinator", address, "--process-id"]
    running = [
        subprocess.Popen([*command, str(number)], env=os.environ | {"XLA_FLAGS": flags}, stdout=subprocess.PIPE, text=True)
        for number in (0, 1)
    ]
    said = [process.communicate()[0] for process in running]
    print(*(line for line in said[0].splitlines() if line.startswith("|")), sep="\n", flush=True)


FLAGS = "--xla_cpu_collective_call_terminate_timeout_seconds=600 --xla_cpu_enable_concurrency_optimized_scheduler=false"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="da3-small")
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--size", nargs=2, type=int, default=[252, 336])
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--coordinator", help=argparse.SUPPRESS)
    parser.add_argument("--process-id", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    if args.coordinator:
        from da3jax.parallel import initialize

        initialize(args.coordinator, 2, args.process_id)
        (devices,) = args.devices
        for form in ("gather", "ring"):
            print(row(args, f"2 × {devices // 2}, two processes", form, (1, 1, devices)), flush=True)
        return
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={max(args.devices)} {FLAGS}"
    told = "MB received: a block across views | parameters of a block | all else"
    print(f"| devices | form | {told} | arguments, MB | memory, MB | processor time, s |")
    print("|---" * 8 + "|")
    for devices in args.devices:
        print(row(args, str(devices), "gather", (1, 1, devices)), flush=True)
        if devices > 2:
            print(row(args, str(devices), "ring", (1, 1, devices)), flush=True)
        if devices > 1:
            print(row(args, str(devices), "gather, fsdp", (1, devices, 1)), flush=True)
    in_processes(args)


if __name__ == "__main__":
    main()
