"""What is written is whole or not there also where the process is killed, the disk is full or the folder is locked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from file_writers import REPLACING, WRITERS
from full_disks import room_for

from kda_edge.whole_files import flush, publish, staged, write_whole

OLDER, NEWER = b"older", b"newer " * 1000
NOBODY = 65534

# A process that is about to write, and is killed in the middle of it.
KILLED = """
    import os, signal, sys
    from pathlib import Path
    from kda_edge.whole_files import staged

    with staged(Path(sys.argv[1])) as hidden, hidden.open("wb") as file:
        file.write(b"newer")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""

# A process that has no right to write to the folder that it is in; whoever runs the tests may be root, who has it.
POWERLESS = """
    import os, sys
    from pathlib import Path
    from kda_edge import whole_files

    os.chdir(sys.argv[1])
    if os.geteuid() == 0:
        os.setgroups([])
        os.setegid(int(sys.argv[3]))
        os.seteuid(int(sys.argv[3]))
    try:
        getattr(whole_files, sys.argv[2])(Path("file"), b"newer")
    except OSError as error:
        print(type(error).__name__, error.filename, error.strerror)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("stop", [ZeroDivisionError, KeyboardInterrupt, SystemExit, MemoryError, OSError])
def test_a_block_that_does_not_end_well_leaves_what_was_there_and_nothing_else(
    stop: type[BaseException], path: Path
) -> None:
    def write_and_stop() -> None:
        with staged(path) as hidden:
            hidden.write_bytes(NEWER)
            raise stop

    path.write_bytes(OLDER)
    with pytest.raises(stop):
        write_and_stop()
    assert path.read_bytes() == OLDER
    assert list(path.parent.iterdir()) == [path]


def test_a_process_that_is_killed_in_the_middle_leaves_what_was_there(path: Path) -> None:
    path.write_bytes(OLDER)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == OLDER
    (hidden,) = set(path.parent.iterdir()) - {path}
    assert hidden.name.startswith(".")
    write_whole(path, NEWER)  # and is in nobody's way
    assert path.read_bytes() == NEWER


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(
    write: Callable[[Path, bytes], None], path: Path
) -> None:
    with pytest.raises(OSError, match="File too large") as caught, room_for(1000):
        write(path, NEWER)
    assert caught.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def test_a_full_disk_leaves_what_was_there(path: Path) -> None:
    path.write_bytes(OLDER)
    with pytest.raises(OSError, match="File too large"), room_for(1000):
        write_whole(path, NEWER)
    assert path.read_bytes() == OLDER


@pytest.mark.parametrize("write", REPLACING)
def test_a_disk_that_fails_at_the_last_moment_leaves_what_was_there(
    write: Callable[[Path, bytes], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    path.write_bytes(OLDER)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write(path, NEWER)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == OLDER
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_the_system_does_not_flush_is_no_error_but_a_file_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    path.write_bytes(NEWER)
    monkeypatch.setattr(os, "fsync", refusing)
    flush(path.parent)
    with pytest.raises(OSError, match="Invalid argument"):
        flush(path)


@pytest.mark.parametrize("write", WRITERS)
def test_a_folder_that_is_missing_is_an_error_that_names_the_file_and_not_the_hidden_one(
    write: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(FileNotFoundError) as caught:
        write(path, NEWER)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("write", ["write_whole", "write_first"])
def test_a_folder_without_the_right_to_write_is_an_error_that_names_the_file(write: str, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    command = [sys.executable, "-c", textwrap.dedent(POWERLESS), str(folder), write, str(NOBODY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "PermissionError file Permission denied\n"
    assert list(folder.iterdir()) == []


def test_a_folder_and_a_pipe_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for write in REPLACING:
        with pytest.raises(IsADirectoryError):
            write(tmp_path / "folder", NEWER)
        with pytest.raises(OSError, match="no file"):
            write(tmp_path / "pipe", NEWER)
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(place.name for place in tmp_path.iterdir()) == ["folder", "pipe"]


def test_files_that_belong_together_get_their_names_in_order(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("polygons", "picture", "map")]
    hidden = {name: tmp_path / f".{name.name}" for name in names}
    for file in hidden.values():
        file.write_bytes(NEWER)
    names[1].mkdir()  # whose name can't be taken
    with pytest.raises(OSError, match="picture"):
        publish(hidden)
    assert sorted(place.name for place in tmp_path.iterdir()) == [".map", ".picture", "picture", "polygons"]
