"""Rows of a map as values."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.errors import UsageError
from kda_edge.runtime.mapping.rows import Counts, Rows

NAMES = [spec.name for spec in dataclasses.fields(Counts)]
counts = st.builds(Counts, **{name: st.integers(0, 10**12) for name in NAMES})


@given(parts=st.lists(counts, max_size=5))
def test_counts_of_parts_add_up_field_by_field(parts: list[Counts]) -> None:
    whole = sum(parts, Counts())
    for name in NAMES:
        assert getattr(whole, name) == sum(getattr(part, name) for part in parts)


@pytest.mark.parametrize(("first", "end"), [(-1, 3), (4, 3), (0, -1)])
def test_rows_that_no_scene_has_are_refused(first: int, end: int) -> None:
    with pytest.raises(UsageError, match=rf"no scene has rows {first} to {end - 1}"):
        Rows(first, end)


def test_there_may_be_no_rows() -> None:
    assert Rows(7, 7).count == 0
    assert Rows(3, 7).count == 4
