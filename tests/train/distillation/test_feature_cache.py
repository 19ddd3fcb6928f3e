"""The feature cache gives back exactly what was put in, for exactly those pixels, or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kda_edge.errors import TrainingError
from kda_edge.train.distillation.feature_cache import FEATURES, HEADER, PLACE, SEALS, FeatureCache, pixels_digest

SHAPES = [(3, 4, 5), (2, 1, 1)]
SLOTS = 6
ROW_BYTES = 2 * (3 * 4 * 5 + 2)


def _open(folder: Path, **other: Any) -> FeatureCache:
    return FeatureCache(folder, **{"teacher": "a", "shapes": SHAPES, "slots": SLOTS, **other})


def _crop(seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 8, 8)).astype(np.float32))


def _maps(seeds: list[int]) -> list[Tensor]:
    """Features over 15 orders of magnitude: float16's own range and its subnormal numbers below."""
    rng = [np.random.default_rng(seed) for seed in seeds]
    values = [[r.normal(size=shape) * 10 ** r.uniform(-10, 4) for r in rng] for shape in SHAPES]
    return [torch.from_numpy(np.stack(each).astype(np.float32)).clamp(-65504, 65504) for each in values]


def _digests(seeds: list[int]) -> list[bytes]:
    return [pixels_digest(_crop(seed)) for seed in seeds]


def _same(found: list[Tensor] | None, seeds: list[int]) -> bool:
    """Whether what was found is what was put, but for float16: 11 bits, or steps of 2^-24 near 0."""
    if found is None:
        return False
    for got, put in zip(found, _maps(seeds), strict=True):
        assert got.dtype == torch.float32
        assert got.shape == put.shape
    pairs = [(got.double(), put.double()) for got, put in zip(found, _maps(seeds), strict=True)]
    return all(bool(((got - put).abs() <= put.abs() * 2**-11 + 2**-25).all()) for got, put in pairs)


