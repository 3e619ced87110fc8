"""The largest size that fits, by few compilations."""

import pytest

from da3jax.planner.search import largest_that_fits


def search(needs, limit, start=0, size=lambda i: i + 1):
    tried = []

    def count(views):
        tried.append(views)
        return needs(views)

    found = largest_that_fits(count, size, limit, start)
    assert len(set(tried)) == len(tried)
    return found, tried


@pytest.mark.parametrize("start", [0, 7, 999, 20_000])
def test_it_is_exact_where_memory_is_affine_and_takes_few_tries(start):
    found, tried = search(lambda views: 5000 + 7 * views, 12_003, start)
    assert found == 1000
    assert {1000, 1001} <= set(tried)
    assert len(tried) <= 6


def test_it_verifies_both_sides_where_memory_is_only_nearly_affine():
    def needs(views):
        return 5000 + 7 * views + (0, 9, 3)[views % 3] + views**2 // 5000

    found, tried = search(needs, 12_000)
    assert needs(found) <= 12_000 < needs(found + 1)
    assert {found, found + 1} <= set(tried)
    assert len(tried) <= 12


def test_only_sizes_there_are_are_tried():
    found, tried = search(lambda views: 10 * views, 500, 2, size=lambda i: 3 * 2**i)
    assert found == 48
    assert set(tried) <= {3 * 2**i for i in range(9)}


@pytest.mark.parametrize("start", [0, 30])
def test_where_not_even_the_smallest_fits_there_is_none(start):
    assert search(lambda views: 100 + views, 100, start)[0] == 0


def test_memory_that_does_not_grow_at_first_ends_too():
    found, tried = search(lambda views: max(50, views), 100)
    assert found == 100
    assert len(tried) <= 12
