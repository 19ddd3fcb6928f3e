"""Contestants have processes of their own, take turns, and only what they count goes on the clock."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kda_edge.benchmarks.commands.compare import raced, require_one_engine
from kda_edge.benchmarks.contest.contestant_process import ContestProcess, MeasuredLap
from kda_edge.benchmarks.contest.promised_ratios import Bar, bars_of
from kda_edge.benchmarks.contest.worker import serve
from kda_edge.benchmarks.contestants.batch_choice import chosen_batch, fastest, tile_ms_by_batch
from kda_edge.benchmarks.contestants.task import Contestant, Lap, MappingTask, Settings
from kda_edge.benchmarks.measuring.percentiles import Interval
from kda_edge.errors import EngineError, UsageError
from kda_edge.runtime.engines.artifact import read_artifact

TASK = MappingTask(None, None, (3, 2, 1), overlap_px=64, threads=1, batch=1, engine="cpu")


class Sleepless:
    """A contestant that maps nothing and says what it was asked."""

    def __init__(self) -> None:
        self.settings: Settings = {"batch": 1}
        self.asked: list[tuple[Path, Path]] = []

    def run(self, scene_path: Path, out_dir: Path) -> Lap:
        self.asked.append((scene_path, out_dir))
        return Lap(1.5, 7, out_dir / "map.tif")


def test_a_task_survives_the_way_to_another_process() -> None:
    task = MappingTask(Path("a.onnx"), None, (3, 2, 1), 64, 2, None, "cpu", True)
    assert MappingTask.from_plain(json.loads(json.dumps(task.to_plain()))) == task
    with pytest.raises(UsageError):
        MappingTask(None, None, (1, 2, 3), 64, threads=0)


def test_a_worker_opens_once_and_answers_each_lap(tmp_path: Path) -> None:
    contestant, opened = Sleepless(), []

    def opener(name: str, task: MappingTask) -> Contestant:
        opened.append((name, task))
        return contestant

    lap = json.dumps({"scene": "s.tif", "out_dir": str(tmp_path)})
    answers = io.StringIO()
    assert serve([json.dumps({"contestant": "x", "task": TASK.to_plain()}), lap, lap], answers, opener) == 0
    first, *laps = map(json.loads, answers.getvalue().splitlines())
    assert opened == [("x", TASK)]
    assert first["settings"] == {"batch": 1}
    assert contestant.asked == [(Path("s.tif"), tmp_path)] * 2
    assert [lap["seconds"] for lap in laps] == [1.5, 1.5]
    assert laps[0]["map_path"] == str(tmp_path / "map.tif")
    assert laps[0]["peak_mb"] > 1


def test_a_real_worker_that_can_not_open_says_why_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^magic: there is no contestant 'magic'"):
        ContestProcess("magic", TASK, tmp_path / "log")


def test_a_worker_that_dies_is_an_error_with_its_last_line(tmp_path: Path) -> None:
    broken = MappingTask(None, None, (1, 2, 3), 64, 1)
    object.__setattr__(broken, "bands", 7)  # what the worker can't read ends it
    with pytest.raises(EngineError, match=r"^kda-infer ended without an answer \(AssertionError"):
        ContestProcess("kda-infer", broken, tmp_path / "log")


class Fake:
    """A contestant's process, without the process."""

    def __init__(self, name: str, seconds: list[float], order: list[str]) -> None:
        self._name, self._seconds, self._order = name, iter(seconds), order

    def run(self, scene_path: Path, out_dir: Path) -> MeasuredLap:
        self._order.append(f"{self._name} {scene_path} {out_dir.name}")
        return MeasuredLap(Lap(next(self._seconds), 1, None), 0.0, 0.0)


def test_contestants_take_turns_and_only_what_they_count_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []
    contest: dict[str, Any] = {"a": Fake("a", [2.0, 4.0, 6.0], order), "b": Fake("b", [1.0, 2.0, 2.0], order)}
    laps, rounds = raced(contest, Path("s.tif"), Path("out"), 3)
    assert order == ["a s.tif out0", "b s.tif out1"] * 3
    assert rounds.of("a").tolist() == pytest.approx([2000.0, 4000.0, 6000.0])
    assert rounds.of("b").tolist() == pytest.approx([1000.0, 2000.0, 2000.0])
    assert rounds.ratio("a", "b").value == pytest.approx(2.0)
    assert [len(mine) for mine in laps.values()] == [3, 3]
    assert "round 3 of 3" in capsys.readouterr().err


def test_the_batch_with_the_least_time_a_tile_is_taken_after_a_warm_up() -> None:
    now, calls = [0.0], list[int]()
    cost_s = {1: [9.0, 1.0, 1.2], 2: [0.0, 1.4, 1.5], 4: [0.0, 4.0, 4.0]}

    def answer(tiles: np.ndarray) -> None:
        calls.append(len(tiles))
        now[0] += cost_s[len(tiles)][calls.count(len(tiles)) - 1]

    times_ms = tile_ms_by_batch(answer, 8, clock=lambda: now[0])
    assert times_ms == pytest.approx({1: 1000.0, 2: 700.0, 4: 1000.0})
    assert fastest(times_ms) == 2
    assert fastest({4: 1.0, 1: 1.0}) == 1
    assert chosen_batch(answer, 8, 3) == (3, "as asked")


def test_a_bar_is_held_up_to_its_limit_and_not_beyond() -> None:
    over, times = Bar("a", "b", 1.15, True, ""), Bar("b", "a", 5.0, False, "")
    assert over.holds(Interval(1.15))
    assert not over.holds(Interval(1.151))
    assert times.holds(Interval(5.0))
    assert not times.holds(Interval(4.99))
    assert over.holds_within(Interval(1.1, 1.0, 1.2)) is False
    assert times.holds_within(Interval(6.0, 5.5, 9.0)) is True
    assert over.holds_within(Interval(1.1)) is None


@pytest.mark.parametrize("variant", ["nano", read_artifact().manifest.variant])
def test_small_students_have_their_bars_the_bundled_one_among_them(variant: str) -> None:
    assert [(bar.of, bar.to, bar.limit) for bar in bars_of(variant)] == [
        ("kda-infer", "engine-alone", 1.15),
        ("monai", "kda-infer", 5.0),
        ("ort-loop", "kda-infer", 1.0),
    ]


def test_a_student_without_a_limit_of_its_own_has_no_bar_over_the_engine() -> None:
    assert next(iter(bars_of("base"))).limit == 1.08
    assert [bar.of for bar in bars_of("tiny")] == ["monai", "ort-loop"]


def test_one_engine_alone_is_no_floor_under_another() -> None:
    require_one_engine({"kda-infer": {"engine": "cpu"}, "engine-alone": {"engine": "cpu"}, "monai": {"engine": "x"}})
    with pytest.raises(EngineError, match=r"cpu and openvino .* --engine"):
        require_one_engine({"kda-infer": {"engine": "cpu"}, "engine-alone": {"engine": "openvino"}})
