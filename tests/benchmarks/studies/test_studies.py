"""Benchmarks run, measure what they say, and the documents say what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import ROOT

from kda_edge.benchmarks.documents import training_tables as tables
from kda_edge.benchmarks.studies import folded_head


def test_folded_head_measures_both_orders_and_ends_with_a_line_of_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folded_head.json"
    assert folded_head.main(["--variant", "nano", "--tile-px", "64", "--rounds", "3", "--json", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == json.loads(out.read_text())
    row = result["rows"][0]
    assert row["plain_ms"] > 0
    assert row["folded_ms"] > 0
    assert row["max_abs_logit"] < 1e-4
    assert result["machine"]["torch"]


def test_the_documents_say_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert tables.main(["--check"]) == 0


def test_a_document_that_says_something_else_is_found_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {
        "metrics": {"a/x": {"iou": 0.5, "overall_accuracy": 0.9}, "a/y": {"overall_accuracy": 1.0}, "a": {"iou": 0.25}},
        "images": {"a/x": 2, "a/y": 3, "a": 0},
        "pixels": {"a/x": 1_500_000, "a/y": 10_000, "a": 1_510_000},
    }
    monkeypatch.chdir(tmp_path)
    Path("benchmarks/results").mkdir(parents=True)
    Path("benchmarks/results/student_nano.json").write_text(json.dumps(result))
    for name in tables.DOCUMENTS:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("before\n<!-- table: student_nano -->\nIoU 0.99\n<!-- end -->\nafter\n")
    assert tables.main(["--check"]) == 1
    assert "README.md differs from" in capsys.readouterr().out
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    text = Path("README.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| a/x | 2 | 1.50 | 0.500 | - | - | - | - | 0.900 |" in text
    assert "| a | 5 | 1.51 | 0.250 |" in text  # the images of its groups together
    assert "0.99" not in text
