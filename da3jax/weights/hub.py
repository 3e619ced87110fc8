"""From a folder, da3-tiny or a hub id to a folder that holds `model.safetensors` and `config.json`."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import logging
import os
import pathlib
import re
from collections.abc import Iterator

from da3jax.config import PACKAGED
from da3jax.weights.released import CONFIG, RELEASES, WEIGHTS, Release, find

logger = logging.getLogger(__name__)

PACKAGED_FOLDER = pathlib.Path(__file__).parent / PACKAGED
"""Where the weights lie that are part of this package."""

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(source: str | os.PathLike, *, revision: str | None = None, offline: bool | None = None, progress: bool = False) -> pathlib.Path:
    """The folder of a checkpoint: `source` itself, that of da3-tiny in this package, or where the hub's files lie in the local cache.

    A hub id is fetched with huggingface_hub, which reads HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN and HF_HUB_OFFLINE. A released
    checkpoint at its pinned revision that is in the cache needs no request; right after its download its size and SHA-256 are compared
    with the table of releases, and a difference is logged as a warning.

    Args:
        source: a folder, `da3-tiny`, or a hub id `owner/name`. A folder of that name wins.
        revision: commit, branch or tag; None is the pinned commit of a released checkpoint and `main` of any other.
        offline: whether only the cache is read; None does as HF_HUB_OFFLINE says.
        progress: whether huggingface_hub shows its progress bars.

    Raises:
        ValueError: `source` has no revisions and one is given, or it is none of the three, or the revision does not exist.
        FileNotFoundError: the folder, the hub's model or one of its two files does not exist, or offline it is not in the cache.
        PermissionError: the model is gated, or the token is refused.
        ConnectionError: the hub cannot be reached, and the model is not in the cache.
        OSError: a download that broke off. Nothing unfinished is kept.
    """
    path = pathlib.Path(source)
    if os.fspath(source) and path.is_dir():
        if revision is not None:
            raise ValueError(f"{path} is a folder, which has no revision {revision!r}; a revision goes with a hub id")
        return path
    if source == PACKAGED:
        if revision is not None:
            raise ValueError(f"{PACKAGED} is part of this package and has no revision {revision!r}; a revision goes with a hub id")
        return PACKAGED_FOLDER
    release = find(source)
    _check_hub_id(source, path)
    repo_id = release.repo_id if release else str(source)
    revision = revision or (release and release.revision) or "main"

    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HTTPError  # of the HTTP library underneath, whichever it is

    cached = _cached(repo_id, revision)
    if cached and _COMMIT.fullmatch(revision):
        return cached
    if constants.HF_HUB_OFFLINE if offline is None else offline:
        if cached:
            return cached
        raise FileNotFoundError(_missing(repo_id, revision, "this is offline"))
    try:
        commit = get_hf_file_metadata(hf_hub_url(repo_id, CONFIG, revision=revision)).commit_hash
    except (HTTPError, OSError) as error:
        if cached and _unreachable(error):
            logger.warning("%s cannot be reached: %s is taken from the cache as it was", constants.ENDPOINT, repo_id)
            return cached
        raise _explained(error, repo_id, revision) from error
    if not commit:
        raise ConnectionError(f"{constants.ENDPOINT} does not answer as a Hugging Face hub does: check HF_ENDPOINT and the proxy settings")
    fresh = _cached(repo_id, commit) is None
    try:
        with _progress_bars(progress):
            commit = pathlib.Path(hf_hub_download(repo_id, CONFIG, revision=revision)).parent.name  # and notes where a branch is now
            weights = pathlib.Path(hf_hub_download(repo_id, WEIGHTS, revision=commit))
    except (HTTPError, OSError) as error:
        raise _explained(error, repo_id, revision, broke_off=True) from error
    if fresh and release and commit == release.revision:
        _compare(weights, release)
    return weights.parent


def _check_hub_id(source: str | os.PathLike, path: pathlib.Path) -> None:
    """Raises unless `source` can be a hub id; says what it seems to be and what would be right."""
    if path.is_file():
        raise ValueError(f"{path} is a file, where a folder with {WEIGHTS} and {CONFIG} is expected: pass the folder it lies in")
    if isinstance(source, str) and _HUB_ID.fullmatch(source):
        return
    if not isinstance(source, str) or re.search(r"[/\\]", source):
        raise FileNotFoundError(f"the folder {path} does not exist")
    names = {repo_id.split("/")[1].lower(): repo_id for repo_id in RELEASES} | {PACKAGED: PACKAGED}
    close = difflib.get_close_matches(source.lower(), names, n=1)
    hint = f"; did you mean {names[close[0]]!r}?" if close else ""
    known = f"{PACKAGED} is part of this package, and the released models are {', '.join(RELEASES)}"
    raise ValueError(f"{source!r} is neither a folder nor a hub id owner/name; {known}{hint}")


def _cached(repo_id: str, revision: str) -> pathlib.Path | None:
    """The folder in the local cache that holds both files of `revision`, without a request."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repo_id, name, revision=revision) for name in (CONFIG, WEIGHTS)]
    return pathlib.Path(found[1]).parent if all(isinstance(file, str) for file in found) else None


