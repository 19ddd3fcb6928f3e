"""Benchmarks run, measure what they say, and the documents say what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from kda_edge.benchmarks.documents import training_tables as tables
from kda_edge.benchmarks.reporting.result import write_json
from kda_edge.benchmarks.studies import activation_memory, feature_cache, folded_head

FOLDED_HEAD = ["--variant", "nano", "--tile-px", "64", "--rounds", "3"]


def test_folded_head_measures_both_orders_and_ends_with_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert folded_head.main([*FOLDED_HEAD, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    row = result["rows"][0]
    assert row["plain_ms"] > 0
    assert row["folded_ms"] > 0
    assert row["max_abs_logit"] < 1e-4
    assert result["machine"]["torch"]


def test_recomputation_keeps_less_for_the_backward_pass(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--variant", "nano", "--crop-px", "64", "--batch", "2", "--json"]
    assert activation_memory.main(words) == 0
    kept, recomputed = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert (kept["recompute"], recomputed["recompute"]) == (False, True)
    assert 0 < recomputed["kept_gb"] < kept["kept_gb"]
    assert kept["with_weights_gb"] - kept["kept_gb"] == pytest.approx(16 * 3.308802e6 / 1e9, rel=0.01)


@pytest.mark.parametrize(
    ("main", "words", "table"),
    [
        (folded_head.main, FOLDED_HEAD, tables.folded_head_table),
        (activation_memory.main, ["--variant", "nano", "--crop-px", "64"], tables.activation_memory_table),
        pytest.param(
            feature_cache.main,
            ["--teacher", "test_vit", "--images", "8", "--crop-px", "64", "--epochs", "2"],
            tables.feature_cache_table,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_study_prints_the_table_of_the_documents_and_writes_the_file_that_it_is_made_of(
    main: Callable[[list[str]], int],
    words: list[str],
    table: Callable[[Mapping[str, Any]], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "study.json"
    assert main([*words, "--json", str(path)]) == 0
    assert capsys.readouterr().out == f"{table(json.loads(path.read_text()))}\n-> {path}\n"
    assert [place.name for place in tmp_path.iterdir()] == ["study.json"]


@pytest.mark.parametrize("name", ["activation_memory", "feature_cache", "folded_head", "precision_nano"])
def test_a_committed_file_is_as_a_study_writes_it(name: str, tmp_path: Path) -> None:
    committed = ROOT / "benchmarks" / "results" / f"{name}.json"
    write_json(json.loads(committed.read_text()), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == committed.read_bytes()


@pytest.mark.parametrize(
    ("main", "words", "said"),
    [
        (folded_head.main, [*FOLDED_HEAD, "--json", "student.onnx"], "folded_head: --json takes a file that ends in"),
        (activation_memory.main, ["--variant", "vast"], "activation_memory: there is no student 'vast'"),
        (feature_cache.main, ["--epochs", "1"], "feature_cache: --epochs 1: give 2 or more"),
    ],
)
def test_a_study_that_can_not_be_done_is_one_line_of_wrong_usage(
    main: Callable[[list[str]], int], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith(said)
    assert (out, err.count("\n")) == ("", 1)


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
