"""Photographs of 12 megapixels to what the network takes, beside the official preprocessing, in one process.

usage: python benchmarks/preprocess.py [--photographs 16] [--repeats 7]

The photographs are those that scikit-image comes with, enlarged to 4000 × 3000 and saved as JPEG of quality 92. Both read the files, with
their own default number of threads; contestants take turns, and a ratio is taken within a round. Needs the parity and the test extra
(CONTRIBUTING.md).
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.jpg" for number in range(args.photographs)]
        for number, path in enumerate(paths):
            picture = Image.fromarray(getattr(data, PHOTOGRAPHS[number % len(PHOTOGRAPHS)])())
            picture.resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=92)
        processor = official_processor()
        contestants = {"official": lambda: processor(paths), "ours": lambda: da3jax.preprocess(paths)}
        theirs, ours = processor(paths)[0].permute(0, 2, 3, 1).numpy(), da3jax.preprocess(paths).images[0]
        levels = np.abs(theirs - ours) * np.float32([0.229, 0.224, 0.225]) * 255
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(args.repeats):
            for name, run in contestants.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(times["official"], times["ours"], strict=True)]
    print(f"{os.cpu_count()} cores, {args.photographs} photographs; largest difference {levels.max():.2f} of 255 levels\n")
    print("| | ms a photograph, median | least | most |\n|---|---|---|---|")
    for name, row in times.items():
        print(f"| {name} |", " | ".join(f"{1e3 * f(row) / args.photographs:.0f}" for f in (statistics.median, min, max)), "|")
    print(f"\nours is {statistics.median(ratios):.2f} × as fast ({min(ratios):.2f} – {max(ratios):.2f})")


if __name__ == "__main__":
    main()
