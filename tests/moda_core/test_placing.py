"""Files and folders are put in their place whole or not at all, by one of several writers at once."""

import multiprocessing
import os
import signal
import stat

import pytest

from moda_core.placing import new_folder, place_new_file, write_whole

WRITERS = 4
PROCESSES = multiprocessing.get_context("forkserver")


def outcomes(work, folder):
    """What each of several processes says, which meet at a barrier before they put their work in its place."""
    barrier, answers = PROCESSES.Barrier(WRITERS), PROCESSES.Queue()
    processes = [PROCESSES.Process(target=work, args=(folder, name, barrier, answers)) for name in "abcd"]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return [name for name, is_placed in found if is_placed]


def place_a_folder(folder, name, barrier, answers):
    try:
        with new_folder(folder / "parents" / "set") as part:
            for file in ("one", "two"):
                (part / file).write_text(name)
            barrier.wait()
        answers.put((name, True))
    except FileExistsError:
        answers.put((name, False))


def place_a_file(folder, name, barrier, answers):
    part = folder / f"{name}.part"
    part.write_text(name)
    barrier.wait()
    try:
        place_new_file(part, folder / "file")
        answers.put((name, True))
    except FileExistsError:
        answers.put((name, False))


def test_of_several_folders_at_once_one_is_there_whole(tmp_path):
    (winner,) = outcomes(place_a_folder, tmp_path)
    folder = tmp_path / "parents" / "set"
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"one": winner, "two": winner}
    assert os.listdir(folder.parent) == ["set"]


def test_of_several_files_at_once_one_is_there(tmp_path):
    (winner,) = outcomes(place_a_file, tmp_path)
    assert (tmp_path / "file").read_text() == winner


def write_and_be_killed(folder):
    with new_folder(folder) as part:
        (part / "one").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_a_hidden_part_and_nothing_else(tmp_path):
    process = PROCESSES.Process(target=write_and_be_killed, args=(tmp_path / "set",))
    process.start()
    process.join()
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".moda-")
    assert left.endswith(".part")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_writer_leaves_nothing(tmp_path, interruption):
    def write():
        with new_folder(tmp_path / "set") as part:
            (part / "one").write_text("half")
            raise interruption

    with pytest.raises(interruption):
        write()
    assert os.listdir(tmp_path) == []


def place(folder):
    with new_folder(folder) as part:
        (part / "new").touch()


def test_an_empty_folder_and_what_a_link_leads_to_are_free(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name, target in {"link": "empty", "dangling": "nowhere"}.items():
        place(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert os.listdir(tmp_path / target) == ["new"]


def test_what_is_taken_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("folder/mine", "file"):
        (tmp_path / name).write_text("mine")
    for name in ("folder", "file"):
        with pytest.raises(FileExistsError):
            place(tmp_path / name)
    (tmp_path / "part").write_text("new")
    with pytest.raises(FileExistsError):
        place_new_file(tmp_path / "part", tmp_path / "file")
    assert (tmp_path / "folder" / "mine").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
    place_new_file(tmp_path / "first", tmp_path / "file")
    with pytest.raises(FileExistsError):
        place_new_file(tmp_path / "second", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "first"


def write_often(folder, name, barrier, answers):
    barrier.wait()
    seen = set()
    for _ in range(50):
        write_whole(folder / "file", name.encode() * 100_000)
        seen.add((folder / "file").read_bytes())
    answers.put((name, all(len(set(data)) == 1 and len(data) == 100_000 for data in seen)))


def test_readers_see_one_writers_file(tmp_path):
    assert sorted(outcomes(write_often, tmp_path)) == ["a", "b", "c", "d"]
    assert os.listdir(tmp_path) == ["file"]


def test_an_overwritten_file_keeps_its_mode_and_a_failed_write_keeps_the_file(tmp_path, monkeypatch):
    file = tmp_path / "report.html"
    write_whole(file, b"old")
    file.chmod(0o640)
    write_whole(file, b"new")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b"newer")
    assert (file.read_bytes(), os.listdir(tmp_path)) == (b"new", ["report.html"])
