"""`python -m da3jax` is the command `da3jax`."""

from da3jax.cli import main

main()
