"""What the library refuses is one sentence on stderr; a fault of ours keeps its traceback."""

import pytest
import typer

from da3jax.cli.failures import failures_in_a_sentence


@pytest.mark.parametrize("error", [ValueError("x is 3; it is 4"), FileNotFoundError("x is 3; it is 4"), OSError("x is 3; it is 4")])
def test_a_refusal_becomes_one_sentence_and_status_1(capsys, error):
    with pytest.raises(typer.Exit) as caught, failures_in_a_sentence():
        raise error
    assert caught.value.exit_code == 1
    assert capsys.readouterr() == ("", "da3jax: error: x is 3; it is 4\n")


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
