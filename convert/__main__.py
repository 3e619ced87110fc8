"""`python -m convert SOURCE OUT_DIR`: the same as `da3jax convert`."""

import sys

from da3jax.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main("da3jax")
