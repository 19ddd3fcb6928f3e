"""Inputs that once broke something do so no more; and a campaign finds what is wrong, whatever way it is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import fuzz
import numpy as np
import pytest
from mutations import CHANGES, damaged, damaged_json
from planted import planted

KEPT = sorted(path for path in (Path(__file__).parent / "kept").iterdir() if path.suffix != ".md")

# What may come of a whole file; a model of the tests has no certificate of its graph, which is asked for elsewhere.
UNDAMAGED = {
    "rasters": {"mapped", "mapped with gaps"},
    "journals": {"resumed"},
    "shards": {"merged"},
    "models": {"used", "read", "refused"},  # manifests are damaged all the same
}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_an_input_that_was_found_once_is_refused_or_mapped_right(path: Path, tmp_path: Path) -> None:
    target = fuzz.target_of(path.name.partition("-")[0], tmp_path)
    target.check(path.suffix, path.read_bytes())


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_undamaged_inputs_pass(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mutations.CHANGES", (lambda rng, content: content,))
    target = fuzz.target_of(name, tmp_path)
    outcomes = {target.check(*fuzz.case(target, 1, number)) for number in range(16)}
    assert outcomes <= UNDAMAGED[name], "what is whole is refused, so that nothing is tried"


def test_a_case_is_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, again = (fuzz.target_of("models", tmp_path / name) for name in "ab")
    cases = [fuzz.case(first, 1, number) for number in range(50)]
    assert cases == [fuzz.case(again, 1, number) for number in range(50)]
    assert len({content for _, content in cases}) > 40


def test_every_kind_of_damage_changes_something() -> None:
    content = b"II*\0\x08\0\0\0\x02\0" + bytes(range(1, 25)) + bytes(range(200))
    for change in CHANGES:
        changed = {bytes(change(np.random.default_rng(seed), bytearray(content))) for seed in range(20)}
        assert len(changed - {content}) > 10, change


def test_damaged_json_is_mostly_json_of_another_content() -> None:
    texts = [damaged_json(np.random.default_rng(seed), '{"a": [1, 2, {"b": "c"}], "d": 0.5}') for seed in range(100)]
    assert len(set(texts)) > 60
    assert damaged(np.random.default_rng(0), b"") == b""


def test_a_traceback_a_crash_and_a_hang_are_found_and_their_inputs_kept(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers = [0, 6, 7, 8]  # one of each target
    assert [fuzz.name_of(number) for number in numbers] == list(fuzz.NAMES)
    assert fuzz.run(1, numbers, tmp_path / "out", make=planted, hang_s=15) == 1
    printed = capfd.readouterr()
    assert '"inputs": 4' in printed.out
    assert '"findings": 3' in printed.out
    for said in ("rasters:0: ZeroDivisionError", "journals:6: crash", "shards:7: hang"):
        assert said in printed.err
    assert len(list((tmp_path / "out").glob("*.bin"))) == 3


def test_a_campaign_without_findings_ends_well_and_in_time(tmp_path: Path) -> None:
    assert fuzz.run(1, [8, 9, 20, 21], tmp_path / "out", make=planted) == 0
    start_s = time.monotonic()
    assert fuzz.run(1, range(8, 10**9, 12), tmp_path / "out", make=planted, seconds=1) == 0
    assert time.monotonic() - start_s < 30
    assert not (tmp_path / "out").exists()
