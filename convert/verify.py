"""Our network beside the official PyTorch one, on the same weights and inputs, layer by layer.

usage: python -m convert.verify SOURCE [--revision REVISION]

SOURCE is a hub id or a folder as released. Needs the `parity` extra and `pip install --no-deps depth-anything-3==0.1.1 evo`. Both run in
float32 on the CPU, the official one in a process that is gone before ours begins, so that the largest network fits. Exit status 1 when a
figure is above its bar.
"""

from __future__ import annotations

import argparse
import logging
import math
import multiprocessing
import pathlib
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np

from da3jax.config import Config, ModelConfig, NestedConfig

BAR = 1e-4
"""Largest error allowed, for every figure."""

_RELATIVE = ("depth", "depth_conf", "ray_conf", "raw_gs_conf", "filled_depth")
"""Positive values over decades: compared each with its own size; all else with the largest of its kind."""


@dataclass(frozen=True)
class Case:
    """One run of both networks on pseudo-random images (and cameras, with `poses`)."""

    views: int = 2
    height: int = 112
    width: int = 154
    batch: int = 1
    poses: bool = False
    strategy: str = "saddle_balanced"
    seed: int = 0
    blocks: bool = False
    """Whether to record every block, in the order that the network works in: for fewer than three views."""

    def inputs(self) -> dict[str, np.ndarray]:
        """`images` (B, S, H, W, 3); with poses `extrinsics` (B, S, 3, 4) world-to-camera and `intrinsics` (B, S, 3, 3) in pixels.

        Views are noise of different brightness: among views that are all alike the choice of a reference is a tie, which rounding decides.
        """
        rng = np.random.default_rng(self.seed)
        noise = rng.standard_normal((self.batch, self.views, self.height, self.width, 3), dtype=np.float32)
        brightness = rng.permuted(np.tile(np.linspace(2, -2, self.views, dtype=np.float32), (self.batch, 1)), axis=1)
        inputs = {"images": noise + brightness[:, :, None, None, None]}
        if self.poses:
            many = (self.batch, self.views)
            rotations, _ = np.linalg.qr(np.eye(3) + 0.3 * rng.standard_normal((*many, 3, 3)))
            rotations *= np.sign(np.linalg.det(rotations))[..., None, None]
            translations = rng.standard_normal((*many, 3, 1))
            inputs["extrinsics"] = np.concatenate([rotations, translations], axis=-1).astype(np.float32)
            focal = rng.uniform(0.6, 1.4, many) * self.width
            intrinsics = np.zeros((*many, 3, 3), np.float32)
            intrinsics[..., 0, 0], intrinsics[..., 1, 1], intrinsics[..., 2, 2] = focal, 1.1 * focal, 1
            intrinsics[..., 0, 2], intrinsics[..., 1, 2] = self.width / 2, self.height / 2
            inputs["intrinsics"] = intrinsics
        return inputs


def official_network(config: Config):
    """The official PyTorch module for a configuration of ours, without weights."""
    from depth_anything_3.cfg import create_object
    from depth_anything_3.model.da3 import DepthAnything3Net, NestedDepthAnything3Net
    from depth_anything_3.model.dinov2.dinov2 import DinoV2
    from depth_anything_3.model.dinov2.vision_transformer import DinoVisionTransformer
    from omegaconf import OmegaConf
    from torch import nn

    from da3jax.weights.official_config import to_official

    if isinstance(config, NestedConfig):
        network = NestedDepthAnything3Net.__new__(NestedDepthAnything3Net)
        nn.Module.__init__(network)
        network.da3, network.da3_metric = official_network(config.anyview), official_network(config.metric)
        return network
    parts = {name: OmegaConf.create(part) for name, part in to_official(config)["config"].items() if name != "__object__"}
    if parts["net"]["name"] == "custom":
        b = config.backbone
        net = DinoV2.__new__(DinoV2)
        nn.Module.__init__(net)
        net.out_layers = list(b.taps)
        net.pretrained = DinoVisionTransformer(
            img_size=14 * b.pos_grid,
            patch_size=14,
            embed_dim=b.width,
            depth=b.depth,
            num_heads=b.num_heads,
            ffn_layer="mlp" if b.mlp == "mlp" else "swiglufused",
            alt_start=b.alt_start,
            qknorm_start=b.qknorm_start,
            rope_start=b.rope_start,
            cat_token=b.cat_token,
        )
        parts["net"] = net
    return DepthAnything3Net(**{name: part if isinstance(part, nn.Module) else create_object(part) for name, part in parts.items()})


