"""A file is whole under its name or not there; what was there before stays until then."""

from __future__ import annotations

import math
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from file_writers import REPLACING, WRITERS

from kda_edge import whole_files
from kda_edge.whole_files import PART, flush, free_bytes_at, staged, write_first

OLDER, NEWER = b"older", b"newer " * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_is_there_with_all_that_was_written_and_nothing_beside_it(
    write: Callable[[Path, bytes], None], path: Path
) -> None:
    for content in (NEWER, b""):
        write(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]
        path.unlink()


@pytest.mark.parametrize("write", REPLACING)
def test_what_was_there_is_replaced_and_whoever_reads_it_reads_on(
    write: Callable[[Path, bytes], None], path: Path
) -> None:
    path.write_bytes(OLDER)
    with path.open("rb") as reader:
        write(path, NEWER)
        assert reader.read() == OLDER
    assert path.read_bytes() == NEWER


def test_until_the_block_ends_what_was_there_stays_and_the_new_file_has_a_hidden_name(path: Path) -> None:
    path.write_bytes(OLDER)
    with staged(path) as hidden:
        hidden.write_bytes(NEWER)
        assert path.read_bytes() == OLDER
        assert hidden.parent == path.parent
        assert hidden.name.startswith(".")
        assert hidden.name.endswith(PART)


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_and_its_folder_are_flushed_before_and_after_it_has_its_name(
    write: Callable[[Path, bytes], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, bool]] = []

    def noted(place: Path) -> None:
        assert place.is_dir() or place.read_bytes() == NEWER
        flushed.append(("folder" if place.is_dir() else "file", path.exists()))
        flush(place)

    monkeypatch.setattr(whole_files, "flush", noted)
    write(path, NEWER)
    assert flushed == [("file", False), ("folder", True)]


@pytest.mark.parametrize("write", WRITERS)
def test_many_threads_that_write_one_file_leave_that_of_one_of_them(
    write: Callable[[Path, bytes], None], path: Path
) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    together, failed = threading.Barrier(len(contents)), list[Exception]()

    def run(content: bytes) -> None:
        together.wait()
        try:
            for _ in range(5):
                write(path, content)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert path.read_bytes() in contents
    assert list(path.parent.iterdir()) == [path]


def test_two_blocks_on_one_name_have_files_of_their_own_and_the_last_to_end_stays(path: Path) -> None:
    with staged(path) as outer:
        outer.write_bytes(b"outer")
        with staged(path) as inner:
            inner.write_bytes(b"inner")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer"


def test_the_first_writer_wins(path: Path) -> None:
    write_first(path, OLDER)
    write_first(path, NEWER)
    assert path.read_bytes() == OLDER
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o644), (0o077, 0o600)])
def test_others_may_read_as_the_umask_says_and_nobody_but_the_owner_may_write(
    write: Callable[[Path, bytes], None], path: Path, umask: int, mode: int
) -> None:
    former = os.umask(umask)
    try:
        write(path, NEWER)
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_free_space_is_what_the_system_tells_and_without_bound_where_it_tells_nothing(tmp_path: Path) -> None:
    state = os.statvfs(tmp_path)
    assert 0 <= free_bytes_at(tmp_path) <= state.f_blocks * state.f_frsize
    assert free_bytes_at(tmp_path / "nowhere") == math.inf
