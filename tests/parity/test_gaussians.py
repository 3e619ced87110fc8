"""The official reading of raw Gaussians beside the official adapter, in float32, and rotated harmonics beside e3nn's."""

import multiprocessing
import pathlib
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import da3jax
from convert.verify import Case
from da3jax.config import BackboneConfig, CameraConfig, DualDPTConfig, GaussianHeadConfig, ModelConfig
from da3jax.geometry import gaussians_from_raw, normalize_poses, rotate_harmonics
from tests.parity.test_inference import cameras, pictures
from tests.quick import quick_jit

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

BAR = 1e-4
HEIGHT, WIDTH = 28, 42
NETWORK = ModelConfig(
    "with Gaussians",
    BackboneConfig(64, 6, 4, (2, 3, 4, 5), alt_start=2, qknorm_start=2, rope_start=2, pos_grid=5),
    DualDPTConfig(features=16, channels=(8, 16, 12, 24)),
    CameraConfig(encoder_heads=4),
    GaussianHeadConfig(features=16, channels=(8, 16, 12, 24)),
)

ours = quick_jit(lambda *arguments: gaussians_from_raw(*arguments, official=True))


def inputs(views: int, seed: int) -> dict[str, np.ndarray]:
    """Raw parameters, depth and cameras of two scenes, as a network could give them."""
    rng = np.random.default_rng(seed)
    many = (2, views)
    rotations, _ = np.linalg.qr(rng.standard_normal((*many, 3, 3)))
    rotations *= np.linalg.det(rotations)[..., None, None]
    intrinsics = np.zeros((*many, 3, 3))
    intrinsics[..., 0, 0], intrinsics[..., 1, 1], intrinsics[..., 2, 2] = (*rng.uniform(20, 60, (2, *many)), 1)
    intrinsics[..., 0, 2], intrinsics[..., 1, 2] = (*rng.uniform(10, 30, (2, *many)),)
    raw = rng.standard_normal((*many, HEIGHT, WIDTH, 37))
    raw[..., 36] *= 0.1
    return {
        "raw": raw.astype(np.float32),
        "opacity": rng.random((*many, HEIGHT, WIDTH), dtype=np.float32),
        "depth": rng.uniform(0.5, 5, (*many, HEIGHT, WIDTH)).astype(np.float32),
        "extrinsics": np.concatenate([rotations, rng.standard_normal((*many, 3, 1))], axis=-1).astype(np.float32),
        "intrinsics": intrinsics.astype(np.float32),
    }


