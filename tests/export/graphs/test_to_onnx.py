from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from torch import nn

import kda_edge
from kda_edge.errors import UnsupportedSize
from kda_edge.export.graphs.to_onnx import ExportedGraph, onnx_from_student
from kda_edge.export.pipeline import ExportReport
from kda_edge.export.verifying.compared_engines import engine_from_graph
from kda_edge.manifest import InputContract
from kda_edge.networks.student import Student

Probability = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def test_the_graph_normalises_raw_pixels_and_answers_with_probability(
    graph: ExportedGraph, by_hand: Probability, random_tiles: Callable[..., NDArray[np.float32]]
) -> None:
    tiles = random_tiles(1)
    expected = by_hand(tiles)
    assert expected.std() > 0.02  # else any constant would do
    np.testing.assert_allclose(engine_from_graph(graph.model)(tiles), expected, atol=1e-5)


def test_a_batch_of_three_answers_as_its_tiles_do_alone(
    graph: ExportedGraph, random_tiles: Callable[..., NDArray[np.float32]]
) -> None:
    engine, tiles = engine_from_graph(graph.model), random_tiles(3)
    alone = np.concatenate([engine(tile[None]) for tile in tiles])
    assert len({answer.tobytes() for answer in alone}) == 3
    np.testing.assert_allclose(engine(tiles), alone, atol=1e-6)


def test_exporting_leaves_the_student_as_it_was(traced: Any) -> None:
    assert traced.after == traced.before


@pytest.mark.slow
def test_a_second_export_in_this_process_gives_the_same_bytes(
    graph: ExportedGraph, student: Student, contract: InputContract
) -> None:
    """The first was of the same student in training mode, with a frozen weight."""
    again = onnx_from_student(student, contract, 64)
    assert again.model.SerializeToString(deterministic=True) == graph.model.SerializeToString(deterministic=True)


def test_an_export_in_another_process_gives_the_same_bytes_and_says_nothing_else(
    checkpoint_path: Path, report: ExportReport, tmp_path: Path
) -> None:
    """Another hash seed, every warning an error, and no torchvision, which the exporter would log about."""
    code = "import sys; sys.modules['torchvision'] = None; from kda_edge.export.cli import main; sys.exit(main())"
    command = ["--ckpt", str(checkpoint_path), "-o", str(tmp_path / "again.onnx"), "--json"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    progress = re.compile(r"kda-export: .* so far")  # of a machine that takes more than half a minute
    said = [line for line in done.stderr.splitlines() if not progress.fullmatch(line)]
    assert (done.returncode, said) == (0, [])
    facts = json.loads(done.stdout)
    assert facts["artifact"] == str(tmp_path / "again.onnx")
    assert facts["sha256"] == report.sha256
    assert (tmp_path / "again.onnx").read_bytes() == report.artifact.read_bytes()


def test_no_trace_of_this_machine_is_in_the_file(report: ExportReport, checkpoint_path: Path) -> None:
    content = report.artifact.read_bytes()
    folders = [
        sys.prefix,
        tempfile.gettempdir(),
        Path.home(),
        checkpoint_path.parent,
        Path(kda_edge.__file__).parents[1],
    ]
    places = [f"{folder}/" for folder in folders]
    for trace in (*places, 'File "', "site-packages", "stack_trace", "pkg.torch", "onnxsim."):
        assert trace.encode() not in content, trace
    model = onnx.load_from_string(content)
    assert [entry.key for entry in model.metadata_props] == ["kda_edge.manifest"]
    assert (model.producer_name, model.producer_version) == ("kda-edge", kda_edge.__version__)
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        assert not part.doc_string
        assert not part.metadata_props


def test_the_operators_are_those_of_the_student(graph: ExportedGraph, student: Student) -> None:
    counts = collections.Counter(node.op_type for node in graph.model.graph.node)
    assert counts["LayerNormalization"] == sum(isinstance(module, nn.LayerNorm) for module in student.modules())
    assert counts["Conv"] == sum(isinstance(module, nn.Conv2d) for module in student.modules()) - 1  # the folded head
    assert counts["GridSample"] == 4
    assert counts["Softmax"] == 8 + 1  # attention of eight blocks, and the gates
    assert counts["MatMul"] == 8 * (5 + 2)  # q, kv, proj, fc1, fc2, kept as products; scores and mixing
    assert not counts.keys() & {"Resize", "Shape", "Cast", "Identity", "Constant", "Attention"}


def test_every_node_is_named_once_after_its_module(graph: ExportedGraph) -> None:
    nodes = graph.model.graph.node
    assert len({node.name for node in nodes}) == len(nodes)
    named = {node.name.split("/")[0] for node in nodes if node.op_type == "MatMul"}
    assert "encoder.block1.0.attn.q" in named
    convolutions = {node.name.split("/")[0] for node in nodes if node.op_type == "Conv"}
    assert "decoder.UP1.offset" in convolutions


@pytest.mark.parametrize("tile_px", [0, -32, 16, 100])
def test_a_tile_that_the_strides_do_not_divide_is_refused(
    student: Student, contract: InputContract, tile_px: int
) -> None:
    with pytest.raises(UnsupportedSize, match="multiples of 32"):
        onnx_from_student(student, contract, tile_px)
