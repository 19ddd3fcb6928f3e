"""Shares of a scene: whole rows of blocks, each once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kda_edge.errors import UsageError
from kda_edge.runtime.runs.shards import Shard, shard_of


@settings(max_examples=200, deadline=None, derandomize=True)
@given(height_px=st.integers(1, 20_000), count=st.integers(1, 100))
def test_every_row_is_in_one_shard_and_the_shares_are_even(height_px: int, count: int) -> None:
    ranges = [Shard(number, count).rows(height_px) for number in range(1, count + 1)]
    assert [row for rows in ranges for row in range(rows.first, rows.end)] == list(range(height_px))
    assert all(rows.first % 256 == 0 or not rows.count for rows in ranges)
    blocks = [-(-rows.count // 256) for rows in ranges]
    assert max(blocks) - min(blocks) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "1", "a/b", "-1/3", "1/3/3", "", "¹/3", "1/2 "])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        shard_of(text)


def test_a_shard_is_written_as_it_is_read() -> None:
    assert shard_of("2/7") == Shard(2, 7)
    assert str(Shard(2, 7)) == "2/7"
    assert Shard(2, 7).suffix == "shard-2-of-7"
