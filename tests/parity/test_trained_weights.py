"""What fine-tuning leaves behind is a network of the official package, a narrower head included."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from da3jax.training.config import load_train_config
from da3jax.training.loop import train
from da3jax.weights import load

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("narrower", [False, True])
def test_a_fine_tuned_da3_small_gives_the_same_there(narrower, tmp_path):
    from convert.verify import BAR, Case, compare
    from da3jax.config import PRESETS
    from tests.parity.checkpoints import write_checkpoint

    start = write_checkpoint(PRESETS["da3-small"], tmp_path / "start")
    overrides = [
        f"start_from={start}",
        f"folder={tmp_path / 'run'}",
        "steps=3",
        "data.sizes=[[28, 42]]",
        "data.views=[2]",
        "data.batch_tokens=96",
        "validation=null",
        "stack_layers=true",
        "optimizer.warmup_steps=0",
        "optimizer.freeze=['^backbone/']",
        *(["model.head.features=32", "model.head.channels=[24, 48, 96, 192]"] if narrower else []),
    ]
    made = train(load_train_config("finetune/small_frozen", overrides))
    before, after = (traverse_util.flatten_dict(load(folder)[0], sep="/") for folder in (start, made))
    moved = {path for path in after if path not in before or not np.array_equal(after[path], before[path])}
    assert not any(path.startswith("backbone/") for path in moved)
    assert {path.split("/")[0] for path in moved} >= {"head", "camera_decoder"}
    jax.clear_caches()
    for found in compare(made, [Case(views=2, height=112, width=154), Case(views=3, height=154, width=112, poses=True, seed=1)]):
        assert max(error for errors in found.values() for error in errors) < BAR, found
        assert "depth" in found
