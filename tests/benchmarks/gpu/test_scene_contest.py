"""Everybody maps in turns; who can't run on the card is named, and the others are measured all the same."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from fake_time import FakeClock
from gpu_reports import PROCESSOR, findings, task_in

from kda_edge.benchmarks.contest.contestant_process import MeasuredLap
from kda_edge.benchmarks.contestants.task import Lap, MappingTask
from kda_edge.benchmarks.gpu import scene_contest
from kda_edge.benchmarks.gpu.parts import NotPossibleHere
from kda_edge.benchmarks.gpu.scene_contest import Entry, entries, mapping_task, run, scene_of
from kda_edge.errors import EngineError, ProviderFellBack


class FakeContestant:
    """Maps nothing, takes as long as it is told."""

    def __init__(self, name: str, seconds: float, order: list[str]) -> None:
        self.name, self.seconds, self.order = name, seconds, order
        self.settings = {"engine": name}

    def run(self, scene_path: Path, out_dir: Path) -> MeasuredLap:
        self.order.append(self.name)
        return MeasuredLap(Lap(self.seconds, 9, None), 0.5, 100.0)

    def __enter__(self) -> FakeContestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.order.append(f"end {self.name}")


def test_on_a_card_ours_come_first_and_peers_run_there_in_both_precisions(tmp_path: Path) -> None:
    labels = [entry.label for entry in entries(task_in(tmp_path))]
    assert labels[:2] == ["kda-infer cuda fp16", "kda-infer cuda fp32"]
    assert labels[-6:-2] == [f"{peer} {p}" for p in ("fp16", "fp32") for peer in ("torch-eager", "monai")]
    assert labels[-2:] == ["torch-compile fp16", "torch-compile fp32"]  # what takes longest to open
    told = mapping_task(Entry("torch-compile", "fp16"), task_in(tmp_path))
    assert (told.device, told.precision, told.batch) == ("cuda", "fp16", 16)
    assert told.checkpoint is not None
    with pytest.raises(NotPossibleHere, match="no artifact"):
        mapping_task(Entry("kda-infer", "fp16", "cuda"), task_in(tmp_path))


def test_who_cannot_run_is_named_and_the_others_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    three = [Entry("kda-infer", "fp32", "cuda"), Entry("torch-eager", "fp32"), Entry("monai", "fp32")]
    monkeypatch.setattr(scene_contest, "entries", lambda _: three)

    def opened(name: str, task: MappingTask, log: Path) -> Any:
        if name == "kda-infer":
            raise ProviderFellBack("this ONNX Runtime has no CUDA")
        return FakeContestant(name, 2.0 if name == "monai" else 1.0, order)

    found = findings()
    run(task_in(tmp_path, scene=small_scene(tmp_path)), found, opened=opened)
    turns = ["torch-eager", "monai"]
    assert order == [*turns, *turns * 3, "end monai", "end torch-eager"]  # the first of each warms up
    assert found.notes == ["kda-infer cuda fp32: not possible here (this ONNX Runtime has no CUDA)"]
    pace = {figure.of["contestant"]: figure.value for figure in found.figures if figure.name == "throughput"}
    assert pace["torch-eager fp32"] == pytest.approx(2 * pace["monai fp32"])


def test_without_our_artifact_the_peers_map_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    two = [Entry("kda-infer", "fp16", "cuda"), Entry("torch-eager", "fp16")]
    monkeypatch.setattr(scene_contest, "entries", lambda _: two)
    found = findings()
    task = task_in(tmp_path, scene=small_scene(tmp_path))
    run(task, found, opened=lambda name, *_: FakeContestant(name, 1.0, order))  # type: ignore[arg-type,return-value]
    assert "torch-eager" in order
    assert found.notes == [
        "kda-infer cuda fp16: not possible here (kda-infer cuda fp16: there is no artifact; see the part models)"
    ]


def test_a_round_of_those_that_run_is_kept_free_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order, saved = FakeClock(), list[str](), list[int]()
    peers = [Entry("torch-eager", "fp16"), Entry("monai", "fp16"), Entry("torch-compile", "fp16")]
    monkeypatch.setattr(scene_contest, "entries", lambda _: peers)

    class Slow(FakeContestant):
        def run(self, scene_path: Path, out_dir: Path) -> MeasuredLap:
            clock.pass_ms(20_000)
            return super().run(scene_path, out_dir)

    found = findings(100.0, clock)
    found.save = lambda: saved.append(len(found.figures))
    task = task_in(tmp_path, scene=small_scene(tmp_path))
    run(task, found, opened=lambda name, *_: Slow(name, 20.0, order))  # type: ignore[arg-type,return-value]
    assert found.left_out == ["torch-compile fp16: no time was left"]  # 60 s are left: 30 to compile, 40 for a round
    assert found.remaining_s() >= 0
    assert saved[0] == 8  # after the first round, before the maps are held to each other


def test_where_nobody_can_map_the_part_is_not_possible(tmp_path: Path) -> None:
    def opened(name: str, task: MappingTask, log: Path) -> Any:
        raise EngineError("CUDA out of memory")

    with pytest.raises(NotPossibleHere, match="memory of the card does not suffice"):
        run(task_in(tmp_path, card=PROCESSOR, rehearsal=True, scene=small_scene(tmp_path)), findings(), opened=opened)


def test_rounds_end_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = FakeClock(), list[str]()
    monkeypatch.setattr(scene_contest, "entries", lambda _: [Entry("torch-eager", "fp32")])

    class Slow(FakeContestant):
        def run(self, scene_path: Path, out_dir: Path) -> MeasuredLap:
            clock.pass_ms(40_000)
            return super().run(scene_path, out_dir)

    found = findings(100.0, clock)
    scene = small_scene(tmp_path)
    run(task_in(tmp_path, scene=scene), found, opened=lambda name, *_: Slow(name, 40.0, order))  # type: ignore[arg-type,return-value]
    assert order.count("torch-eager") == 2  # one to warm up, one round
    assert found.notes == ["1 of 3 rounds, since no time was left"]


def test_a_scene_is_generated_once(tmp_path: Path) -> None:
    task = task_in(tmp_path, card=PROCESSOR, rehearsal=True)
    first = scene_of(task)
    stamp = first.stat().st_mtime_ns
    assert scene_of(task) == first
    assert first.stat().st_mtime_ns == stamp


def small_scene(folder: Path) -> Path:
    return scene_of(task_in(folder, card=PROCESSOR, rehearsal=True))


@pytest.mark.parametrize(("moved", "fails"), [(0, False), (9, True)])
def test_a_map_of_another_network_fails_the_part(moved: int, fails: bool, tmp_path: Path) -> None:
    maps = {}
    for label, off in (("kda-infer cuda fp32", 0), ("monai fp32", moved)):
        maps[label] = tmp_path / f"{label}.tif"
        layers = np.zeros((2, 600, 600), np.uint8)
        layers[1] = 50 + off
        size = {"height": 600, "width": 600, "count": 2, "dtype": "uint8"}
        with rasterio.open(maps[label], "w", driver="GTiff", transform=Affine.scale(0.5), **size) as out:
            out.write(layers)
    found = findings()
    scene_contest._judge_maps(maps, 256, found)
    assert bool(found.failures) is fails
    assert {figure.name for figure in found.figures} == {"agreement.alone_max_steps", "agreement.same_class"}
