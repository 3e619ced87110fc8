"""Where compiled programs are kept, and that they are found again."""

import json
import logging
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from da3jax.inference.compilation_cache import LEAST_SECONDS, use_compilation_cache

CALL = """
import json, sys
import jax, numpy as np
import da3jax
before = jax.config.jax_compilation_cache_dir
seen = []
jax.monitoring.register_event_listener(lambda name, **_: seen.append(name.rpartition("/")[2]))
model = da3jax.DepthAnything3.from_pretrained(sys.argv[1])
found = model.inference([np.full((60, 80, 3), 99, np.uint8)], process_res=56)
print(json.dumps([before, jax.config.jax_compilation_cache_dir, seen.count("cache_hits"), float(found.depth.sum())]))
"""


@pytest.fixture
def unset(monkeypatch):
    """JAX without a folder, and none of the variables; all as it was afterwards."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    for name in ("DA3JAX_COMPILATION_CACHE", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    jax.config.update(names[0], None)
    jax.config.update(names[1], 1.0)
    yield monkeypatch
    for name, value in before.items():
        jax.config.update(name, value)


def folder():
    return jax.config.jax_compilation_cache_dir


@pytest.mark.integration
def test_a_second_process_is_served_from_the_cache(released_dir, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPILATION", "JAX_PERSISTENT"))}
    environment |= {"XDG_CACHE_HOME": str(tmp_path)}
    first, second = (
        json.loads(subprocess.run([sys.executable, "-c", CALL, released_dir], env=environment, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(2)
    )
    kept = tmp_path / "da3jax" / "compiled"
    assert first[:3] == [None, str(kept), 0]
    assert len(list(kept.glob("jit_run-*-cache"))) == 1
    assert second == [None, str(kept), 1, first[3]]


def test_it_is_the_users_cache_folder(unset, tmp_path):
    unset.setenv("HOME", str(tmp_path / "home"))
    unset.setenv("USERPROFILE", str(tmp_path / "home"))
    use_compilation_cache()
    kept = tmp_path / "home" / ".cache" / "da3jax" / "compiled"
    assert folder() == str(kept)
    assert list(kept.iterdir()) == []
    assert os.name == "nt" or kept.stat().st_mode & 0o077 == 0  # others could make us run what they put there
    assert jax.config.jax_persistent_cache_min_compile_time_secs == LEAST_SECONDS


def test_a_variable_names_another_folder(unset, tmp_path):
    unset.setenv("DA3JAX_COMPILATION_CACHE", str(tmp_path / "elsewhere"))
    use_compilation_cache()
    assert folder() == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("off", ["off", "OFF"])
def test_it_can_be_switched_off(unset, tmp_path, off):
    unset.setenv("XDG_CACHE_HOME", str(tmp_path))
    unset.setenv("DA3JAX_COMPILATION_CACHE", off)
    use_compilation_cache()
    assert folder() is None
    assert list(tmp_path.iterdir()) == []


def test_what_the_user_has_set_stays(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    unset.setenv("DA3JAX_COMPILATION_CACHE", str(tmp_path / "elsewhere"))
    use_compilation_cache()
    assert folder() == str(tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    use_compilation_cache()
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 7.0


def test_a_folder_that_cannot_be_written_is_a_warning(unset, tmp_path, caplog):
    (tmp_path / "file").touch()
    unset.setenv("DA3JAX_COMPILATION_CACHE", str(pathlib.Path(tmp_path, "file", "cache")))
    with caplog.at_level(logging.WARNING):
        use_compilation_cache()
    assert folder() is None
    (record,) = caplog.records
    assert record.getMessage().startswith("compiled programs are not kept: ")
    assert record.getMessage().endswith("DA3JAX_COMPILATION_CACHE names another folder, or is off")
