"""A part's file keeps to its schema, comes back as it went, and never passes off a processor's figures as a card's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from gpu_reports import PROCESSOR, RTX_3090, part_file

from kda_edge.benchmarks.gpu.part_file import PartFile, path_of, read_part, schema, write_part
from kda_edge.benchmarks.gpu.parts import PARTS
from kda_edge.benchmarks.reporting.result import schema as result_schema
from kda_edge.errors import OutputError, UsageError


def test_a_file_keeps_to_the_schemas_and_comes_back_as_it_went(tmp_path: Path) -> None:
    content = part_file(left_out=("base, batch 64: no time was left",))
    write_part(tmp_path, content)
    plain = json.loads(path_of(tmp_path, "pytorch").read_text())
    jsonschema.validate(plain, schema())
    jsonschema.validate(plain["result"], result_schema())
    assert read_part(path_of(tmp_path, "pytorch")).to_json() == content.to_json()
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch.json"]


def test_the_schema_knows_the_parts_and_wants_a_reason_where_one_is_not_done() -> None:
    assert schema()["properties"]["part"]["enum"] == list(PARTS)
    plain = json.loads(part_file(status="failed", reason="x", result=None).to_json())
    jsonschema.validate(plain, schema())
    for wrong in ({"reason": ""}, {"reason": "two\nlines"}, {"status": "done"}, {"device": {"name": "x"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(plain | wrong, schema())
    with pytest.raises(ValueError, match="'done' because of 'x'"):
        part_file(reason="x")


@pytest.mark.parametrize(
    ("changed", "stands"),
    [
        ({}, True),
        ({"device": replace(RTX_3090, driver="590.1")}, False),
        ({"device": replace(RTX_3090, name="NVIDIA A40")}, False),
        ({"package_version": "0.0.9"}, False),
        ({"rehearsal": True}, False),
        ({"left_out": ("a case",)}, False),
        ({"status": "not_possible", "reason": "no torch"}, False),
        ({"status": "unfinished", "reason": "stopped"}, False),
    ],
)
def test_a_file_stands_for_a_run_on_the_same_card_driver_and_version_that_left_nothing_out(
    changed: dict[str, object], stands: bool
) -> None:
    found = replace(part_file(), **changed)  # type: ignore[arg-type]
    assert (found.is_of(RTX_3090, rehearsal=False) and found.is_whole) is stands


@pytest.mark.parametrize(
    ("content", "said"),
    [(part_file(rehearsal=True), "in a rehearsal"), (part_file(device=PROCESSOR), r"on a processor \(Some CPU\)")],
)
def test_what_was_not_measured_on_a_card_is_no_cards(content: PartFile, said: str) -> None:
    part_file().require_of_a_gpu("x.json")
    with pytest.raises(UsageError, match=rf"x\.json was measured {said}"):
        content.require_of_a_gpu("x.json")


def test_what_is_no_part_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        read_part(tmp_path / "none.json")
    for text in ("{", "{}", part_file().to_json().replace('"schema_version": 1', '"schema_version": 7')):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(UsageError, match=r"x\.json"):
            read_part(tmp_path / "x.json")
    with pytest.raises(OutputError, match="--out"):
        write_part(tmp_path / "gone", part_file())
