"""The page on configuration and the commented example are made from the settings, and are current."""

from __future__ import annotations

import dataclasses
import re
import sys
from typing import Any

import configuration_page
import pytest
from configuration_page import EXAMPLE, KINDS, example_text, keys_of, keys_table, meanings
from places import ROOT

from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.fit import fit_config
from kda_edge.train.segmentation.config import SegmentConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_page_and_example_say_what_the_code_says() -> None:
    assert configuration_page.main(["--check"]) == 0
    text = (ROOT / configuration_page.PAGE).read_text(encoding="utf-8")
    assert [table for table in KINDS if f"<!-- configuration: {table} -->" not in text] == []


def test_a_changed_default_is_noticed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        KINDS,
        "segment",
        dataclasses.make_dataclass("S", [("epochs", int, 3)], bases=(SegmentConfig,), frozen=True, kw_only=True),
    )
    assert configuration_page.main(["--check"]) == 1
    assert "configuration.md differs" in (said := capsys.readouterr().out)
    assert "fit_config.toml differs" in said


def test_the_example_with_its_signs_taken_off_is_the_settings_without_a_file() -> None:
    """Each line that holds a key is one; the others stay comments, since no meaning looks like a key."""
    text = (ROOT / EXAMPLE).read_text(encoding="utf-8")
    plain = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    tables: dict[str, dict[str, Any]] = tomllib.loads(plain)
    assert fit_config(tables, {}) == fit_config({}, {})
    for name, kind in (("distill", DistillConfig), ("segment", SegmentConfig)):
        assert set(tables[name]) == {field.name for field in dataclasses.fields(kind) if field.default is not None}
    assert tomllib.loads(text) == {
        "distill": {"augmentation": {}},
        "segment": {"augmentation": {}, "loss": {}, "teachers": {}},
    }
    assert text == example_text()


@pytest.mark.parametrize("table", KINDS)
def test_every_key_has_a_meaning_and_a_row(table: str) -> None:
    keys = list(keys_of(table))
    assert {key.name.partition(".")[0] for key in keys} == {field.name for field in dataclasses.fields(KINDS[table])}
    assert [key.name for key in keys if len(key.meaning) < 15] == []
    assert keys_table(table).count("\n") == len(keys) + 1


def test_a_meaning_over_several_lines_is_read_whole() -> None:
    assert meanings(KINDS["source"])["masks"].endswith("to any depth, or one image.")
    assert set(meanings(SegmentConfig)) >= {field.name for field in dataclasses.fields(SegmentConfig)}