BATCH = st.lists(st.tuples(st.integers(0, SLOTS - 1), st.integers(0, 3)), min_size=1, max_size=4)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "get", "reopen"]), BATCH), max_size=25)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_any_order_of_puts_and_gets_answers_as_a_dictionary_does(steps: list[tuple[str, list[Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = _open(Path(folder))
        reference: dict[int, int] = {}
        for step, batch in steps:
            slots, seeds = [slot for slot, _ in batch], [seed for _, seed in batch]
            if step == "put":
                cache.put(slots, _digests(seeds), _maps(seeds))
                reference.update(batch)
            elif step == "get":
                found = cache.get(slots, _digests(seeds))
                if all(reference.get(slot) == seed for slot, seed in batch):
                    assert _same(found, seeds)
                else:
                    assert found is None
            else:
                cache = _open(Path(folder))


def test_a_digest_is_of_all_pixels_and_of_nothing_else() -> None:
    crop = _crop(0)
    assert len(pixels_digest(crop)) == 16
    strided = crop.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not strided.is_contiguous()
    assert pixels_digest(strided) == pixels_digest(crop)
    for place in ((0, 0, 0), (2, 7, 7)):
        other = crop.clone()
        other[place] += 1e-6
        assert pixels_digest(other) != pixels_digest(crop)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_maps_of_any_type_are_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    cache = _open(tmp_path)
    maps = [torch.arange(2 * np.prod(shape)).reshape(2, *shape).to(dtype).requires_grad_() for shape in SHAPES]
    cache.put([4, 1], _digests([0, 1]), maps)
    found = cache.get([4, 1], _digests([0, 1]))
    assert found is not None
    for got, put in zip(found, maps, strict=True):
        assert torch.equal(got, put.detach().float())


def test_an_empty_cache_takes_hardly_any_disk(tmp_path: Path) -> None:
    """64 MB by name, sparse in truth."""
    _open(tmp_path, shapes=[(32, 100, 100)], slots=100)
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
    _open(tmp_path).put([0, 1], _digests([0, 1]), _maps([0, 1]))
    done = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    rows = np.fromfile(tmp_path / PLACE / FEATURES, "<f2").reshape(SLOTS, -1)
    assert (rows[1:3] == 1).all(), "the kill came before the features were written"
    cache = _open(tmp_path)
    assert _same(cache.get([0], _digests([0])), [0])
    assert cache.get([1], _digests([1])) is None, "the old seal vouches for new features"
    assert cache.get([1], [b"x" * 16]) is None
    assert cache.get([2], [b"y" * 16]) is None
    cache.put([1], _digests([1]), _maps([1]))
    assert _same(cache.get([0, 1], _digests([0, 1])), [0, 1])


@pytest.mark.parametrize("name", [FEATURES, SEALS])
def test_one_changed_byte_empties_its_slot_and_no_other(tmp_path: Path, name: str) -> None:
    _open(tmp_path).put([0, 1, 2], _digests([0, 1, 2]), _maps([0, 1, 2]))
    file = tmp_path / PLACE / name
    content = bytearray(file.read_bytes())
    content[len(content) // SLOTS + 5] ^= 1
    file.write_bytes(content)
    cache = _open(tmp_path)
    assert cache.get([1], _digests([1])) is None
    assert _same(cache.get([0, 2], _digests([0, 2])), [0, 2])


WRITES = """
import sys
from pathlib import Path
import torch
from kda_edge.train.distillation.feature_cache import FeatureCache

first = int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
cache = FeatureCache(Path(sys.argv[1]), teacher="a", shapes=[(2, 3, 3)], slots=200)
for slot in range(first, 200, 2):
    cache.put([slot], [bytes([slot]) * 16], [torch.full((1, 2, 3, 3), float(slot))])
"""


def test_two_processes_create_and_fill_one_cache_together(tmp_path: Path) -> None:
    start = [sys.executable, "-c", WRITES, str(tmp_path)]
    ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children: list[subprocess.Popen[str]] = [subprocess.Popen([*start, rank], **ends) for rank in "01"]  # type: ignore[call-overload]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    cache = _open(tmp_path, shapes=[(2, 3, 3)], slots=200)
    for slot in range(200):
        found = cache.get([slot], [bytes([slot]) * 16])
        assert found is not None
        assert (found[0] == slot).all()


def test_what_another_process_puts_is_seen_without_opening_again(tmp_path: Path) -> None:
    mine, other = _open(tmp_path), _open(tmp_path)
    assert mine.get([3], _digests([3])) is None
    other.put([3], _digests([3]), _maps([3]))
    assert _same(mine.get([3], _digests([3])), [3])


def test_many_may_create_it_at_once_and_one_does(tmp_path: Path) -> None:
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        gate = threading.Barrier(4)
        failures: list[Exception] = []

        def create(seed: int, folder: Path = folder, gate: threading.Barrier = gate, failures: Any = failures) -> None:
            try:
                gate.wait()
                _open(folder).put([seed], _digests([seed]), _maps([seed]))
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=create, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert _same(_open(folder).get([0, 1, 2, 3], _digests([0, 1, 2, 3])), [0, 1, 2, 3])
        assert [path.name for path in folder.iterdir()] == [PLACE], "a loser left its files behind"


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
    _open(tmp_path).put([0], _digests([0]), _maps([0]))
    with pytest.raises(TrainingError, match=reason) as caught:
        _open(tmp_path, **other)
    assert f"choose another folder for the cache, or delete {tmp_path / PLACE}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _same(_open(tmp_path).get([0], _digests([0])), [0])


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
    _open(tmp_path)
    spoil(tmp_path / PLACE)
    with pytest.raises(TrainingError, match=reason) as caught:
        _open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_disk_that_is_too_small_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"needs 2147483664\.0 GB and .* has [0-9.]+ GB free") as caught:
        _open(tmp_path, shapes=[(1024, 1024, 1024)], slots=1_000_000_000)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_later_is_one_clear_line(tmp_path: Path) -> None:
    cache = _open(tmp_path)
    (tmp_path / PLACE / FEATURES).unlink()
    with pytest.raises(TrainingError, match=r"can't be written \(No such file"):
        cache.put([0], _digests([0]), _maps([0]))
    assert cache.get([0], _digests([0])) is None


@pytest.mark.parametrize("value", [65505.0, -70000.0, float("inf"), float("nan")])
def test_features_beyond_float16_are_refused_and_nothing_is_kept(tmp_path: Path, value: float) -> None:
    cache = _open(tmp_path)
    maps = _maps([0, 1])
    maps[0][1, 2, 3, 4] = value
    with pytest.raises(TrainingError, match="holds up to 65504; train without it"):
        cache.put([0, 1], _digests([0, 1]), maps)
    assert cache.get([0], _digests([0])) is None
    assert cache.get([1], _digests([1])) is None


def test_maps_of_another_shape_are_refused(tmp_path: Path) -> None:
    cache = _open(tmp_path)
    with pytest.raises(TrainingError, match="the side of the crops must be the same throughout"):
        cache.put([0], _digests([0]), [torch.zeros(1, 3, 5, 4), torch.zeros(1, 2, 1, 1)])
