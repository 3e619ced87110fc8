"""Two photographs: processed as the official package does, and from its processed images the same result."""

import multiprocessing
import pathlib
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import da3jax
from convert.verify import BAR, errors
from da3jax.config import PRESETS
from da3jax.inputs import list_images

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("well_compiled")]

PHOTOGRAPHS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "soh"


def official(folder: pathlib.Path, paths: list[str]) -> dict[str, np.ndarray]:
    """The official preprocessing and, without its API's autocast, the official network; in a process of its own."""
    import torch

    from tests.parity.checkpoints import write_checkpoint
    from tests.parity.processor import official_processor

    write_checkpoint(PRESETS["da3-small"], folder)
    images, _, _ = official_processor()(paths, num_workers=1)
    from safetensors.torch import load_model

    from convert.verify import official_network

    holder = torch.nn.Module()
    holder.model = official_network(PRESETS["da3-small"]).eval()
    load_model(holder, str(folder / "model.safetensors"))
    with torch.no_grad():
        found = holder.model(images[None])
    kept = {name: found[name].numpy() for name in ("depth", "depth_conf", "extrinsics", "intrinsics")}
    return {"images": images.permute(0, 2, 3, 1)[None].numpy(), **kept}


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not there")
def test_photographs_give_the_official_result(tmp_path):
    paths = list_images(PHOTOGRAPHS)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        theirs = pool.submit(official, tmp_path, [str(path) for path in paths]).result()
    ours = da3jax.preprocess(paths)
    levels = np.abs(ours.images - theirs["images"]) * np.float32([0.229, 0.224, 0.225]) * 255
    assert levels.max() < 1.001

    model = da3jax.DepthAnything3.from_pretrained(tmp_path, dtype="float32")
    output = da3jax.forward(model.params, theirs["images"], config=model.config, dtype="float32")
    worst = {name: errors(name, np.asarray(getattr(output, name)), theirs[name])[0] for name in theirs if name != "images"}
    print(worst)
    assert all(figure < BAR for figure in worst.values())
