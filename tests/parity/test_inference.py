"""`inference` with known cameras, and of nested networks, beside the official API's steps around the official network."""

import multiprocessing
import pathlib
import sys
import types
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import da3jax
from convert.verify import Case, errors
from da3jax.config import PRESETS, Config, NestedConfig

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("well_compiled")]

BAR = 1e-3
"""The alignment of predicted to known cameras multiplies the errors of both."""
HEIGHT, WIDTH = 112, 154
PAIR = NestedConfig("pair", PRESETS["da3-small"], PRESETS["da3metric-large"])


def pictures(case: Case) -> list[np.ndarray]:
    """Views of different brightness, (H, W, 3) uint8, of the size that the network takes."""
    return list(np.clip(128 + 40 * case.inputs()["images"][0], 0, 255).astype(np.uint8))


def cameras(case: Case) -> dict[str, np.ndarray]:
    inputs = case.inputs()
    return {name: inputs[name][0] for name in ("extrinsics", "intrinsics")} if case.poses else {}


def official(config: Config, folder: pathlib.Path, runs: list[tuple[Case, bool]]) -> list[dict[str, np.ndarray]]:
    """What `DepthAnything3.inference` of the official package does, with its network in float32; in a process of its own.

    Beside each case stands whether the result is brought to the scale of the known cameras.
    """
    import torch
    from safetensors.torch import load_model

    from convert.verify import official_network
    from tests.parity.checkpoints import write_checkpoint
    from tests.parity.processor import official_processor

    write_checkpoint(config, folder)
    official_processor()  # where torchvision is missing, its stand-in
    exports = types.ModuleType("depth_anything_3.utils.export")  # left out, for what they import
    exports.export = None
    sys.modules[exports.__name__] = exports
    from depth_anything_3.api import DepthAnything3

    holder = torch.nn.Module()
    holder.model = official_network(config).eval()
    load_model(holder, str(folder / "model.safetensors"))
    return [_run_official(holder.model, DepthAnything3, *one) for one in runs]


def _run_official(network, api, case: Case, align_to_input_ext_scale: bool) -> dict[str, np.ndarray]:
    import torch

    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    images = torch.from_numpy((np.stack(pictures(case)).astype(np.float32) / 255 - mean) / std).permute(0, 3, 1, 2)[None]
    known = {}
    if case.poses:
        given = {name: torch.from_numpy(array) for name, array in cameras(case).items()}
        last = torch.tensor([0.0, 0, 0, 1]).expand(case.views, 1, 4)
        given["extrinsics"] = torch.cat([given["extrinsics"], last], dim=1)
        known = {"extrinsics": api._normalize_extrinsics(None, given["extrinsics"][None].clone()), "intrinsics": given["intrinsics"][None]}
    with torch.no_grad():
        found = network(images, **known)
        sky = network.da3_metric(images)["sky"][0].numpy() if hasattr(network, "da3_metric") else None
    kept = {name: found[name][0].numpy() for name in ("depth", "depth_conf", "extrinsics", "intrinsics")}
    prediction = types.SimpleNamespace(**kept)
    if case.poses:
        prediction = api._align_to_input_extrinsics_intrinsics(
            None, given["extrinsics"], given["intrinsics"], prediction, align_to_input_ext_scale
        )
    kept |= {"depth": prediction.depth, "extrinsics": prediction.extrinsics[:, :3], "intrinsics": prediction.intrinsics}
    return kept if sky is None else {**kept, "sky": sky, "scale": np.float32(found["scale_factor"])}


def check(config: Config, folder: pathlib.Path, runs: list[tuple[Case, bool]]) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        official_results = pool.submit(official, config, folder, runs).result()
    model = da3jax.DepthAnything3.from_pretrained(folder, dtype="float32")
    for (case, align_to_input_ext_scale), theirs in zip(runs, official_results, strict=True):
        ours = model.inference(pictures(case), process_res=WIDTH, align_to_input_ext_scale=align_to_input_ext_scale, **cameras(case))
        found = {"depth": ours.depth, "depth_conf": ours.conf, "extrinsics": ours.extrinsics, "intrinsics": ours.intrinsics}
        if "sky" in theirs:
            # Where the sky is within rounding of its threshold, a pixel is filled by one network and not by the other.
            clear = np.abs(theirs["sky"] - 0.3) > 1e-5
            found |= {name: np.where(clear, found[name], theirs[name]) for name in ("depth", "depth_conf")}
            assert 0 < (theirs["sky"] >= 0.3).mean() < 1
        if ours.scale_factor is not None and not case.poses:  # officially known intrinsics do not change it
            found["scale"] = ours.scale_factor
        worst = {name: errors(name, np.asarray(array), theirs[name])[0] for name, array in found.items()}
        print(config.name, case, {name: f"{figure:.1e}" for name, figure in worst.items()})
        assert all(figure <= BAR for figure in worst.values())


def case(views: int, **kwargs) -> Case:
    return Case(views=views, height=HEIGHT, width=WIDTH, **kwargs)


def test_pose_conditioned_inference_is_the_official_one(tmp_path):
    three, six = (case(views, poses=True, seed=views) for views in (3, 6))
    check(PRESETS["da3-small"], tmp_path, [(three, True), (three, False), (six, True), (six, False)])


def test_nested_inference_is_the_official_one_with_and_without_known_cameras(tmp_path):
    # At the scale of known cameras: in metres the official code overlooks known intrinsics.
    check(PAIR, tmp_path, [(case(4, seed=1), True), (case(5, poses=True, seed=2), True)])
