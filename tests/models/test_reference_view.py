"""The choice of the reference view, against its definition in numpy."""

import functools

import jax
import numpy as np
import pytest

from da3jax.config import REF_VIEW_STRATEGIES
from da3jax.models.reference_view import select_reference_view


@functools.partial(jax.jit, static_argnums=1)
def choose(class_tokens, strategy, view_mask=None):
    return select_reference_view(class_tokens, strategy, view_mask)


def tokens(views, scenes=6, width=24, seed=0):
    """Scenes of class tokens whose likeness, length and spread differ."""
    rng = np.random.default_rng(seed)
    shared, lengths = rng.standard_normal((scenes, 1, width)), rng.uniform(0.5, 3, (scenes, views, 1))
    return (lengths * (shared + rng.standard_normal((scenes, views, width)) + rng.uniform(0, 1, (scenes, views, 1)))).astype(np.float32)


def in_unit_range(metric):
    return (metric - min(metric)) / (max(metric) - min(metric) + 1e-8)


def saddle_balanced(views):
    lengths = [np.sqrt((view**2).sum()) for view in views]
    units = [view / length for view, length in zip(views, lengths, strict=True)]
    likeness = [np.mean([unit @ other for j, other in enumerate(units) if j != i]) for i, unit in enumerate(units)]
    spread = [((unit - unit.mean()) ** 2).sum() / (len(unit) - 1) for unit in units]
    return np.argmin(sum(abs(in_unit_range(np.array(metric)) - 0.5) for metric in (likeness, lengths, spread)))


def sim_ranges(views):
    units = views / np.linalg.norm(views, axis=1, keepdims=True)
    likeness = units @ units.T - np.eye(len(views))  # a view is 0 like itself
    return likeness.max(axis=1) - likeness.min(axis=1)


@pytest.mark.parametrize("views", [3, 4, 7])
def test_the_balanced_view_is_chosen(views):
    class_tokens = tokens(views)
    expected = [saddle_balanced(scene.astype(np.float64)) for scene in class_tokens]
    np.testing.assert_array_equal(choose(class_tokens, "saddle_balanced"), expected)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("views", [3, 4, 7])
def test_the_view_of_the_widest_similarities_is_chosen(views):
    """Only where the choice is clear: two views that are the likest to each other tie when none is unlike them."""
    class_tokens = np.random.default_rng(0).standard_normal((40, views, 24), dtype=np.float32)
    ranges = np.array([sim_ranges(scene.astype(np.float64)) for scene in class_tokens])
    ordered = np.sort(ranges, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-4
    assert clear.sum() > 10
    chosen = np.asarray(choose(class_tokens, "saddle_sim_range"))
    np.testing.assert_array_equal(chosen[clear], ranges.argmax(axis=1)[clear])
    assert len(set(chosen[clear])) == views


def test_a_hand_made_scene_has_its_middle_view_chosen():
    # Along one arc, lengths growing: view 2 is in the middle of likeness and length.
    angles, lengths = np.array([0, 0.3, 0.5, 1.0]), np.array([1, 3, 2, 1.8])
    class_tokens = np.float32(lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1))[None]
    assert saddle_balanced(np.float64(class_tokens[0])) == choose(class_tokens, "saddle_balanced")[0] == 2


def test_the_widest_range_of_similarities_is_chosen():
    # View 1 is like view 0 and opposite to view 2: from 1 to −1. View 3 is square to all.
    class_tokens = np.float32([[[1, 0.1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1]]])
    assert choose(class_tokens, "saddle_sim_range")[0] == 1


def test_small_variances_count_less_than_their_range():
    """Variances that differ by 1e-9 are flattened by the epsilon of 1e-8: (m − min) / (max − min + ε) stays below ½."""
    base = np.ones(64)
    base[::2] = -1
    class_tokens = np.float32([[base + [0, 4e-5, 0][i] * np.arange(64) for i in range(3)]])
    assert choose(class_tokens, "saddle_balanced")[0] == saddle_balanced(np.float64(class_tokens[0]))


@pytest.mark.parametrize(("views", "expected"), [(3, 1), (4, 2), (7, 3)])
def test_middle_and_first_go_by_place(views, expected):
    np.testing.assert_array_equal(choose(tokens(views), "middle"), [expected] * 6)
    np.testing.assert_array_equal(choose(tokens(views), "first"), [0] * 6)


@pytest.mark.parametrize("strategy", REF_VIEW_STRATEGIES)
@pytest.mark.parametrize("views", [1, 2])
def test_with_fewer_than_three_views_it_is_the_first(views, strategy):
    np.testing.assert_array_equal(choose(tokens(views), strategy), [0] * 6)


@pytest.mark.parametrize("strategy", ["saddle_balanced", "saddle_sim_range"])
def test_of_equal_views_the_first_is_chosen(strategy):
    view = tokens(3)[:, 1:2]
    np.testing.assert_array_equal(choose(np.repeat(view, 4, axis=1), strategy), [0] * 6)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(
        ValueError, match=r"ref_view_strategy 'midle' is unknown; it is one of saddle_balanced, .*; did you mean 'middle'\?"
    ):
        select_reference_view(tokens(3), "midle")


@pytest.mark.parametrize("strategy", REF_VIEW_STRATEGIES)
def test_masked_views_are_neither_chosen_nor_counted(strategy):
    """Scenes of 1 to 6 views, scattered over 7 places; the others hold what would change every statistic."""
    rng = np.random.default_rng(0)
    real = tokens(7, scenes=60)
    mask = np.array([rng.permutation(7) < 1 + i % 6 for i in range(60)])
    loud = np.where(mask[..., None], real, 100 * real[::-1])
    chosen = choose(loud, strategy, mask)
    for count in range(1, 7):
        rows = mask.sum(axis=1) == count
        alone = choose(real[rows][mask[rows]].reshape(10, count, -1), strategy)
        places = np.array([np.flatnonzero(row)[i] for row, i in zip(mask[rows], alone, strict=True)])
        np.testing.assert_array_equal(chosen[rows], places)
