"""Places of outputs are tried before the work, and nothing is left in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from full_disks import room_for

from kda_edge.errors import OutputError, TrainingError
from kda_edge.train.loops.output_places import keeping, require_file, require_folder


@pytest.mark.parametrize("name", ["there", "there/not/yet"])
def test_a_folder_that_can_be_written_to_passes_and_stays_as_it_was(name: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    require_folder(tmp_path / name, "--out")
    require_file(tmp_path / "there" / "metrics.json", "--json")
    require_file(None, "--json")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["there"]


def test_a_folder_that_is_full_is_refused(tmp_path: Path) -> None:
    with room_for(10):
        with pytest.raises(
            TrainingError, match=r"run can't be written to \(File too large\); choose another .* --cache"
        ):
            require_folder(tmp_path / "run", "--cache")
        with pytest.raises(OutputError, match=r"m.json can't be written \(File too large\); choose another place"):
            require_file(tmp_path / "m.json", "--json")


@pytest.mark.parametrize("place", ["student.pt", "student.pt/run", "link"])
def test_a_file_in_the_place_of_a_folder_or_above_it_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "student.pt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="--out"):
        require_folder(tmp_path / place, "--out")


@pytest.mark.parametrize("name", [b"\xff", b"a" * 300])
def test_a_name_that_no_folder_can_have_is_refused(name: bytes, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="choose another folder with --out"):
        require_folder(tmp_path / os.fsdecode(name), "--out")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder, and --json takes a file"):
        require_file(tmp_path, "--json")


def test_of_several_processes_the_first_alone_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    require_folder(Path("/proc/run"), "--out")


def test_other_errors_than_those_of_the_disk_pass(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), keeping(tmp_path, 1):
        raise ZeroDivisionError
