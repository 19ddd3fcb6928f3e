"""The student's part: imagery is packed, times share what is left, what a run that was ended found still stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from gpu_reports import findings, task_in, values

from kda_edge.benchmarks.gpu.part_process import Ended
from kda_edge.benchmarks.gpu.parts import NotPossibleHere
from kda_edge.benchmarks.gpu_train.student import recipe, run

JUDGED = {
    "networks": ["tf_efficientnet_lite0+fpn"],
    "threshold": 0.22,
    "metrics": {"a/x": {"iou": 0.5}, "a/bare": {"overall_accuracy": 0.9}, "all": {"iou": 0.4}},
}


class FakeTraining:
    """Stands for the processes of kda-train: packs, trains, judges, or is ended in the middle."""

    def __init__(self, *, packs: bool = True, judges: bool = True, ends: Ended | None = None) -> None:
        self.packs, self.judges, self.ends = packs, judges, ends or Ended(0, False, "")
        self.commands: list[list[str]] = []

    def __call__(self, command: Sequence[str], log: Path, seconds: float) -> Ended:
        words = list(command)
        self.commands.append(words)
        out = Path(words[words.index("--out") + 1])
        if "pack" in words:
            if not self.packs:
                return Ended(1, False, "kda-train: no images")
            out.write_bytes(b"packed")
            return Ended(0, False, "")
        out.mkdir(parents=True, exist_ok=True)
        if self.judges:
            (out / "judged_student_x.json").write_text(json.dumps(JUDGED))
        if not self.ends.timed_out:
            watch = Path(words[words.index("--watch") + 1])
            watch.write_text(json.dumps({"code": self.ends.code, "error": "", "ends_s": [1.0, 2.0, 3.0]}))
        return self.ends


def test_without_imagery_it_is_not_possible_and_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleHere, match="--data"):
        run(task_in(tmp_path), findings())


def test_a_folder_is_packed_and_trained_from_and_its_figures_are_the_students(tmp_path: Path) -> None:
    training, told = FakeTraining(), findings()
    (tmp_path / "data" / "weights").mkdir(parents=True)
    run(task_in(tmp_path / "out", data=tmp_path / "data"), told, start=training)
    pack, train = training.commands
    assert pack[pack.index("--data") + 1] == str(tmp_path / "data")
    assert train[train.index("--set") + 1] == pack[pack.index("--out") + 1]
    assert train[train.index("--weights") + 1] == str(tmp_path / "data" / "weights")
    assert values(told) == {"threshold": 0.22, "iou.a/x": 0.5, "iou.all": 0.4, "steps": 3.0}
    assert told.failures == []
    assert told.left_out == []


def test_a_packed_set_is_taken_as_it_is(tmp_path: Path) -> None:
    for place in (tmp_path / "given.zip", tmp_path / "data" / "set.zip"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"packed")
        training = FakeTraining()
        given = place if place.name == "given.zip" else place.parent
        run(task_in(tmp_path / "out", data=given), findings(), start=training)
        (train,) = training.commands
        assert train[train.index("--set") + 1] == str(place)


def test_teachers_and_student_share_the_seconds(tmp_path: Path) -> None:
    words = recipe(task_in(tmp_path), tmp_path / "set.zip", 200.0)
    teacher_s, student_s = (float(words[words.index(option) + 1]) for option in ("--teacher-s", "--student-s"))
    assert teacher_s + student_s == 200.0
    assert student_s > teacher_s > 60


@pytest.mark.parametrize(
    ("training", "failures", "left_out"),
    [
        (FakeTraining(packs=False), ["the imagery can't be packed: kda-train: no images"], []),
        (FakeTraining(ends=Ended(-9, True, "")), [], ["the run was ended early: over its"]),
        (FakeTraining(judges=False, ends=Ended(-9, True, "")), ["the run was ended early: over its"], []),
    ],
    ids=["not packed", "ended after judging", "ended before it"],
)
def test_what_went_wrong_is_told_and_what_was_judged_stands(
    training: FakeTraining, failures: list[str], left_out: list[str], tmp_path: Path
) -> None:
    told = findings()
    run(task_in(tmp_path / "out", data=tmp_path), told, start=training)
    assert [line[: len(failures[0])] for line in told.failures] == failures
    assert [line[: len(left_out[0])] for line in told.left_out] == left_out
