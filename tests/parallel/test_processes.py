"""How processes find each other; what they do together is in tests/cli/test_processes.py."""

import os
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from da3jax.parallel import initialize, processes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("auto", 2), "coordinator is 'auto', which finds number and id of processes by itself; leave both out, or name HOST:PORT"),
        (("nowhere", 2, 0), "coordinator is 'nowhere'; it is HOST:PORT of process 0, for example 10.0.0.1:1234, or 'auto'"),
        (("here:1234",), "num_processes is None and process_id None; with a coordinator both are given, the id from 0 to one less than"),
        (("here:1234", 2, 2), "num_processes is 2 and process_id 2; "),
        (("127.0.0.1:1234", 2, 1), "processes find each other before anything else of JAX is called, and once "),
    ],
)
def test_what_is_not_enough_is_refused(arguments, message):
    jax.devices()  # too late for the last of them
    with pytest.raises(ValueError, match=message):
        initialize(*arguments)


def test_without_an_environment_that_says_it_all_three_are_asked_for():
    program = "from da3jax.parallel import initialize\ntry: initialize('auto')\nexcept ValueError as error: print(error)"
    known = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI", "TPU"))}
    said = subprocess.run([sys.executable, "-c", program], env=known, capture_output=True, text=True, check=True).stdout
    assert said == (
        "there is no environment of several processes that JAX knows (coordinator_address should be defined.); on Cloud TPU, under srun, "
        "mpirun or in Kubernetes it is found, elsewhere name coordinator, num_processes and process_id\n"
    )


def test_processes_that_do_not_come_are_waited_for_in_vain(monkeypatch):
    def initialize_jax(**options):
        assert options["initialization_timeout"] == processes.CONNECT_SECONDS
        raise RuntimeError("DEADLINE_EXCEEDED: Barrier timed out\nand more")

    monkeypatch.setattr(jax.distributed, "initialize", initialize_jax)
    with pytest.raises(ConnectionError, match=r"did not find each other within 120 s \(DEADLINE_EXCEEDED: Barrier timed out\)$"):
        initialize("127.0.0.1:1234", 2, 1)


def test_one_process_alone_does_its_work_and_fails_in_its_own_words():
    assert processes.all_or_none(lambda: 3) == 3
    with pytest.raises(OSError, match=r"^mine$"):
        processes.all_or_none(lambda: (_ for _ in ()).throw(OSError("mine")))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("caf\udce9.jpg is broken"), r"caf\udce9.jpg is broken"),  # of a file whose name is no UTF-8
        (ValueError(), "ValueError"),
        (ValueError("x" * 3000), "x" * 2000),
    ],
)
def test_what_fails_in_one_is_told_to_the_others_whatever_it_says(monkeypatch, error, said):
    told = []

    def gathered(octets):
        told.append(octets)
        return np.stack([np.zeros_like(octets), octets])

    def fail():
        raise error

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes, "meet", lambda: None)
    monkeypatch.setattr(processes, "gathered", gathered)
    with pytest.raises(type(error)) as caught:
        processes.all_or_none(fail)
    assert caught.value is error
    monkeypatch.setattr(processes, "gathered", lambda octets: np.stack([octets, told[0]]))
    with pytest.raises(OSError, match=f"^process 1: {re.escape(said)}$"):
        processes.all_or_none(lambda: 3)
