"""The table of small cells keeps what it holds: a cell that was measured elsewhere is not run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kda_edge.benchmarks.documents.training_tables import distillation_table
from kda_edge.benchmarks.studies.nano_distillation import CELLS, PHASE_1, PHASE_2, main


def a_table(path: Path, **changes: object) -> Path:
    groups = {"bijie/ny": 0.3, "bijie/qxg": 0.4, "l4s/validation": 0.5}
    rows = [
        {
            "method": method,
            "network": network,
            "seed": seed,
            "machine": {"cores": "2"},
            "iou": groups,
            "iou_at_best_threshold": groups,
            "mean_iou_of_groups": 0.4,
            "mean_iou_of_groups_at_best_threshold": 0.4 + count / 100,
        }
        for count, (method, network, seed) in enumerate(CELLS)
    ]
    content = {"phase_1": PHASE_1, "phase_2": PHASE_2, "not_run": [], "rows": rows}
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def run(table: Path, tmp_path: Path) -> int:
    nowhere = str(tmp_path / "nowhere")  # a cell that ran would fail there
    return main(["--data-root", nowhere, "--teacher-weights", nowhere, "--out", nowhere, "--json", str(table)])


def test_cells_that_the_table_holds_are_kept_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = a_table(tmp_path / "table.json")
    before = json.loads(table.read_text())
    assert run(table, tmp_path) == 0
    assert json.loads(table.read_text()) == before
    assert not (tmp_path / "nowhere").exists()
    out = capsys.readouterr().out
    assert out == f"{distillation_table(before)}\n-> {table}\n"
    assert [line.split(" | ")[2] for line in out.splitlines()[2:-1]] == ["0, 1, 2"] * 3 + ["0"] * 5


def test_a_table_of_other_settings_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = a_table(tmp_path / "table.json", phase_2=["--epochs", "1"])
    before = table.read_text()
    assert run(table, tmp_path) == 2
    assert "other settings" in capsys.readouterr().err
    assert table.read_text() == before
