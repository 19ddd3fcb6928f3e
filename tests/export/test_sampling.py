"""How an exported graph samples: by gathers where it is for TensorRT, with GridSample elsewhere, or as it is told."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from kda_edge.export.cli import _config_from_options, _parser
from kda_edge.export.config import BudgetConfig, ExportConfig
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.pipeline import export_checkpoint, sampling_of, target_of
from kda_edge.runtime.engines.artifact import read_artifact

ANY_LOSS = BudgetConfig(iou_points=100.0)  # an untrained student's map is noise


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ([], "gridsample"),
        (["--target", "cpu"], "gridsample"),
        (["--target", "tensorrt"], "gather"),
        (["--fp16"], "gather"),
        (["--fp16", "--target", "cpu"], "gridsample"),
        (["--fp16", "--portable"], "gridsample"),
        (["--int8", "--calib", "tiles", "--target", "tensorrt"], "gather"),
        (["--int8", "--calib", "tiles", "--target", "cpu"], "gridsample"),
        (["--no-gridsample"], "gather"),
        (["--portable", "--no-gridsample"], "gather"),
        (["--target", "tensorrt", "--gridsample"], "gridsample"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_the_sampling_suits_the_target_unless_it_is_told(options: list[str], sampling: str) -> None:
    config = _config_from_options(_parser().parse_args(["--ckpt", "student.pt", *options]))
    assert sampling_of(config, target_of(config)) == sampling


@pytest.mark.parametrize(
    ("precision", "target", "gridsample", "expected"),
    [
        ("fp32", "tensorrt", None, "gather"),
        ("fp16", None, None, "gather"),
        ("fp32", "tensorrt", True, "gridsample"),
        ("fp32", None, None, "gridsample"),
    ],
)
def test_the_file_samples_as_its_manifest_says(
    checkpoint_path: Path,
    graph: ExportedGraph,
    tmp_path: Path,
    precision: str,
    target: str | None,
    gridsample: bool | None,
    expected: str,
) -> None:
    config = ExportConfig(
        checkpoint_path,
        tmp_path / "out.onnx",
        precision=precision,
        target=target,
        gridsample=gridsample,
        budget=ANY_LOSS if precision == "fp16" else BudgetConfig(),
    )
    report = export_checkpoint(config, to_graph=lambda *_: graph)
    operators = {node.op_type for node in onnx.load(report.artifact).graph.node}
    assert read_artifact(report.artifact).manifest.sampling == expected
    assert ("GridSample" in operators) == (expected == "gridsample")
    assert ("GatherElements" in operators) == (expected == "gather")