def official_outputs(folder: pathlib.Path, cases: list[Case]) -> list[dict[str, np.ndarray]]:
    """What the official network gives for each case; of a nested one its halves, the metric one's names behind `metric_`."""
    import torch
    from safetensors.torch import load_model

    from da3jax.weights.official_config import read_config

    logging.disable(logging.WARNING)
    holder = torch.nn.Module()
    holder.model = official_network(read_config(folder / "config.json")).eval()
    load_model(holder, str(folder / "model.safetensors"))
    halves = {"": holder.model}
    if hasattr(holder.model, "da3_metric"):
        halves = {"": holder.model.da3, "metric_": holder.model.da3_metric}
    results = []
    for case in cases:
        with torch.no_grad():
            found = {prefix + name: array for prefix, half in halves.items() for name, array in _run_official(half, case).items()}
        results.append(found)
    return results


def _run_official(network, case: Case) -> dict[str, np.ndarray]:
    import torch

    found: dict[str, np.ndarray] = {}
    features = []
    hooks = []

    def keep(name: str, tensor) -> None:
        found[name] = tensor.detach().numpy().copy()

    def on_features(_module, _inputs, output) -> None:
        features.extend(output[0])
        for index, (tokens, _special) in enumerate(output[0]):
            keep(f"tap_{index}", tokens)

    def on_head(_module, _inputs, output) -> None:
        for name, tensor in output.items():
            keep(name, tensor)

    def on_block(name: str):
        return lambda _module, _inputs, output: keep(name, output.reshape(case.batch, case.views, -1, output.shape[-1]))

    hooks.append(network.backbone.register_forward_hook(on_features))
    hooks.append(network.head.register_forward_hook(on_head))
    if network.cam_dec is not None:
        hooks.append(network.cam_dec.register_forward_hook(lambda _module, _inputs, output: keep("pose_enc", output)))
        hooks.append(network.cam_enc.register_forward_hook(lambda _module, _inputs, output: keep("camera_tokens", output)))
    if case.blocks:
        vit = network.backbone.pretrained
        hooks.append(vit.patch_embed.register_forward_hook(on_block("patch_embed")))
        hooks.extend(block.register_forward_hook(on_block(f"block_{index}")) for index, block in enumerate(vit.blocks))

    inputs = {name: torch.from_numpy(array) for name, array in case.inputs().items()}
    images = inputs["images"].permute(0, 1, 4, 2, 3).contiguous()
    cameras = (inputs["extrinsics"], inputs["intrinsics"]) if case.poses and network.cam_enc is not None else (None, None)
    result = network(images, *cameras, export_feat_layers=[], ref_view_strategy=case.strategy)
    for name in ("extrinsics", "intrinsics"):
        if name in result:
            keep(name, result[name])
    if "sky" in result:
        keep("filled_depth", result["depth"])
    if network.gs_head is not None:
        on_head(None, None, network.gs_head(feats=features, H=case.height, W=case.width, patch_start_idx=0, images=images))
    for hook in hooks:
        hook.remove()
    return found


def our_outputs(params, config: ModelConfig, case: Case, *, stacked: bool = False) -> dict[str, np.ndarray]:
    """The same of our network, under the same names, in float32."""
    import jax

    from da3jax.models import Network, fill_sky

    network = Network(config, dtype="float32", stacked=stacked, sky_fill=False)
    inputs = case.inputs()
    if config.camera is None:
        inputs = {"images": inputs["images"]}
    wanted = (
        {"patch_embed", "camera_encoder", *(f"blocks_{i}" for i in range(config.backbone.depth))} if case.blocks or case.poses else set()
    )

    def run(params, inputs):
        return network.apply(
            {"params": params},
            **inputs,
            ref_view_strategy=case.strategy,
            outputs=config.outputs,
            capture_intermediates=lambda module, _: module.name in wanted,
        )

    output, state = jax.device_get(jax.jit(run)(params, inputs))
    found = {f"tap_{index}": tokens for index, tokens in enumerate(output.taps)}
    names = ("depth", "depth_conf", "ray", "ray_conf", "sky", "pose_enc", "extrinsics", "intrinsics", "raw_gs", "raw_gs_conf")
    found |= {name: getattr(output, name) for name in names if getattr(output, name) is not None}
    if output.sky is not None:
        found["filled_depth"] = np.asarray(fill_sky(output.depth, output.sky))
    captured = state.get("intermediates", {})
    if "camera_encoder" in captured:
        found["camera_tokens"] = captured["camera_encoder"]["__call__"][0]
    if case.blocks:
        found["patch_embed"] = captured["backbone"].pop("patch_embed")["__call__"][0]
        for name, kept in captured["backbone"].items():
            found[name.replace("blocks_", "block_")], _of_tap = kept["__call__"][0]
    return found


