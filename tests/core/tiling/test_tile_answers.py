from __future__ import annotations

from typing import Any

import pytest

from kda_edge.errors import UsageError
from kda_edge.tiling.tile_answers import EngineFacts


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": ""}, "must have a name"),
        ({"graph_sha256": "12"}, "64 hexadecimal digits"),
        ({"graph_sha256": "AB" * 32}, "64 hexadecimal digits"),
        ({"max_batch": 0}, "1 or more tiles, or None, not 0"),
        ({"threads": -1}, "0 or more, or None, not -1"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_facts_that_cannot_be_are_refused_in_one_line(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        EngineFacts(**wrong)
    assert "\n" not in str(caught.value)


def test_a_misspelt_fact_is_no_fact() -> None:
    with pytest.raises(TypeError, match="max_batches"):
        EngineFacts(max_batches=4)


def test_an_engine_gets_as_many_tiles_a_call_as_bring_anything() -> None:
    assert [EngineFacts(max_batch=most).batch for most in (None, 1, 8)] == [1, 1, 8]
