"""States of a run on disk: written in the background, the last and the best are kept, and what is read is what was written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import pathlib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental.multihost_utils import sync_global_devices
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN, PreservationPolicy

from da3jax.training.fingerprint import fingerprints

logger = logging.getLogger(__name__)

STATE, ABOUT = "state", "about"


def are_in(folder: pathlib.Path) -> bool:
    """Whether a run has begun to keep checkpoints in the folder."""
    return any(folder.glob(f"*/{ABOUT}"))


class Checkpoints:
    """Orbax checkpoints of a run, a folder a step; a context manager, at whose end all is written.

    Orbax restores a flipped bit without a word, and takes an empty folder for the latest checkpoint. So a fingerprint of each leaf lies
    beside the arrays, in a description with a hash of its own, and `restore` goes back to the newest step that is whole.

    Args:
        folder: made if it is not there.
        keep_last: how many of the newest stay; older ones are removed.
        keep_best: how many stay for their metrics, be they among the newest or not.
        best: the metric whose least value is best. A step without it, or where it is not a number, is never best.
    """

    def __init__(self, folder: pathlib.Path, *, keep_last: int = 2, keep_best: int = 1, best: str = "loss"):
        self._folder = pathlib.Path(folder).resolve()
        self._best = best
        self._values: dict[int, float] = {}
        policy = AnyPreservationPolicy([LatestN(n=keep_last), _Least(self._values, keep_best)])
        self._options = ocp.CheckpointManagerOptions(preservation_policy=policy, create=True, cleanup_tmp_directories=True)
        self._writing: int | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)  # Orbax would fail in another thread, and only log it
            self._manager = ocp.CheckpointManager(self._folder, options=self._options)
        except OSError as error:
            raise OSError(f"the folder of checkpoints {self._folder} cannot be made: {error.strerror or error}") from error
        for step in self._manager.all_steps():
            with contextlib.suppress(Exception):  # damaged, of which `restore` speaks
                self._remember(step, self._about(step)["best"])

    def save(self, step: int, state: Any, data_state: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Begins to write a state; returns as soon as the state may change.

        Args:
            step: number of the state; a step that is there already is left as it is.
            state: pytree of arrays of up to four bytes a number, on any mesh.
            data_state: what JSON can hold.
            metrics: by name.

        Raises:
            OSError: this one, or the one before, cannot be written; those before that are still there.
        """
        self.wait()
        if step in self._manager.all_steps():
            return
        size, free = sum(leaf.nbytes for leaf in jax.tree.leaves(state)), shutil.disk_usage(self._folder).free
        if size + 1e6 > free:
            raise OSError(
                f"the checkpoint of step {step} needs {size / 1e6:,.0f} MB, and the disk of {self._folder} has {free / 1e6:,.0f} MB free"
            )
        value = float((metrics or {}).get(self._best, math.nan))
        found = jax.device_get(fingerprints(state))
        content = json.dumps(
            {
                "data": dict(data_state),
                "best": value,
                "leaves": {
                    name: {"shape": list(leaf.shape), "dtype": leaf.dtype.name, "fingerprint": found[name].tolist()}
                    for name, leaf in _by_path(state).items()
                },
            }
        )
        about = {"content": content, "sha256": _sha256(content)}
        self._writing = step
        self._remember(step, value)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(**{STATE: ocp.args.StandardSave(_copied(state)), ABOUT: ocp.args.JsonSave(about)}),
                force=True,
            )
        except Exception as error:
            raise self._failure(error) from error

    def wait(self) -> None:
        """Returns when nothing is being written.

        Raises:
            OSError: what was being written cannot be.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failure(error) from error
        self._writing = None

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Step, state and `data_state` of the newest checkpoint that is whole; None where there is none at all.

        Newer ones that are damaged are named in a warning and moved aside, to `broken-STEP-...`. Of several processes one that cannot read
        its part ends the run instead.

        Args:
            like: pytree of `jax.ShapeDtypeStruct` with shardings, where the state is to lie.

        Raises:
            ValueError: the checkpoints hold another state than `like`.
            OSError: there are checkpoints, and none is whole; or, with several processes, the newest cannot be read.
        """
        steps, broken = sorted(self._manager.all_steps(), reverse=True), []
        for step in steps:
            try:
                about = self._about(step)
                described, data_state = about["leaves"], about["data"]
            except Exception as error:  # of any kind: a damaged file can break any part of the reader
                broken.append((step, _line(error)))
                continue
            self._check(step, described, like)
            try:
                state = self._manager.restore(step, args=ocp.args.Composite(**{STATE: ocp.args.StandardRestore(like)}))[STATE]
            except Exception as error:
                if jax.process_count() > 1:  # the others may have read their parts, and go on with this step
                    raise OSError(
                        f"the checkpoint of step {step} in {self._folder} cannot be read ({_line(error)}); move that folder away, and the "
                        f"one before is taken"
                    ) from error
                broken.append((step, _line(error)))
                continue
            found = {name: value.tolist() for name, value in jax.device_get(fingerprints(state)).items()}
            wrong = [name for name, value in found.items() if value != described[name]["fingerprint"]]
            if wrong:
                broken.append((step, f"{len(wrong)} arrays are not what was written, {wrong[0]} among them"))
                continue
            self._move_aside(broken)
            return step, state, data_state
        if steps:
            raise OSError(
                f"none of the checkpoints in {self._folder} is whole: " + "; ".join(f"step {step}: {why}" for step, why in broken)
            )
        return None

    def close(self) -> None:
        """Waits, and ends Orbax's threads.

        Raises:
            OSError: as `wait`.
        """
        try:
            self.wait()
        finally:
            self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self.close()
        except OSError as error:
            if kind is None:
                raise
            logger.warning("%s", error)  # the run has ended for another reason, which is what is raised

    def _about(self, step: int) -> dict[str, Any]:
        """The description of a step; an exception of any kind where it is damaged."""
        about = self._manager.restore(step, args=ocp.args.Composite(**{ABOUT: ocp.args.JsonRestore()}))[ABOUT]
        if _sha256(about["content"]) != about["sha256"]:
            raise ValueError("its description differs from its SHA-256")
        return json.loads(about["content"])

    def _remember(self, step: int, value: float) -> None:
        """What the step is compared by when the best is kept."""
        self._values.pop(step, None)  # of a checkpoint that this one is in place of
        if math.isfinite(value):
            self._values[step] = value

    def _check(self, step: int, described: dict[str, Any], like: Any) -> None:
        wanted = {name: (list(leaf.shape), leaf.dtype.name) for name, leaf in _by_path(like).items()}
        stored = {name: (leaf["shape"], leaf["dtype"]) for name, leaf in described.items()}
        for name in {**wanted, **stored}:
            if wanted.get(name) != stored.get(name):
                there, here = (_described(leaves.get(name)) for leaves in (stored, wanted))
                raise ValueError(
                    f"the checkpoint of step {step} in {self._folder} is of another configuration: {name} is {there} there, {here} here; "
                    f"name another folder, or the configuration of that run"
                )

    def _move_aside(self, broken: list[tuple[int, str]]) -> None:
        for step, why in broken:
            logger.warning("the checkpoint of step %d in %s is broken, and the one before is taken: %s", step, self._folder, why)
            if jax.process_index() == 0:
                (self._folder / str(step)).rename(self._folder / f"broken-{step}-{secrets.token_hex(4)}")
        if broken:
            sync_global_devices("moved aside")
            self._manager.reload()

    def _failure(self, error: Exception) -> OSError:
        step, self._writing = self._writing, None
        self._manager.reload()  # it has forgotten those that would have been removed after this one
        reason = getattr(error, "strerror", None) or _line(error).rsplit(": ", 1)[-1].split(" [")[0]  # without the paths before it
        return OSError(f"the checkpoint of step {step} cannot be written into {self._folder}: {reason}; those before it are still there")


class _Least(PreservationPolicy):
    """Keeps the steps of the least values. Orbax's `BestN` knows no metrics of an earlier process, or warns at each step without them."""

    def __init__(self, values: Mapping[int, float], n: int):
        self._values, self._n = values, n

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        known = [checkpoint.step for checkpoint in checkpoints if checkpoint.step in self._values]
        best = sorted(known, key=lambda step: (self._values[step], -step))[: self._n]
        return [checkpoint.step in best for checkpoint in checkpoints]


def _copied(state: Any) -> Any:
    """The state as Orbax may keep it while the next step is taken: on a CPU it would be given the very memory that is overwritten then."""
    if jax.default_backend() != "cpu":
        return state
    return jax.tree.map(lambda leaf: jax.device_put(leaf, leaf.sharding, may_alias=False), state)


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _described(leaf: tuple | None) -> str:
    return "missing" if leaf is None else f"{leaf[1]} {leaf[0]}"


def _line(error: BaseException) -> str:
    """The last line of an error's text, where array libraries give the reason, short enough for a sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1][-300:]