def errors(name: str, ours: np.ndarray, official: np.ndarray) -> tuple[float, float]:
    """Largest error (relative to each value for depth and confidences, to the largest value otherwise) and relative L2 error."""
    if ours.shape != official.shape:
        raise ValueError(f"{name}: our shape is {ours.shape}, the official one {official.shape}")
    if not (np.isfinite(ours).all() and np.isfinite(official).all()):
        return math.inf, math.inf
    difference = np.abs(ours.astype(np.float64) - official)
    scale = np.abs(official) if name.removeprefix("metric_") in _RELATIVE else np.abs(official).max()
    smallest = np.finfo(np.float32).tiny
    l2 = np.linalg.norm(difference) / max(np.linalg.norm(official), smallest)
    return float((difference / np.maximum(scale, smallest)).max()), float(l2)


def compare(folder: pathlib.Path, cases: list[Case], *, stacked: bool = False) -> list[dict[str, tuple[float, float]]]:
    """Errors by part for each case. The official network runs in a process of its own, which is gone before ours begins."""
    from da3jax.weights import safetensors_store

    safetensors_store.check(folder)  # PyTorch would say it in a page
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        official = pool.submit(official_outputs, folder, cases).result()
    import jax

    from da3jax import weights
    from da3jax.models import stack_layers
    from da3jax.models.sky import SKY_THRESHOLD

    params, config = weights.load(folder)
    halves = {"": (params, config)}
    if isinstance(config, NestedConfig):
        halves = {"": (params["anyview"], config.anyview), "metric_": (params["metric"], config.metric)}
    results = []
    for case, theirs in zip(cases, official, strict=True):
        found = {}
        for prefix, (half, half_config) in halves.items():
            ours = our_outputs(stack_layers(half, half_config) if stacked else half, half_config, case, stacked=stacked)
            names = {prefix + name for name in ours}
            missing = names ^ {name for name in theirs if name.startswith("metric_") == bool(prefix)}
            if missing:
                raise ValueError(f"only one of the two networks gives {', '.join(sorted(missing))}")
            if "filled_depth" in ours:
                # Where the sky is within rounding of its threshold, a pixel is filled by one network and not by the other.
                clear = np.abs(theirs[prefix + "sky"] - SKY_THRESHOLD) > 1e-5
                ours["filled_depth"] = np.where(clear, ours["filled_depth"], theirs[prefix + "filled_depth"])
            found |= {prefix + name: errors(name, array, theirs[prefix + name]) for name, array in ours.items()}
        results.append(found)
        jax.clear_caches()
    return results


def main() -> None:
    """Runs three cases and prints a row a part."""
    from rich.console import Console
    from rich.table import Table

    from da3jax.weights import hub

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="hub id, or folder with model.safetensors and config.json")
    parser.add_argument("--revision", help="commit or branch of a hub id")
    args = parser.parse_args()
    import jax

    jax.config.update("jax_platforms", "cpu")
    try:
        folder = hub.resolve(args.source, revision=args.revision)
        cases = {
            "two views": Case(blocks=True),
            "with cameras": Case(poses=True, seed=1),
            "three views, reference chosen": Case(views=3, seed=2),
        }
        found = compare(folder, list(cases.values()))
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: install the parity extra, then pip install --no-deps depth-anything-3==0.1.1 evo")
    except BrokenProcessPool:
        sys.exit("convert.verify: the process of the official network died; most likely it ran out of memory")
    except (OSError, ValueError) as error:
        sys.exit(f"convert.verify: {error}")
    worst = 0.0
    for title, parts in zip(cases, found, strict=True):
        table = Table("part", "largest error", "relative L2", title=f"{args.source}, {title}")
        for name, (largest, l2) in parts.items():
            table.add_row(name, f"{largest:.1e}", f"{l2:.1e}", style=None if largest <= BAR else "bold red")
            worst = max(worst, largest)
        Console().print(table)
    print(f"worst {worst:.1e}, bar {BAR:.0e}: {'equal' if worst <= BAR else 'NOT equal'}")
    sys.exit(worst > BAR)


if __name__ == "__main__":
    main()
