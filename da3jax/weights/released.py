"""The released checkpoints: where each lies, what it is, what it can do, and under which licence.

Revisions and hashes were collected from the lock files of other projects, not from a download: they are defaults that a caller can
override, and what differs from them is reported, not refused.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""The two files of a released checkpoint."""


@dataclass(frozen=True)
class Release:
    """One row of the table; None is what is not known."""

    repo_id: str
    """Where it lies on the Hugging Face hub, `owner/name`."""
    preset: str
    """Its key in `da3jax.config.PRESETS`."""
    licence: str
    """As its page says."""
    revision: str | None
    """The commit that `resolve` asks for unless the caller names another."""
    sha256_prefix: str | None
    """First 16 hexadecimal digits of the SHA-256 of its weights at `revision`."""
    bytes: int | None
    """Exact size of its weights."""
    parameters: float
    """Millions."""
    commercial: bool | None
    """Whether the licence allows commercial use; None where it is disputed."""
    abilities: tuple[str, ...]
    """What it predicts, in words."""


_ANYVIEW = ("relative depth", "rays", "pose estimation", "pose conditioning")
_GIANT = (*_ANYVIEW, "gaussians")
_NESTED = (*_GIANT, "metric depth", "sky")
_FREE = ("Apache-2.0", True)
_NC = ("CC BY-NC 4.0", False)
_DISPUTED = ("disputed: its page and its model card differ", None)


def _row(name, preset, terms, revision, sha256_prefix, size, parameters, abilities) -> Release:
    licence, commercial = terms
    return Release(f"depth-anything/{name}", preset, licence, revision, sha256_prefix, size, parameters, commercial, abilities)


# fmt: off
RELEASES: Mapping[str, Release] = types.MappingProxyType({row.repo_id: row for row in (
    _row("DA3-SMALL", "da3-small", _FREE, "e08cab65ca0ec38e7826075418411ab90cab4da3", "364492e38a3a06d2", 137_248_940, 34.30, _ANYVIEW),
    _row("DA3-BASE", "da3-base", _FREE, "f4a6c9b3c95e41c82048423d3493a81ec3fa810e", "e01067dc16596130", 541_518_028, 135.37, _ANYVIEW),
    _row("DA3-LARGE", "da3-large", _NC, "c54c26b16ec04d218e8d584ecf4bce082a9fcc20", "eaf2ae06df55889a", 1_643_843_860, 410.94, _ANYVIEW),
    _row("DA3-LARGE-1.1", "da3-large", _DISPUTED, "0e109ae307c5982f319a67cf6f9f99ccdc0ec97c", "739905c423cf0d6c", 1_643_843_860, 410.94,
         _ANYVIEW),
    _row("DA3-GIANT", "da3-giant", _NC, None, None, None, 1355.67, _GIANT),
    _row("DA3-GIANT-1.1", "da3-giant", _NC, "72ee9f89ce4e50d704e9d55ee9c646ec8dc25a19", "1e47a08338ca73a6", None, 1355.67, _GIANT),
    _row("DA3NESTED-GIANT-LARGE", "da3nested-giant-large", _NC, None, None, None, 1689.85, _NESTED),
    _row("DA3NESTED-GIANT-LARGE-1.1", "da3nested-giant-large", _NC, "b2359bdf726fb44ef62acca04d629dcf158053e7", "8ebe871a022ed58d", None,
         1689.85, _NESTED),
    _row("DA3METRIC-LARGE", "da3metric-large", _FREE, "4010e39f3634a45bc60553321fb49fb760bd594e", "bbea5b0b3ee38984", 1_336_734_448, 334.17,
         ("metric depth", "sky")),
    _row("DA3MONO-LARGE", "da3mono-large", _FREE, "f465978e618db8cc79c83b8bbf24964857db1875", None, 1_336_734_448, 334.17,
         ("relative depth", "sky")),
)})
# fmt: on
"""The released checkpoints by hub id."""

_BY_LOWER = {repo_id.lower(): release for repo_id, release in RELEASES.items()}


def find(source: object) -> Release | None:
    """The release that `source` is the hub id of, in upper or lower case; None where it is none."""
    return _BY_LOWER.get(str(source).lower())
