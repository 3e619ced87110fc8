"""What --auto-cleanup may remove: files that an earlier run wrote, and nothing else."""

import hashlib
import json
import logging

import pytest

from da3jax.outputs.manifest import MANIFEST, is_recorded, record, remove_earlier


@pytest.fixture
def folder(tmp_path):
    """Two files of an earlier run, one in a folder of its own, and one of the user's."""
    out = tmp_path / "out"
    (out / "depth_vis").mkdir(parents=True)
    for name in ("scene.glb", "depth_vis/0000.jpg", "mine.txt"):
        (out / name).write_text(name)
    record(out, [out / "scene.glb", out / "depth_vis" / "0000.jpg"])
    return out


def left(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_what_an_earlier_run_wrote_goes_with_the_folders_that_are_empty_then(folder):
    removed = remove_earlier(folder, [])
    assert set(removed) == {folder / "scene.glb", folder / "depth_vis" / "0000.jpg"}
    assert left(folder) == {"mine.txt", MANIFEST}


def test_what_this_run_wrote_stays(folder):
    remove_earlier(folder, [folder / "scene.glb"])
    assert left(folder) == {"mine.txt", "scene.glb", MANIFEST}


def test_a_folder_with_a_file_of_the_user_stays(folder):
    (folder / "depth_vis" / "notes.txt").write_text("mine")
    remove_earlier(folder, [])
    assert left(folder) == {"mine.txt", "depth_vis", "depth_vis/notes.txt", MANIFEST}


def test_a_file_that_was_changed_since_stays(folder, caplog):
    (folder / "scene.glb").write_text("edited")
    with caplog.at_level(logging.WARNING):
        remove_earlier(folder, [])
    assert (folder / "scene.glb").read_text() == "edited"
    assert "scene.glb was changed since it was written, and stays" in caplog.text


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b/c", "\ud800", ""])
def test_a_name_in_the_list_that_is_no_path_is_passed_over(folder, name):
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    (folder / MANIFEST).write_text(json.dumps({"files": {name: "0", **listed}}))
    assert len(remove_earlier(folder, [])) == 2
    record(folder, [])
    assert json.loads((folder / MANIFEST).read_text()) == {"files": {}}


def test_nothing_outside_the_folder_is_removed_whatever_the_list_says(folder, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (folder / "link").symlink_to(tmp_path)
    (folder / "file-link").symlink_to(outside)
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    digest = hashlib.sha256(b"mine").hexdigest()
    listed |= {name: digest for name in ("../outside.txt", str(outside), "link/outside.txt", "file-link")}
    (folder / MANIFEST).write_text(json.dumps({"files": listed}))
    remove_earlier(folder, [])
    assert outside.read_text() == "mine"
    assert (folder / "file-link").is_symlink()


@pytest.mark.parametrize("content", ["", "[]", '{"files": 3}', "{", "\xff", "[" * 100_000])
def test_a_list_that_is_none_of_ours_names_nothing(folder, content, caplog):
    (folder / MANIFEST).write_text(content)
    with caplog.at_level(logging.WARNING):
        assert remove_earlier(folder, []) == []
    assert "cannot be read as the list of files" in caplog.text


def test_runs_add_up(folder):
    (folder / "points.ply").write_text("ply")
    record(folder, [folder / "points.ply"])
    remove_earlier(folder, [])
    assert left(folder) == {"mine.txt", MANIFEST}


def test_without_a_list_nothing_is_removed(tmp_path):
    (tmp_path / "scene.glb").write_text("mine")
    assert remove_earlier(tmp_path, []) == []
    assert left(tmp_path) == {"scene.glb"}


def test_files_are_recorded_while_they_are_as_they_were_written(folder):
    files = [folder / "scene.glb", folder / "depth_vis" / "0000.jpg"]
    assert is_recorded(folder, files) is True
    assert is_recorded(folder, [*files, folder / "mine.txt"]) is None
    files[0].write_text("changed")
    assert is_recorded(folder, [*files, folder / "mine.txt"]) is False
    files[0].unlink()
    assert is_recorded(folder, files) is None
