"""From call to result: `inference` in a process of its own, with nothing compiled and with everything in the cache.

usage: python benchmarks/compile_time.py MODEL_DIR [--views 1] [--repeats 7]

Loading weights is not counted; all that happens between the call of `inference` and its return is, compilation included. Each row is a
fresh process; "again" is the second call in it; "processor time" is what all its cores spent on the first, which other processes on the
machine change less. Images are noise of 504 × 378.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

CALL = """
import json, sys, time
import jax, numpy as np
import da3jax
views = int(sys.argv[2])
model = da3jax.DepthAnything3.from_pretrained(sys.argv[1])
images = list(np.random.default_rng(0).integers(0, 256, (views, 378, 504, 3), dtype=np.uint8))
seconds = {"trace": 0.0, "lower": 0.0, "compile or read": 0.0}
names = {"jaxpr_trace_duration": "trace", "jaxpr_to_mlir_module_duration": "lower", "backend_compile_duration": "compile or read"}

def listen(event, duration, **_):
    name = names.get(event.rpartition("/")[2])
    if name:
        seconds[name] += duration

jax.monitoring.register_event_duration_secs_listener(listen)
start, busy = time.perf_counter(), time.process_time()
model.inference(images)
seconds["call to result"] = time.perf_counter() - start
seconds["processor time"] = time.process_time() - busy
start = time.perf_counter()
model.inference(images)
seconds["again"] = time.perf_counter() - start
print(json.dumps(seconds))
"""


def call(model_dir: str, views: int, cache: str) -> dict[str, float]:
    """Seconds of one fresh process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPILATION", "JAX_PERSISTENT"))}
    environment["DA3JAX_COMPILATION_CACHE"] = cache
    command = [sys.executable, "-c", CALL, model_dir, str(views)]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {"empty cache": [], "warm cache, new process": []}
    for _ in range(args.repeats):  # in turn, for the machine's speed drifts
        with tempfile.TemporaryDirectory() as cache:
            for row in rows.values():
                row.append(call(args.model_dir, args.views, cache))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; {pathlib.Path(args.model_dir).name}, views: {args.views}")
    columns = ("call to result", "trace", "lower", "compile or read", "again", "processor time")
    print(f"\n| s, median of {args.repeats} (least – most) | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in rows.items():
        figures = [[seconds[column] for seconds in row] for column in columns]
        print(f"| {name} | {' | '.join(f'{statistics.median(x):.2f} ({min(x):.2f} – {max(x):.2f})' for x in figures)} |")


if __name__ == "__main__":
    main()
