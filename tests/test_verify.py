"""What `python -m convert.verify` counts as equal."""

import math

import numpy as np
import pytest

from convert.verify import errors


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_in_either_network_is_never_equal(wrong):
    good, bad = np.ones(3, np.float32), np.array([1, wrong, 1], np.float32)
    assert errors("depth", good, good) == (0, 0)
    for ours, official in ((good, bad), (bad, good), (bad, bad)):
        assert errors("depth", ours, official) == (math.inf, math.inf)
