"""Photographs of 12 megapixels to what the network takes, beside the official preprocessing, in one process.

usage: python benchmarks/preprocess.py [--photographs 16] [--repeats 7]

The photographs are made of those that scikit-image comes with, 4000 × 3000, JPEG of quality 92. Soft ones are enlarged; sharp ones are laid
like tiles at their own size, which is as much detail as pixels hold: real photographs are in between. All contestants read the files with
their own default number of threads and take turns, and a ratio is taken within a round. CPU time is that of all threads together, which
neighbours on the machine disturb less. Needs the parity and the test extra (CONTRIBUTING.md).
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np
from PIL import Image
from skimage import data

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import da3jax
from tests.parity.processor import official_processor

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
WIDTH, HEIGHT = 4000, 3000


def soft(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def sharp(picture: np.ndarray) -> Image.Image:
    times = (-(-HEIGHT // picture.shape[0]), -(-WIDTH // picture.shape[1]), 1)
    return Image.fromarray(np.ascontiguousarray(np.tile(picture, times)[:HEIGHT, :WIDTH]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, {args.photographs} photographs, {args.repeats} rounds")
    for make in (soft, sharp):
        with tempfile.TemporaryDirectory() as folder:
            paths = [f"{folder}/{number}.jpg" for number in range(args.photographs)]
            for number, path in enumerate(paths):
                if number < len(PHOTOGRAPHS):
                    make(getattr(data, PHOTOGRAPHS[number])()).save(path, quality=92)
                else:
                    pathlib.Path(path).write_bytes(pathlib.Path(paths[number % len(PHOTOGRAPHS)]).read_bytes())
            size = sum(pathlib.Path(path).stat().st_size for path in paths) / len(paths)
            print(f"\n{make.__name__}, {size / 1e6:.1f} MB each\n")
            race(paths, args.repeats)


def race(paths: list[str], repeats: int) -> None:
    processor = official_processor()
    contestants = {
        "official": lambda: processor(paths)[0].permute(0, 2, 3, 1).numpy(),
        "ours": lambda: da3jax.preprocess(paths).images[0],
        "ours, fast_decode": lambda: da3jax.preprocess(paths, fast_decode=True).images[0],
    }
    results, wall, busy = {}, {name: [] for name in contestants}, {name: [] for name in contestants}
    for number in range(repeats + 1):  # the first is not counted
        for name, run in contestants.items():
            start = time.perf_counter(), time.process_time()
            results[name] = run()
            if number:
                wall[name].append(time.perf_counter() - start[0])
                busy[name].append(time.process_time() - start[1])
    print("| | ms a photograph | times as fast | CPU ms a photograph | times less | grey levels off, mean and largest |")
    print("|---|---|---|---|---|---|")
    for name in contestants:
        levels = np.abs(results["official"] - results[name]) * np.float32([0.229, 0.224, 0.225]) * 255
        columns = []
        for seconds in (wall, busy):
            columns.append(spread([1e3 * value / len(paths) for value in seconds[name]], 0))
            columns.append(spread([a / b for a, b in zip(seconds["official"], seconds[name], strict=True)], 2))
        print(f"| {name} | {' | '.join(columns)} | {levels.mean():.2f}, {levels.max():.0f} |")


def spread(values: list[float], digits: int) -> str:
    """The median, the least and the most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} – {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
