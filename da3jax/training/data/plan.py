"""Which samples make up batch i: a function of the configuration, the seed and i alone, so that processes and resumed runs agree."""

from __future__ import annotations

import dataclasses

import numpy as np

from da3jax.config import PATCH_SIZE
from da3jax.training.data.config import DataConfig

_BLOCK = 1024  # batches drawn at a time

_BATCHES, _ORDER, SAMPLES = range(3)
"""What random numbers are for, the second word of their seed."""


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """A batch before anything is loaded."""

    source: int
    views: int
    height: int
    width: int
    positions: range
    """Places of its scenes in the source's endless sequence of samples."""


def batch_size(views: int, size: tuple[int, int], batch_tokens: int, multiple_of: int = 1) -> int:
    """Scenes of a batch: the largest multiple of `multiple_of` whose patches fit into `batch_tokens`, and at least that one multiple."""
    tokens = views * (size[0] // PATCH_SIZE) * (size[1] // PATCH_SIZE)
    return max(1, batch_tokens // (tokens * multiple_of)) * multiple_of


class Plan:
    """`plan[i]` is batch i. Picklable; what it remembers only saves time."""

    def __init__(self, config: DataConfig, seed: int, multiple_of: int = 1):
        self._config, self._seed = config, seed
        weights = np.array([source.weight for source in config.sources], np.float64)
        self._shares = weights / weights.sum()
        self._scenes = np.array(
            [[batch_size(views, size, config.batch_tokens, multiple_of) for size in config.sizes] for views in config.views]
        )
        self._before = [np.zeros(len(weights), np.int64)]  # samples taken from each source before each block

    def __getitem__(self, index: int) -> BatchPlan:
        block, row = divmod(index, _BLOCK)
        while len(self._before) <= block:
            source, views, size = self._draw(len(self._before) - 1)
            taken = np.bincount(source, self._scenes[views, size], len(self._shares)).astype(np.int64)
            self._before.append(self._before[-1] + taken)
        source, views, size = self._draw(block)
        scenes, own = self._scenes[views, size], source[row]
        begin = int(self._before[block][own] + scenes[:row][source[:row] == own].sum())
        height, width = self._config.sizes[size[row]]
        return BatchPlan(int(own), self._config.views[views[row]], height, width, range(begin, begin + int(scenes[row])))

    def _draw(self, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices of source, number of views and size, (_BLOCK,) each."""
        rng = np.random.default_rng([self._seed, _BATCHES, block])
        source = rng.choice(len(self._shares), _BLOCK, p=self._shares)
        return source, rng.integers(len(self._config.views), size=_BLOCK), rng.integers(len(self._config.sizes), size=_BLOCK)


def shuffled(seed: int, source: int, position: int, count: int) -> int:
    """Which of a source's `count` samples stands at a place of its endless sequence: epoch after epoch, each in an order of its own."""
    epoch, place = divmod(position, count)
    return int(np.random.default_rng([seed, _ORDER, source, epoch]).permutation(count)[place])
