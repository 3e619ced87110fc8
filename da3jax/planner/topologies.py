"""Devices that programs can be planned for: what `targets/*.yaml` says of them, and their descriptions for XLA's compilers."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax

from da3jax.schema import from_dict, one_of, read_yaml

FOLDER = pathlib.Path(__file__).parent / "targets"


@dataclass(frozen=True)
class Target:
    """A kind of device, as its YAML file has it."""

    name: str
    platform: Literal["cpu", "cuda", "tpu"]
    sizes: tuple[str, ...]
    """How many there are together, or how they are laid out: `8`, `2x4`. The first is one device."""
    memory_bytes: int | None = None
    """Of a device; None for the memory of this machine."""
    share: float = 1.0
    """How much of it JAX takes."""
    reserved_bytes: int = 0
    """What of that is not for programs."""
    reserved_for: str = ""
    process_bytes: int = 0
    """What of the device's memory tracing, compiling and calling a program take beside its own; nothing where that is another memory."""
    compiler_options: dict = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    """Modules of which one holds the compiler; none where JAX has it."""
    extra: str = ""
    """What of da3jax's extras installs it."""

    def memory(self) -> int:
        """Bytes of a device."""
        return machine_memory() if self.memory_bytes is None else self.memory_bytes

    def usable(self) -> int:
        """Bytes of a device that a program and what it is called with may take.

        Raises:
            ValueError: of a GPU, where a variable of the environment says how much JAX takes, and is no positive number.
        """
        share = _chosen_share() if self.platform == "cuda" else None
        return int(self.memory() * (self.share if share is None else share)) - self.reserved_bytes


def _chosen_share() -> float | None:
    """How much of a GPU JAX takes by the user's wish, None without one; the second name is the former one, which JAX still reads."""
    for name in ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        if value := os.environ.get(name):
            with contextlib.suppress(ValueError):
                if 0 < (share := float(value)) < math.inf:
                    return share
            raise ValueError(f"{name} is {value!r}; it is the share of a GPU's memory that JAX takes, a positive number like 0.9")
    return None


@dataclass(frozen=True)
class Topology:
    """Devices of one kind that run a program together."""

    name: str
    target: Target
    size: str

    def devices(self) -> Sequence[Any]:
        """What XLA's compiler takes for the devices, which need not be here.

        Raises:
            ModuleNotFoundError: the compiler is not installed.
        """
        if self.target.plugins and not any(map(importlib.util.find_spec, self.target.plugins)):
            extra = self.target.extra
            raise ModuleNotFoundError(
                f'planning for {self.name} needs its compiler: pip install "da3jax[{extra}]", best in an environment of its own', name=extra
            )
        count = math.prod(map(int, self.size.split("x")))
        if self.target.platform == "cpu":
            return jax.devices("cpu")[:count]
        from jax.experimental.topologies import get_topology_desc

        if self.target.platform == "tpu":
            # No TPU is asked for, neither that of this machine nor by way of the network.
            for name, value in {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}.items():
                os.environ.setdefault(name, value)
            bounds = {"chips_per_host_bounds": (1, 1, 1)} if count == 1 else {}
            return get_topology_desc(self.name, platform="tpu", **bounds).devices
        config = (FOLDER / f"{self.name.partition(':')[0]}.textproto").read_text()
        return get_topology_desc("", platform="cuda", target_config=config, topology=f"1x1x{count}").devices


@functools.cache
def topologies() -> dict[str, Topology]:
    """All that are known, by name: `cpu`, `h100`, `h100:8`, `v5e:2x4`, …"""
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        target = from_dict(Target, read_yaml(path))
        for size in target.sizes:
            name = path.stem if size == "1" else f"{path.stem}:{size}"
            found[name] = Topology(name, target, size)
    return found


def find_topology(name: str) -> Topology:
    """The topology of that name.

    Raises:
        ValueError: there is none; the message names those there are and the closest.
    """
    one_of("topology", name, topologies())
    return topologies()[name]


def machine_memory() -> int:
    """Bytes of this machine's memory, or of as much of it as this process may take."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits_of_groups()])


def limits_of_groups(groups: str | pathlib.Path = "/proc/self/cgroup", mounted: str | pathlib.Path = "/sys/fs/cgroup") -> list[int]:
    """Bytes that the control groups of this process allow it, from its own up to the one that holds all (cgroups(7))."""
    lines = pathlib.Path(groups).read_text().splitlines() if pathlib.Path(groups).is_file() else []
    found = []
    for kinds, _, path in (line.split(":", 1)[1].partition(":") for line in lines):
        if kinds and "memory" not in kinds.split(","):
            continue
        top, name = (pathlib.Path(mounted, "memory"), "memory.limit_in_bytes") if kinds else (pathlib.Path(mounted), "memory.max")
        own = top / path.lstrip("/")
        for folder in (own, *(parent for parent in own.parents if parent.is_relative_to(top))):
            text = (folder / name).read_text().strip() if (folder / name).is_file() else ""
            found += [int(text)] if text.isdigit() else []
    return found
