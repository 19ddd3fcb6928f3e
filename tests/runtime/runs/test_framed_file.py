"""Frames that are whole or not there, and one run at a time."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest
from forks import idle_fork, in_a_fork
from hypothesis import given, settings
from hypothesis import strategies as st

from kda_edge.errors import OutputError
from kda_edge.runtime.runs.framed_file import MAGIC, DamagedFile, FramedFile, alone, locked

PAYLOADS = [b"header", b"a" * 40, b"\0" * 16, b"last"]


class Disk(io.FileIO):
    """A real file whose disk takes so many bytes and no more."""

    room_bytes = 10**9

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        if self.room_bytes == 0:
            raise OSError(28, "No space left on device")
        written = super().write(bytes(data)[: self.room_bytes])
        self.room_bytes -= written
        return written


def framed(path: Path, free_bytes: float = 1e12) -> tuple[FramedFile, Disk]:
    path.touch()
    file = Disk(path, "r+")
    return FramedFile(path, file, lambda folder: free_bytes), file  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("frames") / "f"
    frames, file = framed(path)
    with file:
        for payload in PAYLOADS:
            frames.append(payload)
    return path.read_bytes()


def ends_of(content: bytes) -> list[int]:
    """Where each frame ends, from the format as it is written down: 8 bytes of length, 4 of CRC-32, the payload."""
    ends = [len(MAGIC)]
    for payload in PAYLOADS:
        assert content[ends[-1] : ends[-1] + 8] == len(payload).to_bytes(8, "little")
        ends.append(ends[-1] + 12 + len(payload))
    assert ends[-1] == len(content)
    return ends[1:]


def test_a_file_cut_at_any_byte_gives_back_its_whole_frames_and_takes_the_rest_again(
    content: bytes, tmp_path: Path
) -> None:
    path, ends = tmp_path / "f", ends_of(content)
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        frames, file = framed(path)
        with file:
            found = list(frames.frames())
            assert found == PAYLOADS[: sum(end <= length for end in ends)]
            for payload in PAYLOADS[len(found) :]:
                frames.append(payload)
            assert list(frames.frames()) == PAYLOADS
            assert frames.whole
        assert path.read_bytes() == content


@settings(max_examples=150, deadline=None, derandomize=True)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_changed_bit_passes_for_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int, bit: int
) -> None:
    changed = bytearray(content)
    changed[at % len(content)] ^= 1 << bit
    path = tmp_path_factory.mktemp("f") / "f"
    path.write_bytes(changed)
    frames, file = framed(path)
    with file:
        try:
            found = list(frames.frames())
        except DamagedFile:
            return
        assert found == PAYLOADS[: len(found)] != PAYLOADS
        assert not frames.whole


def test_frames_of_another_place_in_the_file_do_not_count(content: bytes, tmp_path: Path) -> None:
    """Such as blocks of an older file that a power cut has left behind the end."""
    ends = ends_of(content)
    path = tmp_path / "f"
    path.write_bytes(content[: ends[0]] + content[ends[1] : ends[2]])
    frames, file = framed(path)
    with file:
        assert list(frames.frames()) == PAYLOADS[:1]


@pytest.mark.parametrize("what", [b"hello", b"kda-edge journal 1\n....", MAGIC + b"\xff" * 40])
def test_what_is_no_such_file_is_damaged_and_not_empty(what: bytes, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(what)
    frames, file = framed(path)
    with file, pytest.raises(DamagedFile):
        list(frames.frames())


@pytest.mark.parametrize("room_bytes", [0, 1, 11, 12, 30])
def test_a_disk_that_is_full_in_the_middle_of_a_frame_costs_that_frame_only(
    content: bytes, tmp_path: Path, room_bytes: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(content[: ends_of(content)[0]])
    frames, file = framed(path)
    with file:
        assert list(frames.frames()) == PAYLOADS[:1]
        file.room_bytes = room_bytes
        with pytest.raises(OutputError, match=r"No space left on device.*free some space"):
            frames.append(PAYLOADS[1])
        file.room_bytes = 10**9
        for payload in PAYLOADS[1:]:
            frames.append(payload)
    assert path.read_bytes() == content


def test_what_is_left_of_a_long_frame_does_not_lie_behind_a_short_one(tmp_path: Path) -> None:
    frames, file = framed(tmp_path / "f")
    with file:
        frames.append(b"header")
        file.room_bytes = 200
        with pytest.raises(OutputError):
            frames.append(b"a" * 300)
        file.room_bytes = 10**9
        frames.append(b"b")
        assert list(frames.frames()) == [b"header", b"b"]
        assert frames.whole


def test_a_disk_that_is_filling_up_is_seen_before_it_is_full(tmp_path: Path) -> None:
    frames, file = framed(tmp_path / "f", free_bytes=200_000)
    with file:
        frames.append(b"a" * 100_000)
        with pytest.raises(OutputError, match=r"0.2 MB are left and 0.3 MB are needed") as caught:
            frames.append(b"a" * 300_000)
        assert "\n" not in str(caught.value)
        assert list(frames.frames()) == [b"a" * 100_000]


def test_a_second_run_is_told_at_once_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".scene.journal"
    script = (
        "import sys, time; from pathlib import Path; from kda_edge.runtime.runs.framed_file import locked\n"
        "with locked(Path(sys.argv[1])) as file: file.write(b'kept'); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for contest in (locked, alone):
            with pytest.raises(
                OutputError, match=r"another run is at work on scene.journal in .*wait for it"
            ) as caught:
                contest(path).__enter__()
            assert "\n" not in str(caught.value)
        other.kill()
    with alone(path), pytest.raises(OutputError, match="another run"):
        locked(path).__enter__()
    assert path.read_bytes() == b"kept"
    path.unlink()
    with alone(path):
        assert path.exists()
    assert not path.exists()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_made_during_a_run_does_not_hold_its_lock(tmp_path: Path) -> None:
    """A worker that another thread of the program forks meanwhile would hold it for as long as it lives."""
    path = tmp_path / ".scene.journal"
    with ExitStack() as stack:
        with locked(path) as file:
            stack.enter_context(idle_fork())
            assert in_a_fork(lambda: file.closed, leave=os._exit) == "True"
            with pytest.raises(OutputError, match="another run"):
                locked(path).__enter__()
            file.write(b"kept")
        with locked(path) as file:
            assert file.read() == b"kept"


def test_a_file_that_its_owner_removes_while_another_waits_to_open_it_is_not_shared(tmp_path: Path) -> None:
    """The lock of a name that is gone is worth nothing: a third run would make the name anew."""
    path = tmp_path / "f"
    with locked(path) as first:
        path.unlink()
        with locked(path) as second:
            assert os.fstat(second.fileno()).st_ino != os.fstat(first.fileno()).st_ino
            with pytest.raises(OutputError, match="another run"):
                locked(path).__enter__()


def test_a_file_that_is_gone_when_its_lock_is_had_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner removed it between our opening and our lock, and nobody has made it since."""
    path, tries = tmp_path / "f", []

    def locked_too_late(place: Path, file: BinaryIO) -> None:
        tries.append(place)
        if len(tries) == 1:
            place.unlink()

    monkeypatch.setattr("kda_edge.runtime.runs.framed_file._lock", locked_too_late)
    with locked(path) as file:
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino
    assert len(tries) == 2


def test_a_frame_of_nothing_ends_what_is_believed(tmp_path: Path) -> None:
    frames, file = framed(tmp_path / "f")
    with file:
        for payload in (b"header", b"", b"more"):
            frames.append(payload)
    with (tmp_path / "f").open("rb", buffering=0) as again:
        assert list(FramedFile(tmp_path / "f", again).frames()) == [b"header"]


def test_a_place_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OutputError, match=r"can't be opened .*choose another folder"):
        locked(tmp_path / "f").__enter__()


def test_a_folder_that_takes_no_files_is_named_and_not_the_hidden_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^/proc/self can't be written to \(.*\); choose another folder with -o$"):
        locked(Path("/proc/self/.map.journal")).__enter__()
