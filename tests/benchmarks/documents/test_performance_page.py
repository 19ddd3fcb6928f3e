"""The page of figures says what was measured, and where nothing was, that nothing was."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from places import ROOT

from kda_edge.benchmarks.documents import marked_tables as marked
from kda_edge.benchmarks.documents import performance_page
from kda_edge.benchmarks.reporting.result import Estimate, Figure, Result, write_result

MODEL = {"variant": "nano", "precision": "fp32", "tile_px": 256, "graph_sha256": "ab" * 32}


def compare_result(ratio: float, high: float) -> Result:
    figures = [
        Figure(name, value, unit, of={"contestant": label})
        for label, wall in (("kda-infer", 10.0), ("engine-alone", 9.0))
        for name, value, unit in (
            ("wall.p50", wall, "s"),
            ("throughput", 3.0, "Mpx/s"),
            ("processor.p50", 20.0, "s"),
            ("memory.peak", 300.0, "MB"),
            ("tiles", 726, ""),
        )
    ]
    figures.append(Figure("ratio", ratio, "", of={"of": "kda-infer", "to": "engine-alone"}, low=1.0, high=high))
    settings = {"contestants": {"kda-infer": {"batch": 4}, "engine-alone": {"batch": 1, "open_s": 0.123456}}}
    return Result("compare", settings, figures, models=[MODEL], notes=["bar: x", "a note"])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def filled(kind: str, results: Path) -> str:
    text = f"before\n<!-- performance: {kind} some_name -->\nIoU 0.99\n<!-- end -->\nafter\n"
    table = partial(performance_page.table, results=results)
    made = marked.filled(text, "performance", table)
    assert made.startswith(f"before\n<!-- performance: {kind} some_name -->\n")
    assert made.endswith("<!-- end -->\nafter\n")
    assert "0.99" not in made
    assert marked.filled(made, "performance", table) == made
    return made


def test_what_was_not_measured_is_said_to_be_so(results: Path) -> None:
    assert "\nNot yet measured.\n" in filled("scene", results)


@pytest.mark.parametrize(("ratio", "verdict"), [(1.149, "held"), (1.2, "**missed**")])
def test_a_promise_stands_with_its_ratio_and_whether_it_was_kept(results: Path, ratio: float, verdict: str) -> None:
    write_result(compare_result(ratio, 1.3), results / "some_name.json")
    made = filled("bars", results)
    line = next(line for line in made.splitlines() if "engine-alone" in line)
    assert verdict in line
    assert f"{ratio:.3g} (1 .. 1.3)" in line
    assert "monai / kda-infer" in made
    assert "not in this run" in made  # and neither held nor missed
    assert "- a note" in made
    assert "bar: x" not in made


def test_contestants_stand_with_their_settings_and_the_machine(results: Path) -> None:
    write_result(compare_result(1.1, 1.3), results / "some_name.json")
    made = filled("compare", results)
    assert "| kda-infer " in made
    assert "- engine-alone: batch 1; open_s 0.123" in made
    assert "nano fp32, tile 256 px, graph abababababab" in made
    assert "cores of" in made


def test_a_machine_that_was_not_steady_is_named(results: Path) -> None:
    result = Result("soak", {}, [Figure("drift", 0.1, "", low=0.05, high=0.2)], models=[MODEL], steady=False)
    write_result(result, results / "some_name.json")
    made = filled("figures", results)
    assert "**not steady**" in made
    assert "0.1 (0.05 .. 0.2)" in made


def test_estimates_stand_alone_with_their_method(results: Path) -> None:
    estimate = Estimate("latency.lower_bound", 0.5, "ms", "published peaks", {"device": "orin"})
    figures = [Figure("peak.gflops", 7.0, "GFLOP/s")]
    write_result(Result("roofline", {}, figures, models=[MODEL], estimates=[estimate]), results / "some_name.json")
    assert "published peaks" in filled("estimates", results)
    assert "published peaks" not in filled("figures", results)
    assert "peak.gflops" not in filled("estimates", results)


def test_accuracy_stands_beside_cost_and_what_did_not_run_is_named(results: Path) -> None:
    rows = [
        {"method": "kd", "network": "nano", "seed": seed, "iou": {"ny": 0.25 + seed / 10}, "mean_iou_of_groups": 0.3}
        for seed in (0, 1)
    ]
    cells = {"rows": rows, "not_run": [{"method": "none", "network": "unet-small", "seed": 0}]}
    (results / "nano_distillation.json").write_text(json.dumps(cells))
    values = (("parameters", 3.31, "M"), ("gflops", 1.28, "GFLOP"), ("latency.p50", 50.4, "ms"))
    figures = [Figure(name, value, unit, of={"network": "nano"}) for name, value, unit in values]
    write_result(Result("peer_costs", {"tile_px": 256}, figures), results / "some_name.json")
    made = filled("accuracy", results)
    nano, unet = (line for line in made.splitlines() if line.startswith(("| nano", "| unet")))
    assert [cell.strip() for cell in nano.split("|")[1:-1]] == ["nano", "kd", "3.31", "1.28", "50.4", "0.300", "0.300"]
    assert unet.count("not run") == 2


def test_each_marker_of_the_pages_is_filled_from_a_known_kind_and_says_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert performance_page.main(["--check"]) == 0
    assert "<!-- performance: " in (ROOT / "docs/performance.md").read_text()
