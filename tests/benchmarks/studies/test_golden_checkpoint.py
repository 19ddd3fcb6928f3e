"""The checkpoint for measuring speed holds the weights of the rule, or nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kda_edge.benchmarks.studies import golden_checkpoint
from kda_edge.networks.checkpoint import read_checkpoint
from kda_edge.networks.student import Student

RULE = """
import numpy as np
def fill_state(shapes):
    return {key: np.full(shape, 0.5, np.float32) for key, shape in shapes.items() if not key.endswith("init_pos")}
"""


def test_each_weight_is_what_the_rule_says_and_the_variant_is_recognised(tmp_path: Path) -> None:
    shapes = {key: list(value.shape) for key, value in Student("nano").state_dict().items()}
    (tmp_path / "state_dict_shapes.json").write_text(json.dumps({"nano": shapes}))
    (tmp_path / "fill.py").write_text(RULE)
    out = tmp_path / "nano.pt"
    assert golden_checkpoint.main(["--golden", str(tmp_path), "--variant", "nano", "-o", str(out)]) == 0
    student = read_checkpoint(out).student
    assert student.variant == "nano"
    assert all((weight == 0.5).all() for weight in student.parameters())


@pytest.mark.parametrize("variant", ["nano", "base"])
def test_a_folder_without_the_rule_or_the_variant_is_refused_in_a_line(
    variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if variant == "base":
        (tmp_path / "state_dict_shapes.json").write_text("{}")
        (tmp_path / "fill.py").write_text(RULE)
    out = tmp_path / "student.pt"
    assert golden_checkpoint.main(["--golden", str(tmp_path), "--variant", variant, "-o", str(out)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not out.exists()