def officially(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Fields over (scenes, views, height, width)."""
    import torch
    from depth_anything_3.model.gs_adapter import GaussianAdapter
    from depth_anything_3.utils.geometry import map_pdf_to_opacity

    adapter = GaussianAdapter(sh_degree=2, pred_color=False, pred_offset_depth=True, pred_offset_xy=True)
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    last = torch.tensor([0.0, 0, 0, 1]).expand(*given["depth"].shape[:2], 1, 4)
    found = adapter(
        extrinsics=torch.cat([tensors["extrinsics"], last], dim=-2),
        intrinsics=tensors["intrinsics"],
        depths=tensors["depth"],
        opacities=map_pdf_to_opacity(tensors["opacity"]),
        raw_gaussians=tensors["raw"],
        image_shape=(HEIGHT, WIDTH),
    )
    return {name: getattr(found, name).numpy().reshape(*given["depth"].shape, *getattr(found, name).shape[2:]) for name in vars(found)}


def worst(found, theirs: dict[str, np.ndarray], positive: tuple[str, ...] = ("scales", "opacities")) -> dict[str, float]:
    """Error of each field: of positive ones each with its own size, of others with the largest of their kind. q and −q are one rotation."""
    found = {name: np.asarray(value) for name, value in vars(found).items()}
    turned = np.sum(found["rotations"] * theirs["rotations"], axis=-1, keepdims=True) < 0
    assert turned.mean() < 0.01  # where the last component is zero but for rounding
    theirs = {**theirs, "rotations": np.where(turned, -theirs["rotations"], theirs["rotations"])}
    by = {name: np.abs(value) if name in positive else np.abs(value).max() for name, value in theirs.items()}
    return {name: float((np.abs(found[name] - theirs[name]) / by[name]).max()) for name in theirs}


@pytest.mark.parametrize(("views", "seed"), [(1, 0), (3, 1), (5, 2)])
def test_the_official_switch_gives_the_official_gaussians(views, seed):
    given = inputs(views, seed)
    errors = worst(ours(*given.values()), officially(given))
    print(views, {name: f"{error:.1e}" for name, error in errors.items()})
    assert all(error <= BAR for error in errors.values())


def test_harmonics_turn_as_those_of_e3nn():
    import torch
    from e3nn import o3

    given = inputs(4, 3)
    rotations = given["extrinsics"][0, :, :, :3]
    coefficients = given["raw"][0, :, 0, :, 9:36].reshape(4, WIDTH, 3, 9)
    # e3nn's (x, y, z) of degree 1 are splatting's (−y, z, −x): its polar axis is y.
    axes = torch.tensor([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])
    turns = axes @ torch.from_numpy(rotations) @ axes.T
    theirs = [o3.Irrep(degree, 1).D_from_matrix(turns).numpy() for degree in range(3)]
    parts = np.split(coefficients, [1, 4], axis=-1)
    expected = [np.einsum("njk,nwck->nwcj", turn, part) for turn, part in zip(theirs, parts, strict=True)]
    np.testing.assert_allclose(quick_jit(rotate_harmonics)(coefficients, rotations), np.concatenate(expected, axis=-1), atol=2e-5)


CASES = [Case(views=3, height=112, width=154, seed=1), *(Case(views=n, height=112, width=154, poses=True, seed=n) for n in (2, 4))]


def official_networks(folder: pathlib.Path) -> list[dict[str, np.ndarray]]:
    """What the official network gives for each case; in a process of its own. Views are the only leading axis."""
    import torch
    from safetensors.torch import load_model

    from convert.verify import official_network
    from tests.parity.checkpoints import write_checkpoint

    write_checkpoint(NETWORK, folder)
    holder = torch.nn.Module()
    holder.model = official_network(NETWORK).eval()
    load_model(holder, str(folder / "model.safetensors"))
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    results = []
    for case in CASES:
        images = torch.from_numpy((np.stack(pictures(case)).astype(np.float32) / 255 - mean) / std).permute(0, 3, 1, 2)[None]
        known = {}
        if case.poses:
            given = cameras(case)
            normal = np.tile(np.eye(4, dtype=np.float32), (case.views, 1, 1))
            normal[:, :3] = normalize_poses(given["extrinsics"])
            known = {"extrinsics": torch.from_numpy(normal)[None], "intrinsics": torch.from_numpy(given["intrinsics"])[None]}
        with torch.no_grad():
            found = holder.model(images, **known, infer_gs=True)["gaussians"]
        shape = case.views, case.height, case.width
        results.append({name: value[0].numpy().reshape(*shape, *value.shape[2:]) for name, value in vars(found).items()})
    return results


@pytest.mark.usefixtures("well_compiled")
def test_from_photographs_to_gaussians_the_switch_gives_the_official_ones(tmp_path):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = pool.submit(official_networks, tmp_path).result()
    model = da3jax.DepthAnything3.from_pretrained(tmp_path, dtype="float32")
    model.bucket_views = False
    for case, theirs in zip(CASES, results, strict=True):
        ours = model.inference(pictures(case), process_res=case.width, infer_gs=True, official_gs=True, **cameras(case))
        # Depth offsets of pseudo-random weights put Gaussians behind the camera too: standard deviations cross zero.
        errors = worst(ours.gaussians, theirs, positive=("opacities",))
        print(case, {name: f"{error:.1e}" for name, error in errors.items()})
        assert all(error <= BAR for error in errors.values())
