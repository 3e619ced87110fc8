"""What is known of devices that are not here."""

import math

import pytest

from da3jax.planner import topologies as known
from da3jax.planner.topologies import FOLDER, find_topology, limits_of_groups, machine_memory

GIB = 2**30


def test_names():
    assert {"cpu", "h100", "h100:8", "v5e:1x1", "v5e:2x4", "v5e:4x4", "v5p:1x1x1", "v5p:2x2x1", "v6e:2x4"} <= set(known())
    assert all(topology.name == name for name, topology in known().items())


def test_an_unknown_one_is_refused_with_the_closest():
    with pytest.raises(ValueError, match=r"topology 'v5e:2x8' is unknown; it is one of cpu, h100, .*v5e:2x4.*; did you mean 'v5e:8x8'\?"):
        find_topology("v5e:2x8")


@pytest.mark.parametrize(
    ("name", "memory", "usable"), [("h100", 79.11, 59.33), ("v5e:2x4", 16, 15.75), ("v5p:1x1x1", 96, 95.74), ("v6e:4x4", 32, 31.25)]
)
def test_memory_of_a_device(name, memory, usable, monkeypatch):
    for variable in ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(variable, raising=False)
    target = find_topology(name).target
    assert target.memory() / GIB == pytest.approx(memory, abs=0.005)
    assert target.usable() / GIB == pytest.approx(usable, abs=0.005)
    assert target.reserved_for


@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_a_gpu_has_what_jax_takes_of_it(name, monkeypatch):
    monkeypatch.setenv(name, "0.9")
    target = find_topology("h100").target
    assert target.usable() == int(0.9 * target.memory())
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv(name, wrong)
        with pytest.raises(ValueError, match=f"{name} is '{wrong}'; it is the share of a GPU's memory that JAX takes, a positive number"):
            target.usable()


def test_a_cpu_has_the_memory_of_this_machine():
    target = find_topology("cpu").target
    assert target.memory() == machine_memory() > GIB
    assert target.usable() == machine_memory() - GIB


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/slurm/job 1/step", {"slurm/memory.max": "max\n", "slurm/job 1/memory.max": "4000\n", "memory.max": "9000\n"}),
        (
            "7:cpuset,memory:/job\n3:cpu:/other",
            {"memory/memory.limit_in_bytes": "9000", "memory/job/memory.limit_in_bytes": "4000", "memory/other/memory.limit_in_bytes": "1"},
        ),
    ],
    ids=["v2", "v1"],
)
def test_limits_of_all_groups_that_a_process_is_in_count(tmp_path, line, files):
    (tmp_path / "cgroup").write_text(line + "\n")
    for name, text in files.items():
        (tmp_path / "mounted" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mounted" / name).write_text(text)
    assert limits_of_groups(tmp_path / "cgroup", tmp_path / "mounted") == [4000, 9000]
    assert limits_of_groups(tmp_path / "none", tmp_path / "mounted") == []


def test_numbers_of_devices_are_powers_of_two():  # so that buckets of views divide among them
    counts = {math.prod(map(int, topology.size.split("x"))) for topology in known().values()}
    assert all(count.bit_count() == 1 for count in counts)


@pytest.mark.parametrize(("name", "extra"), [("v5e:2x4", "plan-tpu"), ("h100", "plan-gpu")])
def test_without_its_compiler_it_says_which_extra_has_it(name, extra, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=rf'planning for {name} needs its compiler: pip install "da3jax\[{extra}\]", best in an'):
        find_topology(name).devices()


def test_every_gpu_is_described_to_its_compiler():
    names = [name.partition(":")[0] for name, topology in known().items() if topology.target.platform == "cuda"]
    assert names
    for name in names:
        assert f"device_memory_size: {find_topology(name).target.memory_bytes}" in (FOLDER / f"{name}.textproto").read_text()
