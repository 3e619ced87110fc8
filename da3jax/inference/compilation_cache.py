"""Compiled programs that outlive the process, in a folder of the user's."""

from __future__ import annotations

import logging
import os
import pathlib
import tempfile

import jax

logger = logging.getLogger(__name__)

VARIABLE = "DA3JAX_COMPILATION_CACHE"
"""Environment variable: `off`, or another folder."""

LEAST_SECONDS = 0.5
"""Programs that compile sooner are not kept: reading them back takes as long."""
_JAX_LEAST_SECONDS = 1.0  # unless the user has set it


def use_compilation_cache() -> None:
    """Has JAX keep what it compiles in `$XDG_CACHE_HOME/da3jax/compiled`, or `~/.cache/da3jax/compiled`, on every system.

    Where JAX has been given a cache folder (`JAX_COMPILATION_CACHE_DIR`, or `jax_compilation_cache_dir` in its configuration) that one
    stays. `DA3JAX_COMPILATION_CACHE` names another folder, or is `off`. A folder that cannot be written is a warning, and nothing is kept.
    JAX runs what it finds there, so that the folder is the user's alone; it may be removed at any time.
    """
    wish = os.environ.get(VARIABLE, "")
    if jax.config.jax_compilation_cache_dir is not None or wish.lower() == "off":
        return
    try:
        folder = pathlib.Path(wish or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "da3jax", "compiled")).expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # the latter: nobody's home
        logger.warning("compiled programs are not kept: %s; %s names another folder, or is off", error, VARIABLE)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if jax.config.jax_persistent_cache_min_compile_time_secs == _JAX_LEAST_SECONDS:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
