import os
import pathlib
import signal
import time

import pytest

from da3jax.outputs.atomic import atomic, check_writable, together, write_bytes, write_together


def test_the_file_appears_when_the_block_ends_with_folders_made(tmp_path):
    path = tmp_path / "a" / "b" / "picture.jpg"
    with atomic(path) as temp:
        assert temp.parent == path.parent
        assert temp.suffix == ".jpg"
        temp.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_interruption_keeps_the_old_file_and_removes_the_half_written_one(tmp_path, interruption):
    path = tmp_path / "scene.glb"
    path.write_text("old")

    def write():
        with atomic(path) as temp:
            temp.write_text("ha")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_take_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "new" / "points.ply"
    for content in (b"old", b"ply"):
        write_bytes(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_an_interruption_before_anything_was_written_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "scene.glb"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_files_get_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    with atomic(tmp_path / "ours") as temp:
        temp.write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_file_that_cannot_be_written_is_named_with_its_folder_and_the_reason(tmp_path):
    (tmp_path / "scene.glb").mkdir()
    message = rf"^scene\.glb cannot be written into the folder {tmp_path}: Is a directory$"
    with pytest.raises(OSError, match=message), atomic(tmp_path / "scene.glb") as temp:
        temp.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.glb"]

    (tmp_path / "file").write_text("mine")
    message = rf"^a cannot be written into the folder {tmp_path}/file/b: Not a directory$"
    with pytest.raises(OSError, match=message), atomic(tmp_path / "file" / "b" / "a") as temp:
        temp.write_text("new")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_writable_folder_passes_and_stays_as_it_is(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "mine").write_text("mine")
    check_writable(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new"]


def test_an_export_folder_that_is_a_file_or_below_one_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for folder in (path, path / "below"):
        with pytest.raises(OSError, match=rf"^the export folder {folder} is a file, or lies below one; name a folder"):
            check_writable(folder)
    assert path.read_text() == "mine"


def test_an_export_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path):
    with pytest.raises(OSError, match=r"^the export folder .*xxx cannot be written: File name too long$"):
        check_writable(tmp_path / ("x" * 300))


def test_a_read_only_folder_is_refused(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        (folder / "probe").touch()
    except PermissionError:
        with pytest.raises(OSError, match=rf"^the export folder {folder} cannot be written: Permission denied$"):
            check_writable(folder)
    else:
        pytest.skip("this user may write anywhere")
    finally:
        pathlib.Path(folder).chmod(0o700)


def test_files_that_belong_together_are_all_new_or_all_old(tmp_path):
    first, second = tmp_path / "new" / "a.bin", tmp_path / "b.bin"
    write_together({first: b"one", second: b"two"})
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    blocked = tmp_path / "a.bin" / "below"
    (tmp_path / "a.bin").write_text("a file")
    with pytest.raises(OSError, match=rf"^below cannot be written into the folder {tmp_path}/a\.bin: File exists$"):
        write_together({first: b"three", blocked: b"four", second: b"five"})
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.bin", "a.bin", "b.bin"]


@pytest.mark.parametrize("letter", ["x", "日"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, letter):
    path = tmp_path / (letter * (251 // len(letter.encode())) + ".png")
    with atomic(path) as temp:
        temp.write_text("atomic")
    write_together({path: b"together"})
    assert path.read_text() == "together"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError, ValueError])
def test_what_was_written_one_by_one_appears_at_the_end_or_not_at_all(tmp_path, interruption):
    paths = [tmp_path / "images" / "a.png", tmp_path / "model.bin"]

    def write(content, fail):
        with together() as write:
            for path in paths:
                write(path, content)
                temps = [file for file in tmp_path.rglob("*") if file.is_file() and file not in paths]
                assert content in [file.read_bytes() for file in temps]  # on the disk, not in memory
            if fail:
                raise interruption

    write(b"old", fail=False)
    with pytest.raises(interruption):
        write(b"new", fail=True)
    assert [path.read_bytes() for path in paths] == [b"old", b"old"]
    write(b"new", fail=False)
    assert [path.read_bytes() for path in paths] == [b"new", b"new"]
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == sorted(paths)


def test_an_interruption_between_the_renames_waits_for_the_last_one(tmp_path, monkeypatch):
    replace = pathlib.Path.replace

    def interrupted(temp, path):
        if path.name == "0.png":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # the main thread has it by then
        return replace(temp, path)

    monkeypatch.setattr(pathlib.Path, "replace", interrupted)
    files = {tmp_path / f"{number}.png": b"new" for number in range(20)}
    with pytest.raises(KeyboardInterrupt):
        write_together(files)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_folder_in_the_place_of_one_file_leaves_the_others_as_they_were(tmp_path):
    (tmp_path / "b.bin").mkdir()
    (tmp_path / "a.bin").write_text("old")
    with pytest.raises(OSError, match=rf"^b\.bin cannot be written into the folder {tmp_path}: Is a directory$"):
        write_together({tmp_path / "a.bin": b"new", tmp_path / "b.bin": b"new"})
    assert (tmp_path / "a.bin").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin"]
