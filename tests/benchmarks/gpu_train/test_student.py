"""The student's recipe: rates follow the batch, epochs the time that is left, metrics come from the run's own words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gpu_reports import findings, task_in, values
from places import ROOT

from kda_edge.benchmarks.gpu.parts import NotPossibleHere
from kda_edge.benchmarks.gpu_train.student import add_metrics, data_words, epochs_for, metrics_of, recipe, run
from kda_edge.benchmarks.gpu_train.watched_runs import machine_options

LOG = """{'train': 3000, 'val': 299}
epoch 1/40: loss 0.7604, not judged (best 0.000), 3 s
epoch 2/40: loss 0.5, val IoU 0.310 at threshold 0.42 (best 0.310), 4 s
epoch 3/40: loss 0.4321, val IoU 0.301 at threshold 0.44 (best 0.310), 4 s
"""


def test_without_imagery_it_is_not_possible_and_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(NotPossibleHere, match="--data"):
        run(task_in(tmp_path), findings())


def test_rates_grow_with_the_root_of_the_batch(tmp_path: Path) -> None:
    words = recipe(task_in(tmp_path))
    assert words[words.index("--batch") + 1] == "64"
    assert words[words.index("--backbone-rate") + 1] == "0.0008"  # the recipe's 4e-4, times the root of 4
    assert words[words.index("--decoder-rate") + 1] == "0.0016"
    assert words[words.index("--precision") + 1] == "bf16"
    assert machine_options(task_in(tmp_path))[:2] == ["--device", "cuda"]


def test_it_goes_on_from_the_bundled_student_where_that_is_at_hand(tmp_path: Path) -> None:
    words = recipe(task_in(tmp_path))
    assert words[words.index("--init") + 1].endswith("student_lite0.pt")
    taken = tmp_path / "models" / "bundled.pt"
    taken.parent.mkdir()
    taken.write_bytes(b"a checkpoint")
    assert str(taken) in recipe(task_in(tmp_path))


def test_the_recipes_own_imagery_is_recognised_by_its_folders(tmp_path: Path) -> None:
    task = task_in(tmp_path, data=tmp_path)
    assert data_words(task) == ["--data", str(tmp_path)]
    recipe_file = ROOT / "train" / "bundled_student.toml"
    roots = re.findall(r'^root = "(.+)"$', recipe_file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for name in roots:
        assert data_words(task) == ["--data", str(tmp_path)], f"{name} is not there yet"
        (tmp_path / name).mkdir()
    words = data_words(task)
    assert words[1].endswith("bundled_student.toml")
    assert words[2:] == ["--data-root", str(tmp_path)]


def test_epochs_fill_the_time_and_are_never_too_few() -> None:
    assert epochs_for(300.0, 50, 20.0) == 120
    assert epochs_for(1.0, 50, 20.0) == 5


def test_metrics_are_read_from_the_log_also_of_a_run_that_was_ended(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LOG)
    found = metrics_of(tmp_path / "log")
    assert found == [(1, 0.7604, None), (2, 0.5, 0.31), (3, 0.4321, 0.301)]
    told = findings()
    add_metrics(found, 40, told)
    assert values(told) == {"epochs": 3.0, "epochs.planned": 40.0, "iou.best": 0.31, "loss.last": 0.4321}
    assert metrics_of(tmp_path / "none") == []
