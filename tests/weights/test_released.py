"""The table of releases agrees with the presets and is found by hub id."""

import pytest

from da3jax.config import PRESETS
from da3jax.weights.released import RELEASES, find


def test_every_release_has_a_preset_and_every_preset_but_our_own_a_release():
    assert {release.preset for release in RELEASES.values()} == set(PRESETS) - {"da3-tiny"}
    assert all(repo_id == release.repo_id for repo_id, release in RELEASES.items())
    assert len(RELEASES) == 10


def test_revisions_and_hashes_are_hexadecimal_of_the_right_length():
    for release in RELEASES.values():
        assert release.revision is None or (len(release.revision) == 40 and int(release.revision, 16))
        assert release.sha256_prefix is None or (len(release.sha256_prefix) == 16 and int(release.sha256_prefix, 16))


def test_sizes_are_four_bytes_a_parameter_and_a_header():
    for release in RELEASES.values():
        if release.bytes is not None:
            assert release.bytes / 4e6 == pytest.approx(release.parameters, abs=0.03)


def test_find_takes_a_hub_id_in_any_case_and_nothing_else():
    assert find("depth-anything/da3-small") is RELEASES["depth-anything/DA3-SMALL"]
    assert find("DA3-SMALL") is None


def test_a_disputed_licence_is_called_so_and_not_commercial_or_otherwise():
    row = RELEASES["depth-anything/DA3-LARGE-1.1"]
    assert "disputed" in row.licence
    assert row.commercial is None
    assert [r.repo_id.split("/")[1] for r in RELEASES.values() if r.commercial] == [
        "DA3-SMALL",
        "DA3-BASE",
        "DA3METRIC-LARGE",
        "DA3MONO-LARGE",
    ]


@pytest.mark.parametrize(("ability", "output"), [("rays", "ray"), ("pose estimation", "cameras"), ("gaussians", "raw_gs"), ("sky", "sky")])
def test_abilities_are_those_of_the_preset(ability, output):
    for release in RELEASES.values():
        assert (ability in release.abilities) == (output in PRESETS[release.preset].outputs)


def test_the_table_is_read_only():
    with pytest.raises(TypeError, match="does not support item assignment"):
        RELEASES["x"] = None
