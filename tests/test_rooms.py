"""The house holds: who imports whom, what `import da3jax` loads, and no assert that guards a caller."""

import ast
import json
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "da3jax"

ROWS = (
    ("schema",),
    ("config", "types"),
    ("ops", "geometry"),
    ("parallel",),
    ("models",),
    ("weights", "inputs", "outputs"),
    ("inference",),
    ("__init__",),  # the public names
    ("planner", "evaluation"),
    ("training",),
    ("cli",),
    ("__main__",),
)
"""Each may import from the rows above it, never from below, never sideways."""

ABOVE = {room: {name for row in ROWS[:i] for name in row} for i, row in enumerate(ROWS) for room in row}
ABOVE |= {
    "parallel": {"schema", "config", "types", "ops"},
    "inputs": {"schema", "config", "types", "geometry"},
    "outputs": {"schema", "config", "types", "geometry"},
    "__init__": set(ABOVE) - {"cli", "__init__", "__main__"},
}
OURS_ELSEWHERE = ("convert", "configs", "tests", "benchmarks")
ARRAYS_ONLY = {"jax", "numpy", "einops"}
FLAX_FREE = ("da3jax.ops", "da3jax.geometry", "da3jax.parallel", "da3jax.training.losses")
WAITS = "orbax.checkpoint.multihost"
"""How processes wait for each other, for which JAX itself has nothing public but collectives."""


def imported(path: pathlib.Path, package: pathlib.Path) -> list[tuple[int, str]]:
    """(line, dotted name) of everything the file imports, wherever in the file; `from a import b` is a.b."""
    inside = path.relative_to(package.parent).with_suffix("").parts[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else ()
            module = ".".join((*start, *([node.module] if node.module else [])))
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            found += [(node.lineno, ast.literal_eval(argument)) for argument in node.args[:1] if isinstance(argument, ast.Constant)]
    return found


def violations(package: pathlib.Path) -> list[str]:
    """One line for each import that the order of rooms does not allow."""
    found = []
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package)
        parts = where.with_suffix("").parts
        room, own = parts[0], ".".join((package.name, *parts))
        if room not in ABOVE:
            found.append(f"{where}: {room} is not a room")
            continue
        for line, name in imported(path, package):
            top, *rest = name.split(".")
            refused = top in ("torch", "torchvision", *OURS_ELSEWHERE)
            if top == package.name:
                target = rest[0] if rest and rest[0] in ABOVE else "__init__"
                refused = target != room and target not in ABOVE[room]
            elif top not in sys.stdlib_module_names:
                refused |= room in ("ops", "geometry") and top not in ARRAYS_ONLY
                refused |= top in ("flax", "optax", "orbax") and own.startswith(FLAX_FREE) and name != WAITS
            if refused:
                found.append(f"{where}:{line} imports {name}")
    return found


def test_no_room_imports_from_below():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "code", "name"),
    [
        ("types.py", "from da3jax import config", "da3jax.config"),
        ("ops/resize.py", "import da3jax.models.backbone", "da3jax.models.backbone"),
        ("ops/resize.py", "from da3jax.geometry import rotations", "da3jax.geometry.rotations"),
        ("ops/resize.py", "import flax.linen as nn", "flax.linen"),
        ("ops/resize.py", "import scipy", "scipy"),
        ("geometry/deep/rays.py", "from ...ops import resize", "da3jax.ops.resize"),
        ("parallel/mesh.py", "from ..geometry import rays", "da3jax.geometry.rays"),
        ("parallel/mesh.py", "from flax import linen", "flax.linen"),
        ("parallel/mesh.py", "import optax", "optax"),
        ("models/network.py", "from .. import weights", "da3jax.weights"),
        ("models/network.py", "from da3jax import forward", "da3jax.forward"),
        ("models/network.py", "import da3jax", "da3jax"),
        ("weights/hub.py", "def load():\n    from da3jax.inputs import images", "da3jax.inputs.images"),
        ("inputs/images.py", "from da3jax import models as m", "da3jax.models"),
        ("outputs/glb.py", "if True:\n    import da3jax.models", "da3jax.models"),
        ("outputs/glb.py", "import importlib\nimportlib.import_module('da3jax.inference')", "da3jax.inference"),
        ("inference.py", "import da3jax.cli", "da3jax.cli"),
        ("training/loop.py", "from convert import verify", "convert.verify"),
        ("training/losses.py", "from flax import linen", "flax.linen"),
        ("training/losses/depth.py", "import optax", "optax"),
        ("evaluation/runner.py", "import da3jax.planner.memory", "da3jax.planner.memory"),
        ("cli/auto.py", "from torch import nn", "torch.nn"),
        ("__init__.py", "from da3jax.cli import main", "da3jax.cli.main"),
    ],
)
def test_an_import_from_below_is_caught(tmp_path, file, code, name):
    path = tmp_path / "da3jax" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"import numpy as np\n{code}\n")
    (found,) = violations(tmp_path / "da3jax")
    assert found.startswith(f"{file}:")
    assert found.endswith(f" imports {name}")


def test_a_folder_that_is_no_room_is_caught(tmp_path):
    (tmp_path / "da3jax/utils").mkdir(parents=True)
    (tmp_path / "da3jax/utils/misc.py").touch()
    assert violations(tmp_path / "da3jax") == ["utils/misc.py: utils is not a room"]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (
            "ops/resize.py",
            "import functools, jax.numpy, einops\nfrom da3jax.config import PATCH_SIZE\nfrom . import rope\nfrom .rope import angles",
        ),
        ("parallel/attention.py", "from da3jax.ops import attention\nimport jax"),
        ("models/network.py", "from da3jax.geometry import rays\nfrom ..parallel import mesh\nfrom flax import linen"),
        ("outputs/glb.py", "import trimesh\nfrom da3jax.geometry.pinhole import unproject"),
        ("training/loop.py", "import da3jax\nfrom da3jax import forward\nfrom da3jax.evaluation import metrics"),
        ("cli/auto.py", "from da3jax import DepthAnything3\nfrom da3jax.cli import options"),
        ("__init__.py", "from da3jax import geometry\nfrom .inference import DepthAnything3"),
        ("__main__.py", "from da3jax.cli import main"),
    ],
)
def test_an_import_from_above_is_allowed(tmp_path, file, code):
    path = tmp_path / "da3jax" / file
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert violations(tmp_path / "da3jax") == []


@pytest.mark.parametrize("module", ["da3jax", "da3jax.cli"])
def test_importing_loads_nothing_heavy_and_touches_no_accelerator(module):
    code = (
        f"import json, sys, {module}; from jax._src import xla_bridge; print(json.dumps([sorted(sys.modules), list(xla_bridge._backends)]))"
    )
    modules, backends = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert module in modules
    assert not {"grain", "orbax", "trimesh", "av", "torch", "huggingface_hub", "imageio"} & set(modules)
    assert backends == []


def test_no_library_file_has_a_bare_assert():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == []
