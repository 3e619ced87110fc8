"""What bfloat16 costs in accuracy: each variant in bfloat16 beside itself in float32, on the same pseudo-random weights and photographs.

usage: python benchmarks/precision.py [--variant da3-small ...] [--process-res 252]

A scene is four photographs that scikit-image comes with; the metric and single-view networks see each by itself. Weights are those of the
parity tests. Needs the parity extra and the test extra (CONTRIBUTING.md), and for the nested network 8 GB of disk and 16 GB of memory.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import jax
import numpy as np
from skimage import data

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import da3jax
from da3jax import weights
from da3jax.config import PRESETS

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
WRITE = """
import pathlib, sys
from da3jax.config import PRESETS
from tests.parity.checkpoints import write_checkpoint
write_checkpoint(PRESETS[sys.argv[1]], pathlib.Path(sys.argv[2]))
"""


def relative(found: np.ndarray, exact: np.ndarray) -> str:
    """Median and 99 % quantile of the relative error, in per cent."""
    error = 100 * np.abs(found - exact) / np.abs(exact)
    return f"{np.median(error):.3f} / {np.quantile(error, 0.99):.3f}"


def row(found: da3jax.NetworkOutput, exact: da3jax.NetworkOutput) -> list[str]:
    """Depth, confidence, rays, rotation, centre, focal length and, where it is, metric depth."""
    cells = [relative(found.depth, exact.depth)]
    cells.append("–" if exact.depth_conf is None else relative(found.depth_conf, exact.depth_conf))
    if exact.ray is None:
        cells.append("–")
    else:  # components cross zero
        error = 100 * np.abs(found.ray - exact.ray) / np.abs(exact.ray).max()
        cells.append(f"{np.median(error):.3f} / {np.quantile(error, 0.99):.3f}")
    if exact.extrinsics is None:
        return [*cells, "–", "–", "–", "–"]
    turn = np.einsum("bsij,bskj->bsik", *(np.float64(x[..., :3]) for x in (found.extrinsics, exact.extrinsics)))
    # The angle by its sine, for the cosine says nothing of small ones.
    sine = np.linalg.norm(turn - turn.swapaxes(-1, -2), axis=(-2, -1)) / np.sqrt(8)
    centres = [-np.einsum("bsji,bsj->bsi", np.float64(x[..., :3]), np.float64(x[..., 3])) for x in (found.extrinsics, exact.extrinsics)]
    apart = np.linalg.norm(centres[0] - centres[1], axis=-1).max() / np.linalg.norm(centres[1], axis=-1).max()
    focal = np.abs(found.intrinsics[..., 0, 0] / exact.intrinsics[..., 0, 0] - 1).max()
    metric = "–" if exact.metric_depth is None else relative(found.metric_depth, exact.metric_depth)
    return [*cells, f"{np.degrees(np.arcsin(sine)).max():.3f}", f"{100 * apart:.3f}", f"{100 * focal:.3f}", metric]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--process-res", type=int, default=252)
    args = parser.parse_args()
    # Cut to one shape: sizes do not matter here.
    pictures = [getattr(data, name)()[:300, :400] for name in PHOTOGRAPHS]
    images = da3jax.preprocess(pictures, process_res=args.process_res).images
    print(f"jax {jax.__version__}, {len(pictures)} views of {images.shape[3]} × {images.shape[2]}\n")
    heads = ("network", "depth, %", "confidence, %", "rays, % of the largest", "rotation, °", "centre, %", "focal, %", "metric depth, %")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)
    for variant in args.variant:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, "-c", WRITE, variant, folder], check=True, cwd=pathlib.Path(__file__).parents[1], stdout=subprocess.DEVNULL
            )
            params, config = weights.load(folder)
        outputs = []
        for dtype in ("bfloat16", "float32"):
            run = jax.jit(lambda params, images, config=config, dtype=dtype: da3jax.forward(params, images, config=config, dtype=dtype))
            outputs.append(jax.tree.map(np.asarray, run(params, images)))
        print(f"| {variant} | {' | '.join(row(*outputs))} |", flush=True)


if __name__ == "__main__":
    main()
