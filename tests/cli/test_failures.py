"""What the library refuses is one sentence on stderr; a fault of ours keeps its traceback."""

import jax
import pytest
import typer

from da3jax.cli.failures import failures_in_a_sentence


@pytest.mark.parametrize("error", [ValueError("x is 3; it is 4"), FileNotFoundError("x is 3; it is 4"), OSError("x is 3; it is 4")])
def test_a_refusal_becomes_one_sentence_and_status_1(capsys, error):
    with pytest.raises(typer.Exit) as caught, failures_in_a_sentence():
        raise error
    assert caught.value.exit_code == 1
    assert capsys.readouterr() == ("", "da3jax: error: x is 3; it is 4\n")


@pytest.mark.parametrize(("said", "shown"), [("Unable to allocate 3 TiB", " (Unable to allocate 3 TiB)"), ("", "")])
def test_what_does_not_fit_into_memory_is_a_sentence(capsys, said, shown):
    with pytest.raises(typer.Exit) as caught, failures_in_a_sentence():
        raise MemoryError(said)
    assert caught.value.exit_code == 1
    advice = "fewer images, or a smaller --process-res, take less; in training less data.batch_tokens"
    assert capsys.readouterr() == ("", f"da3jax: error: this does not fit into memory{shown}; {advice}\n")


def test_an_interruption_has_status_130(capsys):
    with pytest.raises(typer.Exit) as caught, failures_in_a_sentence():
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    assert capsys.readouterr() == ("", "da3jax: interrupted; nothing half-written was left behind\n")


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), BrokenPipeError("x")])
def test_another_exception_passes(capsys, error):
    with pytest.raises(type(error)), failures_in_a_sentence():
        raise error
    assert capsys.readouterr() == ("", "")


def test_a_failure_of_the_runtime_is_one_of_other_processes_only_where_there_are_some(capsys, monkeypatch):
    error = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed: closed\nmore")
    with pytest.raises(jax.errors.JaxRuntimeError), failures_in_a_sentence():
        raise error
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    with pytest.raises(typer.Exit) as caught, failures_in_a_sentence():
        raise error
    assert caught.value.exit_code == 1
    sentence = "this process cannot go on with the others (UNKNOWN: Gloo AllGather failed: closed); one has ended, and JAX says which below"
    assert capsys.readouterr() == ("", f"da3jax: error: {sentence}\n")


def test_what_does_not_fit_is_told_how_to_find_out_what_does(capsys):
    with pytest.raises(typer.Exit) as caught, failures_in_a_sentence():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nmore")
    assert caught.value.exit_code == 1
    sentence = "this does not fit into the memory of a device (RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.)"
    found = capsys.readouterr().err
    assert found.startswith(f"da3jax: error: {sentence}; da3jax plan MODEL --views N --height H --width W --topology DEVICES says how many")
    assert "in training less data.batch_tokens does, more parts of a batch (optimizer.accumulate), or remat=true" in found
