"""The record of finished rows: what was written comes back, as far as it is whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kda_edge.errors import JournalError, OutputError
from kda_edge.runtime.mapping.rows import Counts, MappedRows
from kda_edge.runtime.runs.framed_file import FramedFile
from kda_edge.runtime.runs.journal import Header, opened_journal, read_journal, require_same
from kda_edge.tiling.tile_stream import TileFailure

WIDTH = 5
HEADER = Header(
    key={"scene": "ab" * 32, "--overlap": 8, "--bands": [1, 2, 3]},
    height_px=40,
    width_px=WIDTH,
    first_row=8,
    end_row=32,
    shard="2/4",
    bands=(1, 2, 3),
    value_range=(0.0, 255.5),
    manifest="{}",
    notes=("a note",),
)


def some_rows(row_px: int, height_px: int, seed: int) -> MappedRows:
    rng = np.random.default_rng(seed)
    return MappedRows(
        row_px=row_px,
        layers=rng.integers(0, 256, (3, height_px, WIDTH), np.uint8),
        counts=Counts(*rng.integers(10**9, size=6).tolist()),
        failures=tuple(TileFailure(row_px, col, f"Ünlucky {col}") for col in range(seed % 3)),
        warnings=("a warning",) * (seed % 2),
    )


def written(path: Path, heights: Sequence[int]) -> list[MappedRows]:
    bands, row = [], HEADER.first_row
    with opened_journal(path) as journal:
        journal.begin(HEADER)
        for seed, height in enumerate(heights):
            bands.append(some_rows(row, height, seed))
            journal.append(bands[-1])
            row += height
    return bands


def same(found: MappedRows, expected: MappedRows) -> bool:
    names = [spec.name for spec in dataclasses.fields(MappedRows) if spec.name != "layers"]
    alike = all(getattr(found, name) == getattr(expected, name) for name in names)
    return alike and np.array_equal(found.layers, expected.layers)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(heights=st.lists(st.integers(1, 6), min_size=1, max_size=4), cut=st.floats(0, 1), extra=st.binary(max_size=9))
def test_rows_come_back_as_they_were_up_to_where_a_power_cut_tore_the_file(
    tmp_path: Path, heights: list[int], cut: float, extra: bytes
) -> None:
    path = tmp_path / "j"
    path.unlink(missing_ok=True)
    bands = written(path, heights)
    content = path.read_bytes()
    path.write_bytes(content[: round(cut * len(content))] + (extra if cut == 1 else b""))
    with opened_journal(path) as journal:
        found = list(journal.replay())
        assert all(same(a, b) for a, b in zip(found, bands, strict=False))
        assert journal.rows_px == sum(rows.layers.shape[1] for rows in found)
        assert journal.answered_tiles == sum(rows.counts.answered_tiles for rows in found)
        assert cut < 1 or len(found) == len(bands)
        if not found:
            journal.begin(HEADER)
        for rows in bands[len(found) :]:
            journal.append(rows)
    assert path.read_bytes() == content


def test_a_finished_record_has_its_final_name_and_says_that_it_is_whole(tmp_path: Path) -> None:
    path, final = tmp_path / ".j", tmp_path / "j.kda"
    bands = written(path, [8, 16])
    with read_journal(path) as journal:
        assert (journal.finished, journal.header) == (False, HEADER)
    with opened_journal(path) as journal:
        journal.finish(final)
        assert journal.finished
    assert [file.name for file in tmp_path.iterdir()] == ["j.kda"]
    with read_journal(final) as journal:
        assert journal.finished
        assert journal.whole
        assert all(same(a, b) for a, b in zip(journal.replay(), bands, strict=True))


def test_an_end_before_the_last_row_is_no_end(tmp_path: Path) -> None:
    written(tmp_path / ".j", [8])
    with opened_journal(tmp_path / ".j") as journal:
        journal.finish(tmp_path / "j.kda")
    with read_journal(tmp_path / "j.kda") as journal:
        assert not journal.finished


def test_a_record_without_rows_is_not_left_behind(tmp_path: Path) -> None:
    with opened_journal(tmp_path / "j") as journal:
        journal.begin(HEADER)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_leave_a_gap_are_not_believed(tmp_path: Path) -> None:
    """Whole frames, each in its place, that no run of ours has written so."""
    first, second = tmp_path / "a", tmp_path / "b"
    written(first, [8, 4])
    with first.open("rb", buffering=0) as source, second.open("x+b", buffering=0) as target:
        header, _, later_rows = FramedFile(first, source).frames()
        spoiled = FramedFile(second, target)
        spoiled.append(header)
        spoiled.append(later_rows)
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(second).__enter__()


def test_what_differs_is_said_and_what_changes_no_row_may_differ(tmp_path: Path) -> None:
    written(tmp_path / "j", [8])
    with read_journal(tmp_path / "j") as journal:
        require_same(journal, dataclasses.replace(HEADER, notes=("another note",)))
        key = {"scene": "cd" * 32, "--bands": [1, 2, 3], "new": 1}
        with pytest.raises(JournalError) as caught:
            require_same(journal, dataclasses.replace(HEADER, key=key))
    said = "(scene was abababababab and is cdcdcdcdcdcd, new was null and is 1, --overlap was 8 and is null)"
    assert said in str(caught.value)


def test_a_full_disk_is_told_before_the_rows_are_lost(tmp_path: Path) -> None:
    free = iter([1e9, 1e9, 10.0])
    with opened_journal(tmp_path / "j", free_bytes=lambda folder: next(free)) as journal:
        journal.begin(HEADER)
        journal.append(some_rows(8, 4, 0))
        with pytest.raises(OutputError, match="free some space"):
            journal.append(some_rows(12, 4, 1))
        assert journal.rows_px == 4
    with read_journal(tmp_path / "j") as journal:
        assert journal.rows_px == 4
