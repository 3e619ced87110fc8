"""Batches are on the devices before they are asked for, in their order, and no more of them than there is room for."""

import contextlib

import pytest

from da3jax.parallel import make_mesh
from da3jax.training.data import Loaded, prefetch, prefetched


def test_what_is_wrong_with_the_data_is_raised_after_the_batches_before(monkeypatch):
    class Broken:
        taken = 0

        def __next__(self):
            if self.taken == 3:
                raise ValueError("the fourth is broken")
            self.taken += 1
            return Loaded(self.taken, 0, self.taken)

        def get_state(self):
            return {"next": self.taken}

    for stage in ("draw", "place"):
        monkeypatch.setattr(prefetch, stage, lambda batch, *sharding: batch)
    ready = prefetched(Broken(), make_mesh(), 10)
    assert [next(ready) for _ in range(3)] == [(place, (), {"next": place}) for place in (1, 2, 3)]
    with pytest.raises(ValueError, match="the fourth is broken"):
        next(ready)
    assert [batch for batch, *_ in prefetched(Broken(), make_mesh(), 2)] == [1, 2]  # no more than a run takes


def test_of_the_batches_that_are_ready_two_are_on_the_devices(monkeypatch):
    class Counted:
        taken = 0

        def __next__(self):
            self.taken += 1
            return Loaded(self.taken, 0, self.taken)

        def get_state(self):
            return {}

    drawn, placed = [], []
    monkeypatch.setattr(prefetch, "draw", lambda batch: drawn.append(batch) or batch)
    monkeypatch.setattr(prefetch, "place", lambda batch, sharding: placed.append(batch) or batch)
    monkeypatch.setattr(prefetch.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(prefetch.jax, "default_backend", lambda: "gpu")
    with contextlib.closing(prefetched(Counted(), make_mesh(), 100)) as ready:
        assert [next(ready)[0] for _ in range(3)] == [1, 2, 3]
    assert placed == [1, 2, 3, 4]  # the third and one beside it
    assert sorted(drawn) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
