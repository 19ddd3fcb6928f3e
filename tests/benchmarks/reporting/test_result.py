"""Every result keeps to the published schema, comes back as it went, and is never half-written."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

from kda_edge.benchmarks.measuring.percentiles import Interval
from kda_edge.benchmarks.reporting.measured_on import engine_parity, machine, model_facts, versions
from kda_edge.benchmarks.reporting.result import (
    Estimate,
    Figure,
    Result,
    read_result,
    result_from_json,
    schema,
    write_result,
)
from kda_edge.benchmarks.reporting.text_tables import interval_text, number_text, require_json_path, table_of
from kda_edge.errors import OutputError, UsageError
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.tiling.tile_answers import EngineFacts

COMMITTED = [  # those that are no study's own form
    path
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    if "schema_version" in json.loads(path.read_text(encoding="utf-8"))
]


def example(**fields: Any) -> Result:
    figure = Figure("latency.p50", 12.5, "ms", "lower", {"engine": "cpu", "batch": 1}, 12.0, 13.0, 0.01)
    estimate = Estimate("latency.lower_bound", 0.2, "ms", "roofline", {"device": "rtx3090"})
    defaults: dict[str, Any] = {
        "benchmark": "latency",
        "settings": {"batches": [1], "engine_used": "cpu"},
        "figures": [figure],
        "models": [model_facts(read_artifact())],
        "estimates": [estimate],
        "series": {"latency_ms batch 1": [12.5, 12.6]},
        "notes": ["a note"],
    }
    return Result(**(defaults | fields))


def complaints(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema())
    return [error.message for error in validator.iter_errors(json.loads(text))]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_a_result_keeps_to_the_schema() -> None:
    assert complaints(example().to_json()) == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_result_keeps_to_the_schema(path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"benchmark": "Latency of"},
        {"benchmark": "_costs"},
        {"created": "yesterday"},
        {"machine": {"processor": "x"}},
        {"models": [{"file": "a.onnx"}]},
        {"figures": [Figure("Latency", 1.0, "ms")]},
        {"figures": [Figure("latency", 1.0, "ms", "smaller")]},  # type: ignore[arg-type]
        {"figures": [Figure("latency", 1.0, "ms", noise=-0.1)]},
        {"estimates": [Estimate("latency", 1.0, "ms", "")]},
        {"schema_version": 2},
    ],
    ids=lambda value: next(iter(value)),
)
def test_what_breaks_the_schema_is_found(broken: dict[str, Any]) -> None:
    assert complaints(example(**broken).to_json())


def test_a_models_file_is_a_name_and_no_path_of_this_machine() -> None:
    facts = model_facts(read_artifact())
    assert facts["file"] == "student_lite0.onnx"
    assert facts["verified"] is True
    assert facts["certificate"]["graph_sha256"] == facts["graph_sha256"]
    assert complaints(example(models=[facts | {"file": "a/b.onnx"}]).to_json())


def test_conditions_have_what_was_measured_of_a_gpus_answers_and_nothing_where_nobody_did() -> None:
    measured = {"engine": "tensorrt", "tiles": [{"max_abs": 0.01}]}
    assert engine_parity(EngineFacts("tensorrt", measured=json.dumps(measured))) == {"engine_parity": measured}
    assert engine_parity(EngineFacts("cpu")) == {}
    assert not complaints(example(conditions={"engine_parity": measured}).to_json())


def test_of_several_installed_versions_the_one_that_is_imported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime-gpu from another folder hides the module of an installed onnxruntime, and not its metadata."""
    for name, version in (("onnxruntime", "0.0.1"), ("onnxruntime_gpu", "1.99.0"), ("monai", "0.0.2")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    told = versions()
    assert told.get("onnxruntime", onnxruntime.__version__) == onnxruntime.__version__
    assert told["onnxruntime-gpu"] == "1.99.0"
    assert told["monai"] == "0.0.2"  # the first on the path


def test_facts_name_the_packages_at_work_and_nothing_of_the_machine_itself() -> None:
    import platform

    import numpy as np

    assert versions()["numpy"] == np.__version__
    assert {"kda-edge", "onnxruntime", "python"} <= set(versions())
    facts = machine()
    assert {"processor", "cores", "system", "python", "gpu"} <= set(facts)
    assert platform.node() not in " ".join(facts.values()) or len(platform.node()) < 4


@given(
    st.floats(-1e9, 1e9),
    st.none() | st.floats(-1e9, 1e9),
    st.sampled_from(["lower", "higher", "neither"]),
    st.booleans(),
)
def test_a_result_comes_back_as_it_went(value: float, low: float | None, better: Any, steady: bool) -> None:
    figure = Figure("a.b", value, "ms", better, {"batch": 2, "engine": "cpu"}, low, None, 0.5)
    result = Result("latency", {"a": [1, 2]}, [figure], machine={}, versions={}, steady=steady)
    again = result_from_json(result.to_json(), where="here")
    assert again.to_json() == result.to_json()
    assert again.figures[0] == figure


def test_two_figures_of_the_same_thing_are_refused() -> None:
    figure = Figure("a", 1.0, "ms", of={"batch": 1})
    with pytest.raises(ValueError, match="two figures are the same: a batch=1"):
        example(figures=[figure, dataclasses.replace(figure, value=2.0)])


def test_a_number_that_is_not_finite_never_reaches_the_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        example(figures=[Figure("a", math.nan, "ms")]).to_json()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 9}', "null"])
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"old\.json") as caught:
        read_result(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"old\.json can't be read"):
        read_result(path)


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    write_result(example(), path)
    assert complaints(path.read_text()) == []
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result(example(figures=[Figure("a", math.inf, "ms")]), path)
    assert complaints(path.read_text()) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["new.json"]
    with pytest.raises(OutputError, match="give another --json"):
        write_result(example(), tmp_path / "nowhere" / "new.json")


def test_json_is_never_written_over_something_else() -> None:
    for good in (None, "-", "new.json"):
        require_json_path(good)
    with pytest.raises(UsageError, match=r"ends in \.json, not student\.onnx"):
        require_json_path("student.onnx")


def test_a_table_is_markdown_with_columns_of_one_width() -> None:
    lines = table_of(("name", "ms"), [("a", "1"), ("long name", "12.5")]).splitlines()
    assert lines == ["| name      |   ms |", "|-----------|-----:|", "| a         |    1 |", "| long name | 12.5 |"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (12.3456, "12.35"), (123456.0, "123,500"), (0.00012, "0.00012"), (-5.0, "-5")]
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_bound_that_is_not_known_is_a_question_mark() -> None:
    assert interval_text(Interval(2.0, 1.0, None)) == "2 (1 .. ?)"
