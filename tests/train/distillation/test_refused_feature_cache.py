"""Feature caches that are refused, each in a line: of something else, damaged, too large, or for other maps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from cached_features import ROW_BYTES, SLOTS, digests_of, holds, maps_of, open_cache

from kda_edge.errors import TrainingError
from kda_edge.train.distillation.feature_cache import FEATURES, HEADER, PLACE, SEALS, kept_teacher


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"teacher": "b"}, "was made for teacher 'a' and not 'b'"),
        ({"shapes": [(3, 4, 5), (2, 2, 1)]}, "was made for shapes"),
        ({"shapes": [(3, 4, 5)]}, "was made for shapes"),
        ({"slots": 7}, "was made for slots 6 and not 7"),
    ],
)
def test_a_cache_of_something_else_is_refused_and_kept(tmp_path: Path, other: dict[str, Any], reason: str) -> None:
    open_cache(tmp_path).put([0], digests_of([0]), maps_of([0]))
    with pytest.raises(TrainingError, match=reason) as caught:
        open_cache(tmp_path, **other)
    assert f"choose another folder for the cache, or delete {tmp_path / PLACE}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert holds(open_cache(tmp_path).get([0], digests_of([0])), [0])


def _shorter(place: Path) -> None:
    os.truncate(place / FEATURES, SLOTS * ROW_BYTES - 1)


def _no_seals(place: Path) -> None:
    (place / SEALS).unlink()


def _no_header(place: Path) -> None:
    (place / HEADER).unlink()


def _torn_header(place: Path) -> None:
    (place / HEADER).write_text('{"format": 1, "tea')


def _a_list(place: Path) -> None:
    (place / HEADER).write_text("[]")


def _later(place: Path) -> None:
    header = json.loads((place / HEADER).read_text())
    (place / HEADER).write_text(json.dumps({**header, "format": 2}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_shorter, r"damaged \(features\.f16 has 743 bytes instead of 744\)"),
        (_no_seals, "damaged"),
        (_no_header, "damaged"),
        (_torn_header, "damaged"),
        (_a_list, "another version"),
        (_later, "another version"),
    ],
)
def test_a_damaged_cache_is_refused_at_the_door(tmp_path: Path, spoil: Any, reason: str) -> None:
    open_cache(tmp_path)
    spoil(tmp_path / PLACE)
    with pytest.raises(TrainingError, match=reason) as caught:
        open_cache(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_disk_that_is_too_small_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"needs 2147483664\.0 GB and .* has [0-9.]+ GB free") as caught:
        open_cache(tmp_path, shapes=[(1024, 1024, 1024)], slots=1_000_000_000)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_later_is_one_clear_line(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    (tmp_path / PLACE / FEATURES).unlink()
    with pytest.raises(TrainingError, match=r"can't be written \(No such file"):
        cache.put([0], digests_of([0]), maps_of([0]))
    assert cache.get([0], digests_of([0])) is None


@pytest.mark.parametrize("value", [65505.0, -70000.0, float("inf"), float("nan")])
def test_features_beyond_float16_are_refused_and_nothing_is_kept(tmp_path: Path, value: float) -> None:
    cache = open_cache(tmp_path)
    maps = maps_of([0, 1])
    maps[0][1, 2, 3, 4] = value
    with pytest.raises(TrainingError, match="holds up to 65504; train without it"):
        cache.put([0, 1], digests_of([0, 1]), maps)
    assert cache.get([0], digests_of([0])) is None
    assert cache.get([1], digests_of([1])) is None


def test_maps_of_another_shape_are_refused(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    with pytest.raises(TrainingError, match="the side of the crops must be the same throughout"):
        cache.put([0], digests_of([0]), [torch.zeros(1, 3, 5, 4), torch.zeros(1, 2, 1, 1)])


def test_the_teacher_of_a_cache_is_known_before_it_is_opened(tmp_path: Path) -> None:
    assert kept_teacher(tmp_path) is None
    open_cache(tmp_path, teacher="abc 64 px 32-true")
    assert kept_teacher(tmp_path) == "abc 64 px 32-true"
    for spoil in (_torn_header, _a_list, _no_header):
        spoil(tmp_path / PLACE)
        assert kept_teacher(tmp_path) is None
