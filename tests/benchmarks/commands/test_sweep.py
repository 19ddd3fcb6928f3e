"""A sweep recommends what nobody beats, and says what could not be measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import BUNDLED

from kda_edge.benchmarks import cli
from kda_edge.benchmarks.commands.pareto import Setting, recommended, unbeaten
from kda_edge.benchmarks.commands.sweep_runs import Export, exported, measured_settings
from kda_edge.benchmarks.reporting.result import Figure, Result, write_result

STUDENT = BUNDLED / "student_lite0.onnx"


def setting(ms: float, memory_mb: float | None = 100.0, iou: float | None = 0.5, name: str = "a") -> Setting:
    return Setting(name, "fp32", "cpu", 256, 1, ms, ms, ms, memory_mb, iou, True)


known = st.builds(setting, st.integers(1, 4).map(float), st.integers(1, 3).map(float), st.integers(1, 3).map(float))


@given(st.lists(known, min_size=1, max_size=8))
def test_a_setting_is_unbeaten_unless_another_is_as_good_in_all_and_better_in_one(settings: list[Setting]) -> None:
    def point(one: Setting) -> tuple[float, float, float]:
        assert one.memory_mb is not None
        assert one.iou is not None
        return one.ms_per_mpx, one.memory_mb, -one.iou

    points = [point(one) for one in settings]
    expected = [
        one
        for one, p in zip(settings, points, strict=True)
        if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)
    ]
    assert unbeaten(settings) == expected
    assert expected


def test_the_fastest_that_keeps_the_iou_is_recommended() -> None:
    wrong, good, slow = setting(1, iou=0.40, name="wrong"), setting(2, iou=0.498, name="good"), setting(3, iou=0.50)
    assert recommended([slow, wrong, good]).artifact == "good"
    assert recommended([slow, wrong, good], most_iou_loss_points=0.1) == slow
    assert recommended([slow, wrong, good], most_iou_loss_points=20).artifact == "wrong"


def test_of_equally_fast_settings_the_one_with_the_least_memory_is_recommended() -> None:
    assert recommended([setting(100, 500), setting(102, 200, name="small"), setting(110, 50)]).artifact == "small"


def test_an_iou_that_is_not_known_of_all_decides_nothing() -> None:
    fast, slow = setting(1, iou=None, name="fast"), setting(2, iou=0.9)
    assert recommended([slow, fast]).artifact == "fast"
    assert unbeaten([slow, fast]) == [fast]


def test_an_export_is_asked_of_kda_export_and_a_refusal_is_told_in_its_words(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def refuses(words: Sequence[str]) -> tuple[int, str]:
        asked.append(words)
        return 1, "kda-export: reading\nkda-export: INT8 loses 3.1 points; use FP16\n"

    export = Export(Path("student.pt"), "int8", 128, Path("scene.tif"), Path("labelled"), tmp_path)
    assert exported(export, refuses) == "INT8 loses 3.1 points; use FP16"
    (words,) = asked
    assert list(words[1:3]) == ["-m", "kda_edge.export"]
    assert {"--int8", "--tile", "128", "--calib", "scene.tif", "--eval", "labelled"} <= set(words)
    assert exported(export, lambda _: (0, "")) == tmp_path / "student_int8_128px.onnx"
    plain = Export(Path("student.pt"), "fp32", None, None, None, tmp_path).command()
    assert not {"--int8", "--fp32", "--tile", "--calib", "--eval"} & set(plain)


def test_a_setting_holds_what_kda_bench_latency_measured(tmp_path: Path) -> None:
    def latency(words: Sequence[str]) -> tuple[int, str]:
        assert words[words.index("--batch") + 1] == "1,2"
        figures = [
            Figure(name, value * batch, unit, of={"engine": "cpu", "batch": batch})
            for batch in (1, 2)
            for name, value, unit in (
                ("latency.p50", 36.864, "ms"),
                ("latency.p99", 50.0, "ms"),
                ("memory.host_peak", 90.0, "MB"),
            )
        ]
        write_result(Result("latency", {"engine_used": "cpu"}, figures), Path(words[words.index("--json") + 1]))
        return 0, ""

    options = argparse.Namespace(batches=(1, 2), min_calls=5, limit=1.0, allow_unverified=False)
    found = measured_settings(STUDENT, "auto", options, tmp_path, latency)
    assert isinstance(found, list)
    assert [(one.batch, one.engine, one.memory_mb) for one in found] == [(1, "cpu", 90.0), (2, "cpu", 180.0)]
    assert [one.ms_per_mpx for one in found] == pytest.approx([1000.0, 1000.0])  # 192 x 192 px of map a tile
    refused = measured_settings(STUDENT, "cuda", options, tmp_path, lambda _: (1, "kda-bench: there is no GPU\n"))
    assert refused == "there is no GPU"


def test_the_command_measures_for_real_recommends_and_names_what_it_could_not_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep.json"
    words = ["sweep", str(STUDENT), "--engines", "cpu,cuda", "--batches", "1", "--min-calls", "4", "--limit", "0.5"]
    assert cli.main([*words, "--json", str(out), "--plots", str(tmp_path / "plots")]) == 0
    said = capsys.readouterr().out
    assert "recommended on this device: student_lite0.onnx (fp32, tile 256 px) with cpu, 1 tile(s) a call" in said
    result = json.loads(out.read_text())
    assert result["settings"]["recommended"]["ms_per_mpx"] > 0
    assert (tmp_path / "plots/sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["sweep"], "give artifacts, or a checkpoint"),
        (["sweep", "a.onnx", "--ckpt", "a.pt"], "not both"),
        (["sweep", "--ckpt", "a.pt", "--precisions", "int8"], "--calib"),
    ],
)
def test_wrong_usage_is_told_in_a_line(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert why in capsys.readouterr().err
