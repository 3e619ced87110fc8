"""A failure is one sentence and an exit status, not a traceback."""

import contextlib
import json
import sys
from collections.abc import Iterator

import typer


@contextlib.contextmanager
def failures_in_a_sentence(*, as_json: bool = False) -> Iterator[None]:
    """Turns what the library refuses into status 1 and Ctrl-C into 130; anything else is a fault of ours and keeps its traceback.

    Also a decorator.

    Args:
        as_json: whether stdout is to hold the sentence, too, as `{"error": …}`.
    """

    def fail(sentence: str, status: int) -> typer.Exit:
        typer.echo(f"da3jax: {'error: ' * (status == 1)}{sentence}", err=True)
        if as_json:
            typer.echo(json.dumps({"error": sentence}))
        return typer.Exit(status)

    try:
        yield
    except BrokenPipeError:  # the reader of stdout has gone; Typer ends quietly
        raise
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:  # the last: an extra is not installed
        raise fail(str(error), 1) from error
    except MemoryError as error:
        said = f" ({error})" if str(error) else ""
        advice = "fewer images, or a smaller --process-res, take less; in training less data.batch_tokens"
        raise fail(f"this does not fit into memory{said}; {advice}", 1) from error
    except RuntimeError as error:
        line = (str(error).splitlines() or [""])[0]
        if line.startswith("RESOURCE_EXHAUSTED"):
            advice = (
                "da3jax plan MODEL --views N --height H --width W --topology DEVICES says how many views do; in training less "
                "data.batch_tokens does, more parts of a batch (optimizer.accumulate), or remat=true"
            )
            raise fail(f"this does not fit into the memory of a device ({line}); {advice}", 1) from error
        if not _of_several(error):
            raise
        raise fail(f"this process cannot go on with the others ({line}); one has ended, and JAX says which below", 1) from error
    except KeyboardInterrupt as error:
        raise fail(str(error) or "interrupted; nothing half-written was left behind", 130) from error


def _of_several(error: RuntimeError) -> bool:
    """Whether the runtime failed in one of several processes, most likely for want of another."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(error, jax.errors.JaxRuntimeError) and jax.distributed.is_initialized()
