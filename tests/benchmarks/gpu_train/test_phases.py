"""Phases tell pace and memory; without recomputation memory may run out, with it they must fit 24 GB."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from gpu_reports import RTX_3090, findings, task_in, values

from kda_edge.benchmarks.gpu.part_process import Ended
from kda_edge.benchmarks.gpu_train import watched_runs
from kda_edge.benchmarks.gpu_train.phases import CAS_TILES, PHASES, hours_of_cas, measure_phase

SEEN: dict[str, Any] = {"code": 130, "error": "", "notes": [], "memory_limited": True}


@pytest.fixture(autouse=True)
def no_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    from kda_edge.benchmarks.measuring import generated_scene

    def write(root: Path, *, side_px: int, seed: int = 0) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        return root

    monkeypatch.setattr(generated_scene, "write_labelled_scene", write)
    assert watched_runs.SCENE_PX**2 < 2_000_000


class Start:
    """Starts nothing; writes what a watched run would have seen."""

    def __init__(self, seen: dict[str, Any] | None, ended: Ended | None = None) -> None:
        self.seen, self.ended, self.words = seen, ended or Ended(0, False, "a last word"), list[str]()

    def __call__(self, words: Sequence[str], log: Path, limit_s: float) -> Ended:
        self.words = list(words)
        if self.seen is not None:
            Path(words[words.index("--watch") + 1]).write_text(json.dumps(self.seen))
        return self.ended


def seen(**fields: Any) -> dict[str, Any]:
    return (
        SEEN | {"ends_s": [0.0, 9.0, 18.0, 27.0, 27.5, 28.0, 28.5], "allocated_gb": 21.5, "reserved_gb": 23.0} | fields
    )


def test_a_phase_is_the_papers_and_its_pace_is_that_of_steps_after_the_warm_up(tmp_path: Path) -> None:
    start, found = Start(seen()), findings()
    measure_phase(PHASES[0], True, task_in(tmp_path), found, start)
    told = values(found)
    assert told["throughput.images"] == pytest.approx(16 / 0.5)
    assert told["memory.fits_24gb"] == 1.0
    line = " ".join(start.words)
    assert "segment --skip-check --skip-report --variant base --crop-px 512 --batch 16" in line
    assert "--recompute" in line
    assert "--precision bf16" in line
    assert line.index("--memory-gb 24.0") < line.index(" -- ")
    assert f"draws = {CAS_TILES}" in (tmp_path / "training" / f"data_{CAS_TILES}.toml").read_text()
    measure_phase(PHASES[1], False, task_in(tmp_path), found, start)
    line = " ".join(start.words)
    assert "distill --variant base --crop-px 224 --batch 8" in line
    assert "--random-weights" in line
    assert "--recompute" not in line
    assert "--memory-gb" not in line


def test_memory_may_run_out_without_recomputation_and_not_with_it(tmp_path: Path) -> None:
    out_of_memory = seen(code=137, error="out of memory", ends_s=[])
    plain, within = findings(), findings()
    measure_phase(PHASES[0], False, task_in(tmp_path), plain, Start(out_of_memory))
    assert plain.left_out == ["phase2: the memory of the card does not suffice"]
    assert plain.failures == []
    measure_phase(PHASES[0], True, task_in(tmp_path), within, Start(out_of_memory))
    assert within.failures == ["phase2_recompute does not fit 24 GB"]
    assert values(within) == {"memory.fits_24gb": 0.0}


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (Start(None, Ended(-9, True, "")), "phase2: over its"),
        (Start(None, Ended(1, False, "kda-train: no")), "phase2: kda-train: no"),
        (Start(seen(code=1)), "phase2: a last word"),
        (Start(seen(ends_s=[1.0])), "phase2: no two steps"),
    ],
)
def test_a_run_that_shows_nothing_fails_with_its_own_words(start: Start, said: str, tmp_path: Path) -> None:
    found = findings()
    measure_phase(PHASES[0], False, task_in(tmp_path), found, start)
    assert found.failures[0].startswith(said)
    assert found.figures == []


def test_hours_on_another_card_are_estimates_by_published_peaks_and_say_so() -> None:
    here, *there = hours_of_cas(100.0, {"phase": "phase1"}, "NVIDIA H100 80GB HBM3")
    assert here.value == pytest.approx(200 * 20_865 / 100 / 3600)
    assert "as measured on NVIDIA H100 80GB HBM3" in here.method
    assert [e.of["device"] for e in there] == ["rtx3090", "rtx3090"]
    assert there[0].value / here.value == pytest.approx(3350 / 936)
    assert there[1].value / here.value == pytest.approx(989.4 / 71)
    assert all("not measured" in e.method for e in there)
    for card in (RTX_3090.name, "NVIDIA A40"):  # itself, and one of which nothing is published here
        assert len(hours_of_cas(100.0, {}, card)) == 1
