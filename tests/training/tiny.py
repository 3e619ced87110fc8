"""A network and a run that compile in seconds."""

import functools

import jax

from da3jax.training.config import load_train_config
from da3jax.training.starting_point import starting_params

MODEL = {
    "name": "two-pairs",
    "backbone": {
        "width": 32,
        "depth": 4,
        "num_heads": 2,
        "taps": [0, 1, 2, 3],
        "alt_start": 2,
        "qknorm_start": 2,
        "rope_start": 2,
        "pos_grid": 3,
    },
    "head": {"type": "dualdpt", "features": 8, "channels": [4, 4, 8, 8]},
    "camera": {"encoder_depth": 1, "encoder_heads": 4},
}
DATA = {"views": [2], "sizes": [[28, 42]], "batch_tokens": 96, "sources": [{"type": "procedural"}]}
"""Eight scenes of two views of six patches."""


def run(folder, **fields):
    """The configuration of a run of four steps."""
    base = {
        "model": MODEL,
        "folder": str(folder),
        "steps": 4,
        "data": DATA,
        "optimizer": {"warmup_steps": 2, "learning_rate": 1e-3},
        "log_every": 1,
        "checkpoint_every": 100,
    }
    return load_train_config({**base, **fields})


@functools.cache
def params_of(model):
    """Those that training without weights starts from, by the same program."""
    return starting_params(model, None, jax.random.key(0))[0]