@contextlib.contextmanager
def _progress_bars(shown: bool) -> Iterator[None]:
    """Switches the progress bars of huggingface_hub off for a while, unless HF_HUB_DISABLE_PROGRESS_BARS decides."""
    from huggingface_hub import constants
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _compare(weights: pathlib.Path, release: Release) -> None:
    """Warns where size or hash are not those of the table of releases."""
    where = f"{WEIGHTS} of {release.repo_id} at {release.revision}"
    size = weights.stat().st_size
    if release.bytes is not None and size != release.bytes:
        logger.warning("%s has %d bytes; the table of releases says %d", where, size, release.bytes)
    if release.sha256_prefix is not None:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(release.sha256_prefix):
            logger.warning("%s has the SHA-256 %s; the table of releases says %s…", where, digest, release.sha256_prefix)


def _missing(repo_id: str, revision: str, why: str) -> str:
    from huggingface_hub import constants

    folder = pathlib.Path(constants.HF_HUB_CACHE) / f"models--{repo_id.replace('/', '--')}"
    return (
        f"{repo_id} at revision {revision} is neither a folder here nor in the cache {folder}, and {why}: "
        f"run `hf download {repo_id} --local-dir DIR` on a connected machine and pass DIR"
    )


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _unreachable(error: Exception) -> bool:
    """Whether the hub gave no answer, or one that says that it is out of order."""
    return (_status(error) or 500) >= 500


def _explained(error: Exception, repo_id: str, revision: str, broke_off: bool = False) -> OSError | ValueError:
    """What huggingface_hub raised, as one sentence."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # what the library met when it asked the hub
    page = f"{constants.ENDPOINT}/{repo_id}"
    status = _status(error)
    first_line = (str(error).splitlines() or [""])[0]
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return PermissionError(f"access to {repo_id} is restricted: ask for it on {page}, then run `hf auth login`, or set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        release = find(repo_id)
        hint = f"; without one it is {release.revision}" if release and release.revision else ""
        return ValueError(f"{repo_id} has no revision {revision!r} on {constants.ENDPOINT}{hint}")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return FileNotFoundError(f"{repo_id} at revision {revision} lacks {CONFIG} or {WEIGHTS}: it is no released checkpoint")
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        close = difflib.get_close_matches(repo_id, RELEASES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close and close[0] != repo_id else ""
        return FileNotFoundError(
            f"{repo_id} is neither a folder here nor a model that {constants.ENDPOINT} shows you "
            f"(a private one needs `hf auth login`, or HF_TOKEN){hint}"
        )
    if status == 401:
        return PermissionError(
            f"{constants.ENDPOINT} refuses the token that it was given for {repo_id}: run `hf auth login`, or set HF_TOKEN"
        )
    if broke_off:
        return OSError(f"the download of {repo_id} at revision {revision} broke off ({first_line}): nothing unfinished was kept, try again")
    why = f"{constants.ENDPOINT} answers with status {status}" if status else f"{constants.ENDPOINT} cannot be reached ({first_line})"
    return ConnectionError(_missing(repo_id, revision, why))
