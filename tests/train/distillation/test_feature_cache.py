"""The feature cache gives back exactly what was put in, for exactly those pixels, or nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cached_features import SHAPES, SLOTS, crop, digests_of, holds, maps_of, open_cache
from hypothesis import given, settings
from hypothesis import strategies as st

from kda_edge.train.distillation.feature_cache import FEATURES, PLACE, SEALS, pixels_digest

BATCH = st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(0, 3)), min_size=1, max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "get", "reopen"]), BATCH), max_size=25)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_any_order_of_puts_and_gets_answers_as_a_dictionary_does(steps: list[tuple[str, list[Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = open_cache(Path(folder))
        reference: dict[int, int] = {}
        for step, batch in steps:
            slots, seeds = [slot for slot, _ in batch], [seed for _, seed in batch]
            if step == "put":
                cache.put(slots, digests_of(seeds), maps_of(seeds))
                reference.update(batch)
            elif step == "get":
                found = cache.get(slots, digests_of(seeds))
                if all(reference.get(slot) == seed for slot, seed in batch):
                    assert holds(found, seeds)
                else:
                    assert found is None
            else:
                cache = open_cache(Path(folder))


def test_a_digest_is_of_all_pixels_and_of_nothing_else() -> None:
    pixels = crop(0)
    assert len(pixels_digest(pixels)) == 16
    strided = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not strided.is_contiguous()
    assert pixels_digest(strided) == pixels_digest(pixels)
    for place in ((0, 0, 0), (2, 7, 7)):
        other = pixels.clone()
        other[place] += 1e-6
        assert pixels_digest(other) != pixels_digest(pixels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_maps_of_any_type_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    cache = open_cache(tmp_path)
    maps = [torch.arange(2 * np.prod(shape)).reshape(2, *shape).to(dtype).requires_grad_() for shape in SHAPES]
    cache.put([4, 1], digests_of([0, 1]), maps)
    found = cache.get([4, 1], digests_of([0, 1]))
    assert found is not None
    for got, put in zip(found, maps, strict=True):
        assert torch.equal(got, put.detach().float())


def test_an_empty_cache_takes_hardly_any_disk(tmp_path: Path) -> None:
    """64 MB by name, sparse in truth."""
    open_cache(tmp_path, shapes=[(32, 100, 100)], slots=100)
    file = tmp_path / PLACE / FEATURES
    assert file.stat().st_size == 2 * 32 * 100 * 100 * 100
    assert file.stat().st_blocks * 512 < 1e6


DIES = """
import os, signal, sys
from pathlib import Path
import numpy as np, torch
from kda_edge.train.distillation.feature_cache import SEALS, FeatureCache

class Dies(FeatureCache):
    def _write(self, name, slots, records):
        if name == SEALS:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._write(name, slots, records)

maps = [torch.ones(2, *shape) for shape in [(3, 4, 5), (2, 1, 1)]]
Dies(Path(sys.argv[1]), teacher="a", shapes=[(3, 4, 5), (2, 1, 1)], slots=6).put([1, 2], [b"x" * 16, b"y" * 16], maps)
"""


def test_a_slot_never_lies_after_a_kill_between_features_and_seal(tmp_path: Path) -> None:
    open_cache(tmp_path).put([0, 1], digests_of([0, 1]), maps_of([0, 1]))
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    rows = np.fromfile(tmp_path / PLACE / FEATURES, "<f2").reshape(SLOTS, -1)
    assert (rows[1:3] == 1).all(), "the kill came before the features were written"
    cache = open_cache(tmp_path)
    assert holds(cache.get([0], digests_of([0])), [0])
    assert cache.get([1], digests_of([1])) is None, "the old seal vouches for new features"
    assert cache.get([1], [b"x" * 16]) is None
    assert cache.get([2], [b"y" * 16]) is None
    cache.put([1], digests_of([1]), maps_of([1]))
    assert holds(cache.get([0, 1], digests_of([0, 1])), [0, 1])


@pytest.mark.parametrize("name", [FEATURES, SEALS])
def test_one_changed_byte_empties_its_slot_and_no_other(tmp_path: Path, name: str) -> None:
    open_cache(tmp_path).put([0, 1, 2], digests_of([0, 1, 2]), maps_of([0, 1, 2]))
    file = tmp_path / PLACE / name
    content = bytearray(file.read_bytes())
    content[len(content) // SLOTS + 5] ^= 1
    file.write_bytes(content)
    cache = open_cache(tmp_path)
    assert cache.get([1], digests_of([1])) is None
    assert holds(cache.get([0, 2], digests_of([0, 2])), [0, 2])
