"""How well a network sees: 200 procedural scenes that no training draws, and what knows nothing of a scene beside it.

usage: python benchmarks/yardstick.py [WEIGHTS ...] [--views 2 4 8] [--scenes 200] [--training-scenes 1000] [--json FILE]

A scene is a path of eight views of 84 × 112 pixels, cameras as `CameraRanges` draws them by default; of eight views four are every
second, two are the first and the fifth. Depth is compared over all views of a scene after one median scale a scene, cameras over all pairs
of views; figures are means over scenes. Sky has no depth. The reference is the first view, as in the official benchmark.

The last columns look at the first and the fifth view alone, which a network sees together with none, two or six others: they tell whether
more views help, where the other columns compare other pictures, too.

Without weights the table has the baselines alone: the mean depth map of 1000 training scenes (each divided by its own mean distance, then
the mean over views and scenes) and the mean camera of each view of theirs. A network has three rows: as it is, `one view at a time`, and,
where it takes cameras, `given the cameras`.
"""

import argparse
import json
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np

from da3jax import forward, weights
from da3jax.config import ModelConfig, NestedConfig
from da3jax.evaluation.metrics import depth_metrics, pose_auc, pose_errors
from da3jax.geometry import cameras_from_rays, normalize_poses
from da3jax.outputs import check_writable
from da3jax.training.data import Batch, PlannedBatch, ProceduralConfig, normalize_images, realise
from da3jax.training.data.procedural import scene_seed
from da3jax.training.losses import normalize_targets
from da3jax.types import Params

SCENES, SIZE = 200, (84, 112)
CHOSEN = {8: slice(None), 4: slice(0, 8, 2), 2: slice(0, 8, 4)}
"""Of the eight views, by how many of them a network sees."""
PAIR = {views: slice(0, views, views // 2) for views in CHOSEN}
"""The first and the fifth of the eight views, among those that are chosen."""
SEED, TRAINING_SEED = 7_919_000_003, 0
"""A run's `seed` is the first number that its scenes are drawn from: another than this draws other scenes."""
CHUNK = 20
"""Scenes that are rendered at a time."""

Predict = Callable[[Batch], dict[str, np.ndarray]]
"""From scenes to `depth` (B, S, H, W) and, where they are known, world-to-camera `head` and `rays` (B, S, 3, 4)."""


def scenes(count: int = SCENES, seed: int = SEED) -> Iterator[Batch]:
    """The scenes in chunks, with eight views."""
    for start in range(0, count, CHUNK):
        seeds = np.stack([scene_seed((seed, i)) for i in range(start, min(start + CHUNK, count))])
        yield jax.device_get(realise(PlannedBatch(seeds, 8, *SIZE, ProceduralConfig(in_order=True))))


def of_views(batch: Batch, views: int) -> Batch:
    """Fewer views of the same scenes."""
    return jax.tree.map(lambda x: x[:, CHOSEN[views]], batch)


def measure(predict: Predict, batches: list[Batch], views: int) -> dict[str, float]:
    """Means over scenes: `abs_rel`, `delta1`, and of each kind of cameras `auc_3` and `auc_30`, behind its name; `agree_auc_30`, of the
    cameras of rays beside those of the head; of the `PAIR` alone the same behind `pair_`.
    """
    rows = []
    for batch in batches:
        batch = of_views(batch, views)
        found, truth, valid = predict(batch), batch.targets, np.asarray(batch.targets.valid())
        for i in range(len(valid)):
            scene = {**{name: x[i] for name, x in found.items()}, "truth": truth.depth[i], "valid": valid[i], "poses": truth.extrinsics[i]}
            pair = {name: x[PAIR[views]] for name, x in scene.items()}
            rows.append(_of_scene(scene) | {f"pair_{name}": value for name, value in _of_scene(pair).items()})
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in dict.fromkeys(key for row in rows for key in row)}


def _of_scene(scene: dict[str, np.ndarray]) -> dict[str, float]:
    """Errors of some views of one scene: predictions beside `truth` (S, H, W), `valid` (S, H, W) and `poses` (S, 3, 4)."""
    row = depth_metrics(scene["depth"], scene["truth"], scene["valid"]) if scene["valid"].any() else {}
    for kind in ("head", "rays"):
        if kind in scene:
            auc = pose_auc(pose_errors(scene[kind], scene["poses"]), (3, 30))
            row |= {f"{kind}_auc_{limit}": value for limit, value in auc.items()}
    if "head" in scene and "rays" in scene:
        row["agree_auc_30"] = pose_auc(pose_errors(scene["rays"], scene["head"]), (30,))[30]
    return row


def baselines(count: int = 1000) -> Predict:
    """The mean depth map and the mean cameras of training scenes."""
    depth, weight, centres, rotations = 0.0, 0.0, 0.0, 0.0
    for batch in scenes(count, TRAINING_SEED):
        truth = batch.targets
        known = jax.device_get(normalize_targets(truth.depth, truth.extrinsics, truth.intrinsics, truth.valid()))
        depth, weight = depth + (known.depth * known.mask).sum(axis=(0, 1)), weight + known.mask.sum(axis=(0, 1))
        rotation = known.extrinsics[..., :3]
        centres = centres - np.einsum("bsji,bsj->si", rotation, known.extrinsics[..., 3])
        rotations = rotations + rotation.sum(axis=0)
    u, _, v = np.linalg.svd(rotations)
    u[..., -1] *= np.linalg.det(u @ v)[:, None]
    rotation = u @ v
    cameras = np.concatenate([rotation, -rotation @ (centres / count)[..., None]], axis=-1)

    def predict(batch: Batch) -> dict[str, np.ndarray]:
        shape = batch.images.shape
        poses = np.broadcast_to(cameras[CHOSEN[shape[1]]], (*shape[:2], 3, 4))
        return {"depth": np.broadcast_to(depth / np.maximum(weight, 1), shape[:-1]), "head": poses}

    return predict


def network(params: Params, config: ModelConfig, *, one_view: bool = False, conditioned: bool = False, dtype: str | None = None) -> Predict:
    """What a network says of the scenes; of each view by itself, or given the true cameras; `dtype` is that of its products."""

    @jax.jit
    def run(params: Params, batch: Batch) -> dict[str, jax.Array]:
        truth, cameras = batch.targets, {}
        if conditioned:
            cameras = {"extrinsics": normalize_poses(truth.extrinsics), "intrinsics": truth.intrinsics}
        output = forward(params, normalize_images(batch.images), config=config, ref_view_strategy="first", dtype=dtype, **cameras)
        found = {"depth": output.depth, "head": output.extrinsics}
        if output.ray is not None:
            found["rays"] = cameras_from_rays(output.ray, output.ray_conf).extrinsics
        return {name: value for name, value in found.items() if value is not None}

    def predict(batch: Batch) -> dict[str, np.ndarray]:
        shape = batch.images.shape
        if one_view:
            batch = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), batch)
            return {"depth": jax.device_get(run(params, batch)["depth"]).reshape(shape[:-1])}
        return jax.device_get(run(params, batch))

    return predict


