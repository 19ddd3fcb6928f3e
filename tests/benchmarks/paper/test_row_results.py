"""What the tables show: rows that were run, by the name of what was run, and nothing that was not."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest
from paper_runs import METRICS, STAND_INS, FakeTrain, lines_of, rows_of

from kda_edge.benchmarks.paper import __main__ as paper
from kda_edge.benchmarks.paper.tables import TABLES

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


def test_rows_that_were_not_run_say_so(cas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["table2", "--data", str(cas), "--out", str(out), "--only", "unet"]
    assert paper.main(arguments, FakeTrain()) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["table"] == "table2"
    assert [row["seeds_run"] for row in last["rows"]] == [0, 1, 0, 0, 0, 0, 0]
    headings, *lines = lines_of(out, "table2")
    assert [line[0] for line in lines] == [row.label for row in TABLES["table2"].rows]
    for line in lines:
        row = next(row for row in TABLES["table2"].rows if row.label == line[0])
        cells = dict(zip(headings, line, strict=True))
        ours = {
            heading: cell
            for heading, cell in cells.items()
            if heading.split(",")[0] in ("IoU", "OA", "F1", "precision")
        }
        assert len(ours) == 7
        if line[0] == "UNet":
            assert ours["IoU, landslide"] == "50.00"
            assert ours["F1, mean of classes"] == "80.00"
            assert ours["precision, landslide"] == "undefined"
        else:
            assert set(ours.values()) == {"not run"}
        for heading, metric in (("IoU", "iou"), ("mIoU", "mean_iou"), ("F1", "f1"), ("precision", "precision")):
            assert cells[f"paper: {heading}"] == f"{row.percent[metric]:.2f}"
    not_run = [row for row in rows_of(out, "table2") if row["row"] != "UNet"]
    assert all(row["runs"][0]["status"] == "not run" and row["mean"] == {} for row in not_run)


def test_seeds_give_mean_and_spread(cas: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["table2", "--data", str(cas), "--out", str(out), "--only", "kda", "--seeds", "0", "1", "3"]
    run = FakeTrain()
    assert paper.main(arguments, run) == 0
    row = rows_of(out, "table2")[-1]
    values = [0.5, 0.6, 0.8]
    assert row["mean"]["iou"] == pytest.approx(statistics.fmean(values))
    assert row["stdev"]["iou"] == pytest.approx(statistics.stdev(values))
    assert [one["seed"] for one in row["runs"]] == [0, 1, 3]
    assert [one["groups"]["cas/b"]["iou"] for one in row["runs"]] == [0.2] * 3
    line = lines_of(out, "table2")[-1]
    assert line[1:3] == ["3 of 3", "63.33 ± 15.28"]
    assert [command[0] for command in run.commands] == ["distill", "segment", "evaluate"] * 3


def test_a_metric_that_is_undefined_with_one_seed_has_no_mean(cas: Path, tmp_path: Path) -> None:
    arguments = ["table2", "--data", str(cas), "--out", str(tmp_path / "out"), "--only", "fcn", "--seeds"]
    assert paper.main([*arguments, "0"], FakeTrain(metrics={**METRICS, "precision": 0.4})) == 0
    assert "precision" in rows_of(tmp_path / "out", "table2")[0]["mean"]
    assert paper.main([*arguments, "0", "1"], FakeTrain()) == 0
    assert "precision" not in rows_of(tmp_path / "out", "table2")[0]["mean"]


def test_a_stand_in_is_called_by_its_own_name_and_has_no_figure_of_the_paper_beside_it(
    cas: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for model in STAND_INS.values():
        (weights / f"{model}.pth").touch()
    stand_ins = [f"{name}={model}" for name, model in STAND_INS.items()]
    for table in TABLES:
        out = tmp_path / "out"
        run = FakeTrain()
        arguments = [table, "--data", str(cas), "--out", str(out), "--weights-dir", str(weights), "--variant", "nano"]
        assert paper.main([*arguments, "--teacher-of", *stand_ins], run) == 0
        for row in rows_of(out, table):
            if "teacher" in row:
                assert row["teacher"] in STAND_INS.values()
                assert row["teacher"] in row["row"]
                assert row["paper_percent"] is None
                assert "--teacher-weights" in row["runs"][0]["commands"][0]
        rows = [line[0] for line in lines_of(out, table)]
        named = re.compile(r"dinov2|(?<!test_)convnext-|convnext_(base|large|xlarge)", re.IGNORECASE)
        assert not any(named.search(row) for row in rows)
        assert not any(named.search(word) for command in run.commands for word in command)
