import subprocess
import sys

import pytest
import yaml

pytestmark = pytest.mark.integration


def da3jax(*arguments):
    return subprocess.run([sys.executable, "-m", "da3jax", *map(str, arguments)], capture_output=True, text=True, timeout=300)


def test_mistakes_in_a_configuration_are_one_sentence(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"model": "da3-small", "steps": 10, "folder": str(tmp_path / "run")}))
    done = da3jax("train", path, "optimizer.learning_rat=1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("da3jax: error: configuration key 'optimizer.learning_rat' is unknown")
    assert not (tmp_path / "run").exists()
    assert "there is no file nothing.yaml; configuration 'nothing' is unknown" in da3jax("train", "nothing.yaml").stderr


def test_an_empty_folder_of_scenes_is_named(tmp_path):
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "run.yaml"
    data = {"sources": [{"type": "folder", "path": str(tmp_path / "scenes")}]}
    path.write_text(yaml.safe_dump({"model": "da3-small", "steps": 10, "folder": str(tmp_path / "run"), "data": data}))
    done = da3jax("train", path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("da3jax: error: ")
    assert str(tmp_path / "scenes") in done.stderr