COLUMNS = {
    "abs_rel": "AbsRel",
    "delta1": "δ1",
    "head_auc_3": "head AUC@3",
    "head_auc_30": "AUC@30",
    "rays_auc_3": "rays AUC@3",
    "rays_auc_30": "AUC@30",
    "agree_auc_30": "rays by head AUC@30",
    "pair_abs_rel": "the pair: AbsRel",
    "pair_head_auc_30": "head AUC@30",
    "pair_rays_auc_30": "rays AUC@30",
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", help="folders of weights, or da3-tiny")
    parser.add_argument("--views", type=int, nargs="*", default=[2, 4, 8], choices=CHOSEN)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--training-scenes", type=int, default=1000, help="of which the baselines are means")
    parser.add_argument("--json", help="a file for the figures")
    args = parser.parse_args(arguments)
    loaded = {folder: weights.load(folder) for folder in args.weights}
    for folder, (_, config) in loaded.items():
        if isinstance(config, NestedConfig):
            raise SystemExit(f"{folder} is the nested network {config.name}, and one network is measured at a time; name its halves")
    if args.json:
        check_writable(pathlib.Path(args.json).parent, "the folder of the figures")
    batches = list(scenes(args.scenes))
    candidates = {"baselines": baselines(args.training_scenes)}
    for folder, (params, config) in loaded.items():
        candidates |= {
            folder: network(params, config),
            f"{folder}, one view at a time": network(params, config, one_view=True),
        }
        if config.camera is not None:
            candidates[f"{folder}, given the cameras"] = network(params, config, conditioned=True)
    print(f"| | views | {' | '.join(COLUMNS.values())} |\n|{'---|' * (2 + len(COLUMNS))}")
    figures = {}
    for name, predict in candidates.items():
        for views in args.views:
            found = figures[f"{name}, {views} views"] = measure(predict, batches, views)
            cells = [f"{found[key]:.{1 if 'auc' in key else 3}f}" if key in found else "" for key in COLUMNS]
            print(f"| {name} | {views} | {' | '.join(cells)} |", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
