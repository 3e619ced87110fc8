"""Which files of a folder earlier runs wrote, so that those, and no others, can be removed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Iterable

from da3jax.outputs.atomic import write_bytes

logger = logging.getLogger(__name__)

MANIFEST = ".da3jax-files.json"
"""Its name in the export folder: `{"files": {path below the folder: SHA-256 of what was written}}`."""


def record(export_dir: pathlib.Path, written: Iterable[pathlib.Path]) -> None:
    """Adds files below `export_dir` to those that are known to be ours, and forgets those that are gone.

    Raises:
        OSError: the list cannot be written.
    """
    ours = {**_read(export_dir), **{path.relative_to(export_dir).as_posix(): _digest(path) for path in written}}
    write_bytes(export_dir / MANIFEST, (json.dumps({"files": dict(sorted(ours.items()))}, indent=1) + "\n").encode())


def is_recorded(export_dir: pathlib.Path, paths: Iterable[pathlib.Path]) -> bool | None:
    """Whether these files below `export_dir` are as earlier runs wrote them: False if one was changed since, None if the list lacks one."""
    ours = _read(export_dir)
    try:
        same = [ours[name] == _digest(path) if (name := path.relative_to(export_dir).as_posix()) in ours else None for path in paths]
    except OSError:  # one of them cannot be read
        return None
    return False if False in same else None if None in same else True


def remove_earlier(export_dir: pathlib.Path, written: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """Removes what earlier runs wrote into `export_dir`, less what `written` names, and folders that are empty then.

    A file stays if it was changed since, is a link, or is not below the folder itself, whatever the list says.

    Returns:
        The files removed.

    Raises:
        OSError: a file cannot be removed.
    """
    root = export_dir.resolve()
    kept = {path.resolve() for path in written}
    removed = []
    for name, digest in _read(export_dir).items():
        path = export_dir / name
        inside = path.parent.resolve() / path.name
        if inside in kept or path.is_symlink() or not path.is_file() or not inside.is_relative_to(root):
            continue
        if _digest(path) != digest:
            logger.warning("%s was changed since it was written, and stays", path)
            continue
        path.unlink()
        removed.append(path)
        for folder in path.parents:
            if folder == export_dir or any(folder.iterdir()):
                break
            folder.rmdir()
    return removed


def _read(export_dir: pathlib.Path) -> dict[str, str]:
    """Those of the list that are there; empty where there is none, or one that is not ours."""
    try:
        files = json.loads((export_dir / MANIFEST).read_text())["files"]
        return {str(name): str(digest) for name, digest in files.items() if os.path.isfile(export_dir / name)}  # noqa: PTH113
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        logger.warning(
            "%s cannot be read as the list of files that earlier runs wrote; none of them is taken as ours", export_dir / MANIFEST
        )
        return {}


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
