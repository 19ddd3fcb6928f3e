"""Cells run once, go on where they stopped, share what they share, and refuse other settings."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kda_edge.benchmarks.paper.experiments import (
    Cell,
    Step,
    facts_of,
    require_same_settings,
    result_of,
    run_cell,
    steps_left,
)
from kda_edge.errors import TrainingError, UsageError


@dataclass
class FakeTrain:
    """Notes the commands that it is given; `evaluate` writes its result; one command may fail."""

    fails_at: str = ""
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, arguments: Sequence[str]) -> int:
        self.commands.append(tuple(arguments))
        if arguments[0] == self.fails_at:
            return 3
        if arguments[0] == "evaluate":
            Path(arguments[arguments.index("--json") + 1]).write_text('{"iou": 0.5}')
        return 0

    @property
    def words(self) -> list[str]:
        return [arguments[0] for arguments in self.commands]


def cell(out: Path, head: str = "dcf", epochs: int = 5, device: str = "cpu") -> Cell:
    backbone = Step(out / "distill", ("distill", "--epochs", str(epochs)), machine=("--device", device))
    network = Step(out / head, ("segment", "--variant", head))
    result = out / head / "test" / "metrics.json"
    judged = Step(result.parent, ("evaluate", "--json", str(result)), resumable=False)
    return Cell(head, (backbone, network, judged), result, {})


def test_steps_run_in_order_and_what_is_done_never_runs_again(tmp_path: Path) -> None:
    run = FakeTrain()
    assert run_cell(cell(tmp_path), run) == {"iou": 0.5}
    assert run.commands[0] == ("distill", "--epochs", "5", "--device", "cpu", "--resume")
    assert run.commands[1] == ("segment", "--variant", "dcf", "--resume")
    assert run.commands[2][0] == "evaluate"
    assert "--resume" not in run.commands[2]
    assert run_cell(cell(tmp_path), run) == {"iou": 0.5}
    assert len(run.commands) == 3


def test_cells_that_share_a_step_run_it_once(tmp_path: Path) -> None:
    run = FakeTrain()
    run_cell(cell(tmp_path, "dcf"), run)
    run_cell(cell(tmp_path, "unet"), run)
    assert run.words == ["distill", "segment", "evaluate", "segment", "evaluate"]


def test_a_step_that_failed_is_named_and_the_next_start_goes_on_with_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="dcf: kda-train segment ended with 3; start the same command again"):
        run_cell(cell(tmp_path), FakeTrain(fails_at="segment"))
    assert result_of(cell(tmp_path)) is None
    assert [step.arguments[0] for step in steps_left(cell(tmp_path))] == ["segment", "evaluate"]
    run = FakeTrain()
    run_cell(cell(tmp_path), run)
    assert run.words == ["segment", "evaluate"]
    assert result_of(cell(tmp_path)) == {"iou": 0.5}


def test_other_settings_are_refused_before_anything_runs_and_named(tmp_path: Path) -> None:
    run_cell(cell(tmp_path), FakeTrain())
    run = FakeTrain()
    with pytest.raises(UsageError, match=r"distill was made with other settings \(--epochs differs\); choose another"):
        run_cell(cell(tmp_path, epochs=6), run)
    assert run.commands == []
    assert result_of(cell(tmp_path, epochs=6)) is None


def test_other_settings_are_refused_where_a_step_was_only_begun(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run_cell(cell(tmp_path), FakeTrain(fails_at="distill"))
    with pytest.raises(UsageError, match="--epochs differs"):
        require_same_settings(cell(tmp_path, epochs=6))
    require_same_settings(cell(tmp_path))


def test_what_was_made_from_a_deleted_step_is_not_taken_for_what_its_successor_gives(tmp_path: Path) -> None:
    """Who deletes phase 1 to run it with other settings must not be shown the old phase 2."""
    run_cell(cell(tmp_path), FakeTrain())
    for path in (tmp_path / "distill").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match=r"dcf was made with other settings \(--epochs differs\)"):
        run_cell(cell(tmp_path, epochs=6), FakeTrain())


def test_the_machine_may_change_between_starts_and_each_step_keeps_its_own(tmp_path: Path) -> None:
    with pytest.raises(TrainingError):
        run_cell(cell(tmp_path), FakeTrain(fails_at="evaluate"), {"gpu": "none"})
    run = FakeTrain()
    run_cell(cell(tmp_path, device="cuda"), run, {"gpu": "one"})
    assert run.words == ["evaluate"]
    assert [facts_of(step) for step in cell(tmp_path).steps] == [{"gpu": "none"}, {"gpu": "none"}, {"gpu": "one"}]


def test_marks_of_an_earlier_version_still_count(tmp_path: Path) -> None:
    """They held the arguments of their own step alone."""
    for step in cell(tmp_path).steps[:2]:
        step.folder.mkdir()
        (step.folder / "done.json").write_text(json.dumps(list(step.arguments)))
    run = FakeTrain()
    run_cell(cell(tmp_path), run)
    assert run.words == ["evaluate"]
    backbone, network, _ = cell(tmp_path).steps
    other = Step(network.folder, ("segment", "--variant", "other"))
    with pytest.raises(UsageError, match="--variant differs"):
        require_same_settings(Cell("", (backbone, other), tmp_path, {}))


def test_two_processes_never_work_in_one_folder(tmp_path: Path) -> None:
    folder = cell(tmp_path).steps[0].folder
    folder.mkdir()
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        run = FakeTrain()
        with pytest.raises(TrainingError, match=r"another process is at work in .*distill; wait until it ends"):
            run_cell(cell(tmp_path), run)
        assert run.commands == []
    run_cell(cell(tmp_path), run)


STARTER = """
import sys
from pathlib import Path
from kda_edge.benchmarks.paper.experiments import Cell, Step, run_cell

sys.executable = sys.argv[1]
run_cell(Cell("a", (Step(Path(sys.argv[2]), ("distill",)),), Path("none"), {}))
"""


def test_a_folder_stays_locked_while_its_command_outlives_the_one_who_started_it(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text(
        f'#!/bin/sh\necho $$ > "{tmp_path}/pid.part"\nmv "{tmp_path}/pid.part" "{tmp_path}/pid"\nexec sleep 60\n'
    )
    slow.chmod(0o755)
    folder = tmp_path / "distill"
    parent = subprocess.Popen([sys.executable, "-c", STARTER, str(slow), str(folder)])
    while not (tmp_path / "pid").exists():
        assert parent.poll() is None
        time.sleep(0.02)
    command = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    again = Cell("a", (Step(folder, ("distill",)),), tmp_path / "result.json", {})
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(TrainingError, match="another process is at work"):
        run_cell(again, FakeTrain())
    os.kill(command, signal.SIGKILL)
    for attempt in range(500):
        try:
            assert run_cell(again, FakeTrain()) == {}
            break
        except TrainingError:  # the kernel has not closed yet what the killed process held
            assert attempt < 499
            time.sleep(0.02)
