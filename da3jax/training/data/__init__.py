"""Training data: batches of views with their truth, from procedural scenes and from folders.

    with Batches(config, seed=0) as batches:
        for loaded in batches:
            batch = realise(loaded.batch)
            images = normalize_images(augment(key, batch.images, config.augment))

`scene_folder` says what a folder of scenes holds.
"""

from da3jax.training.data.augment import augment, normalize_images, to_unit_range
from da3jax.training.data.batch import Batch, Loaded, PlannedBatch
from da3jax.training.data.config import AugmentConfig, DataConfig, FolderConfig, ProceduralConfig, SourceConfig
from da3jax.training.data.pipeline import Batches
from da3jax.training.data.plan import batch_size
from da3jax.training.data.prefetch import prefetched
from da3jax.training.data.procedural import draw, place, realise

__all__ = [
    "AugmentConfig",
    "Batch",
    "Batches",
    "DataConfig",
    "FolderConfig",
    "Loaded",
    "PlannedBatch",
    "ProceduralConfig",
    "SourceConfig",
    "augment",
    "batch_size",
    "draw",
    "normalize_images",
    "place",
    "prefetched",
    "realise",
    "to_unit_range",
]
