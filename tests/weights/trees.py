"""What the tests of this folder share."""

import jax
import numpy as np


def equal(found, expected) -> bool:
    """Whether two trees of parameters are the same bit by bit."""
    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes() and a.shape == b.shape, found, expected)
    return jax.tree.structure(found) == jax.tree.structure(expected) and all(jax.tree.leaves(same))
