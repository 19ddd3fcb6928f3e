"""Packed sets: what is read is what was written, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kda_edge.errors import DataError
from kda_edge.train.data.labels import IGNORED, shrunk_labels
from kda_edge.train.on_card.packed_set import LOSSLESS, Labelled, PackedImage, read_packed_set, write_packed_set


def made(number: int) -> Labelled:
    rng = np.random.default_rng(number)
    facts = PackedImage(f"n{number}", "source", "group", ("train", "val")[number % 2], 2.0, is_scene=number == 1)
    return Labelled(
        facts, rng.integers(0, 256, (40, 33, 3), np.uint8), rng.choice([0, 1, IGNORED], (40, 33)).astype("u1")
    )


def test_a_lossless_set_holds_the_pixels_and_any_set_the_labels(tmp_path: Path) -> None:
    images = [made(number) for number in range(3)]
    for quality in (LOSSLESS, 80):
        assert write_packed_set(tmp_path / "set.zip", images, quality=quality) == 3
        found = list(read_packed_set(tmp_path / "set.zip"))
        assert [one.facts for one in found] == [one.facts for one in images]
        for read, written in zip(found, images, strict=True):
            assert np.array_equal(read.labels, written.labels)
            assert np.array_equal(read.rgb, written.rgb) == (quality == LOSSLESS)


def test_a_cut_or_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    write_packed_set(path, [made(0)], quality=LOSSLESS)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a set"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"set\.zip is no packed set, or damaged"):
            list(read_packed_set(path))


def test_nothing_is_left_where_an_image_fails(tmp_path: Path) -> None:
    def failing() -> object:
        yield made(0)
        raise RuntimeError("unreadable")

    with pytest.raises(RuntimeError):
        write_packed_set(tmp_path / "set.zip", failing(), quality=80)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_shrunk_labels_follow_most_of_the_judged_pixels_of_a_block() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, IGNORED], (13, 10), p=[0.4, 0.3, 0.3]).astype(np.uint8)
    small = shrunk_labels(labels, 3)
    assert small.shape == (4, 3)
    for row in range(4):
        for col in range(3):
            block = labels[3 * row : 3 * row + 3, 3 * col : 3 * col + 3]
            judged = block[block != IGNORED]
            expected = IGNORED if 2 * judged.size < 9 else int(2 * (judged == 1).sum() >= max(judged.size, 1))
            assert small[row, col] == expected
