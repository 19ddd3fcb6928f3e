from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

import kda_edge
from kda_edge.certificate import Budget
from kda_edge.errors import CheckpointError, ExportError, OutputError, ParityError, SceneError, UsageError
from kda_edge.export.config import DeclaredInput, ExportConfig
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.pipeline import ExportReport, export_checkpoint
from kda_edge.export.verifying.compared_engines import engine_from_graph, engine_from_student
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.checkpoint import weights_digest
from kda_edge.networks.student import Student
from kda_edge.runtime import Segmenter
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.tiling.predict import predict_array
from kda_edge.tiling.tile_answers import Engine

HOSTILE = ("nodata", "saturated", "checkerboard", "white noise", "gradient", "near-constant")
ToGraph = Callable[[Student, InputContract, int], ExportedGraph]


@pytest.fixture
def already_traced(graph: ExportedGraph, contract: InputContract) -> ToGraph:
    """Stand in for the exporter, which takes seconds: the session's graph, with other statistics where asked for."""

    def to_graph(student: Student, asked: InputContract, tile_px: int) -> ExportedGraph:
        assert tile_px == 64
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
        for name, values in (("mean", asked.mean), ("std", asked.std)):
            replace_constant(model, name, np.array(values, np.float32).reshape(1, 3, 1, 1))
        return ExportedGraph(model, graph.nodes_traced)

    return to_graph


def replace_constant(model: onnx.ModelProto, name: str, values: NDArray[np.float32]) -> None:
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def test_the_artifact_lies_beside_the_checkpoint_and_opens_in_the_runtime(
    report: ExportReport, checkpoint_path: Path
) -> None:
    assert report.artifact == checkpoint_path.with_suffix(".onnx")
    assert report.size_bytes == report.artifact.stat().st_size
    assert sorted(path.name for path in checkpoint_path.parent.iterdir()) == ["student.onnx", "student.pt"]
    assert open_engine(report.artifact).manifest == report.manifest
    assert report.notes == ()


def test_the_manifest_says_what_the_checkpoint_said(
    report: ExportReport, student: Student, contract: InputContract, training: TrainingRecord
) -> None:
    manifest = report.manifest
    assert (manifest.variant, manifest.tile_px, manifest.threshold) == ("nano", 64, 0.375)
    assert manifest.parameters == sum(weight.numel() for weight in student.parameters())
    assert manifest.checkpoint_sha256 == weights_digest(student)
    assert (manifest.input, manifest.training) == (contract, training)
    assert (manifest.precision, manifest.opset, manifest.classes) == ("fp32", 19, ("background", "landslide"))
    assert manifest.package_version == kda_edge.__version__
    versions = report.certificate.versions
    assert {name: importlib.metadata.version(name) for name in versions} == versions
    assert {"torch", "onnx", "onnxruntime"} <= set(versions)


def test_the_certificate_covers_terrain_and_every_hostile_tile_within_the_budget(report: ExportReport) -> None:
    certificate = report.certificate
    assert certificate.budget == Budget(max_abs=1e-4)
    assert certificate.max_abs <= 1e-4
    names = [tile.tile for tile in certificate.tiles]
    assert all(any(hostile in name for name in names) for hostile in HOSTILE)
    assert sum(name.startswith("generated terrain") for name in names) == 3
    assert len({tile.sha256 for tile in certificate.tiles}) == len(names)


@pytest.mark.parametrize("size_hw", [(64, 64), (75, 131), (30, 17)], ids=str)
def test_the_segmenter_answers_on_an_odd_image_as_the_student_does(
    report: ExportReport, student: Student, contract: InputContract, size_hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(1).integers(0, 10001, (*size_hw, 3)).astype(np.uint16)
    with Segmenter.open(report.artifact) as segmenter:
        answer = segmenter.predict(image)
    expected, _ = predict_array(image, None, engine_from_student(student, contract), 64, 16)
    np.testing.assert_allclose(answer.probability, expected, atol=1e-5)
    assert answer.probability.shape == size_hw
    clear = np.abs(expected - 0.375) > 1e-4
    assert np.array_equal(answer.mask[clear], (expected >= 0.375)[clear])


def test_the_reference_is_the_student_by_hand(
    student: Student,
    contract: InputContract,
    by_hand: Engine,
    random_tiles: Callable[..., NDArray[np.float32]],
) -> None:
    tiles = random_tiles(2)
    np.testing.assert_allclose(engine_from_student(student, contract)(tiles), by_hand(tiles), atol=1e-5)


def test_asking_the_reference_leaves_the_student_as_it_was(
    make_student: Callable[[int], Student], contract: InputContract, random_tiles: Callable[..., NDArray[np.float32]]
) -> None:
    student = make_student(1).train()
    before = weights_digest(student)
    engine = engine_from_student(student, contract)
    assert np.array_equal(engine(random_tiles(1)), engine(random_tiles(1)))  # without stochastic depth
    assert all(module.training for module in student.modules())
    assert weights_digest(student) == before


def refused(
    config: ExportConfig,
    kind: type[Exception],
    to_graph: ToGraph,
    to_engine: Callable[[Any], Engine] = engine_from_graph,
) -> str:
    """Export over an older file; return the message, the older file untouched."""
    config.artifact_path.write_bytes(b"older")
    with pytest.raises(kind) as caught:
        export_checkpoint(config, to_graph=to_graph, to_engine=to_engine)
    assert config.artifact_path.read_bytes() == b"older"
    assert list(config.artifact_path.parent.iterdir()) == [config.artifact_path]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_weight_that_is_off_in_the_graph_is_refused_and_the_older_file_stays(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph, student: Student
) -> None:
    def spoilt(model: onnx.ModelProto) -> Engine:
        other = onnx.ModelProto()
        other.CopyFrom(model)
        name = "student.decoder.UP2.offset.bias"
        replace_constant(
            other, name, student.get_parameter("decoder.UP2.offset.bias").detach().numpy() + np.float32(0.05)
        )
        return engine_from_graph(other)

    config = ExportConfig(checkpoint_path, tmp_path / "out.onnx")
    message = refused(config, ParityError, already_traced, spoilt)
    assert "worst tile" in message
    assert "nothing was written" in message


def test_an_engine_that_fails_on_one_tile_alone_is_refused_by_that_tiles_name(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph
) -> None:
    def wrong_on_saturation(model: onnx.ModelProto) -> Engine:
        engine = engine_from_graph(model)

        def answer(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            off = (tiles.min(axis=(1, 2, 3)) == 10000).reshape(-1, 1, 1, 1)
            return np.asarray(np.clip(engine(tiles) + np.float32(0.001) * off, 0, 1))

        return answer

    config = ExportConfig(checkpoint_path, tmp_path / "out.onnx")
    assert "'all saturated'" in refused(config, ParityError, already_traced, wrong_on_saturation)


def test_a_graph_with_the_wrong_normalisation_is_refused(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph
) -> None:
    def to_graph(student: Student, asked: InputContract, tile_px: int) -> ExportedGraph:
        return already_traced(student, dataclasses.replace(asked, std=(800.0, 905.5, 1101.25)), tile_px)

    refused(ExportConfig(checkpoint_path, tmp_path / "out.onnx"), ParityError, to_graph)


def test_a_graph_that_tensorrt_would_misread_is_refused(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph
) -> None:
    def to_graph(student: Student, asked: InputContract, tile_px: int) -> ExportedGraph:
        graph = already_traced(student, asked, tile_px)
        graph.model.opset_import[0].version = 20
        return graph

    assert "opset" in refused(ExportConfig(checkpoint_path, tmp_path / "out.onnx"), ExportError, to_graph)


def test_imagery_that_is_given_is_verified_on_and_recorded(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph
) -> None:
    pixels = np.random.default_rng(0).integers(1, 10001, (3, 64, 128)).astype(np.uint16)
    transform = rasterio.Affine(1, 0, 500000, 0, -1, 4000000)
    profile = {"driver": "GTiff", "width": 128, "height": 64, "count": 3, "dtype": "uint16", "crs": "EPSG:32647"}
    with rasterio.open(tmp_path / "valley.tif", "w", transform=transform, **profile) as file:
        file.write(pixels)
    config = ExportConfig(checkpoint_path, tmp_path / "out.onnx", tiles=tmp_path / "valley.tif")
    report = export_checkpoint(config, to_graph=already_traced)
    names = [tile.tile for tile in report.certificate.tiles]
    assert [name for name in names if "valley" in name] == [
        "valley.tif, row 0, column 0",
        "valley.tif, row 0, column 64",
    ]
    assert "white noise" in names


def test_imagery_that_is_missing_is_named(checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph) -> None:
    config = ExportConfig(checkpoint_path, tmp_path / "out.onnx", tiles=Path("nowhere.tif"))
    assert "nowhere.tif does not exist" in refused(config, SceneError, already_traced)


def test_a_threshold_that_is_given_takes_the_place_of_the_checkpoints(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph
) -> None:
    config = ExportConfig(checkpoint_path, tmp_path / "out.onnx", threshold=0.6)
    export_checkpoint(config, to_graph=already_traced)
    assert open_engine(tmp_path / "out.onnx").manifest.threshold == 0.6


@pytest.fixture
def published_path(tmp_path: Path, student: Student) -> Path:
    """A bare state dict, as the published models are."""
    path = tmp_path / "published" / "kda.pt"
    path.parent.mkdir()
    torch.save(student.state_dict(), path)
    return path


def test_a_published_state_dict_is_taken_for_8_bit_rgb_and_the_user_is_told(
    published_path: Path, already_traced: ToGraph
) -> None:
    report = export_checkpoint(ExportConfig(published_path, tile_px=64), to_graph=already_traced)
    assert report.manifest.input == InputContract()
    assert report.manifest.training == TrainingRecord()
    (note,) = report.notes
    assert "ImageNet" in note
    assert "--mean" in note


def test_a_published_state_dict_takes_the_declared_input_without_a_note(
    published_path: Path, already_traced: ToGraph, contract: InputContract
) -> None:
    declared = DeclaredInput("uint16", contract.value_range, (1.5, 2.5, 3.5), (800.0, 900.0, 1000.0))
    report = export_checkpoint(ExportConfig(published_path, tile_px=64, input=declared), to_graph=already_traced)
    assert report.manifest.input == declared.contract()
    assert report.manifest.input.std == (800.0, 900.0, 1000.0)
    assert report.notes == ()


def test_a_checkpoint_that_knows_its_input_takes_no_other(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph
) -> None:
    declared = DeclaredInput(mean=(100.0, 100.0, 100.0), std=(50.0, 50.0, 50.0))
    config = ExportConfig(checkpoint_path, tmp_path / "out.onnx", input=declared)
    assert "says itself" in refused(config, ExportError, already_traced)


def test_a_published_state_dict_is_exported_at_512_px_unless_told(published_path: Path) -> None:
    asked: list[int] = []

    def to_graph(student: Student, contract: InputContract, tile_px: int) -> ExportedGraph:
        asked.append(tile_px)
        raise ExportError("enough")

    with pytest.raises(ExportError, match="enough"):
        export_checkpoint(ExportConfig(published_path), to_graph=to_graph)
    assert asked == [512]


def test_a_checkpoint_that_is_none_is_refused_before_anything_else(tmp_path: Path, already_traced: ToGraph) -> None:
    foreign = tmp_path / "foreign" / "student.pt"
    foreign.parent.mkdir()
    foreign.write_bytes(b"no checkpoint")
    (tmp_path / "out").mkdir()
    refused(ExportConfig(foreign, tmp_path / "out" / "x.onnx"), CheckpointError, already_traced)


def test_the_checkpoint_itself_is_never_overwritten(
    checkpoint_path: Path, tmp_path: Path, already_traced: ToGraph
) -> None:
    checkpoint = tmp_path / "student.onnx"
    checkpoint.write_bytes(checkpoint_path.read_bytes())
    with pytest.raises(UsageError, match="would replace the checkpoint"):
        export_checkpoint(ExportConfig(checkpoint), to_graph=already_traced)
    assert checkpoint.read_bytes() == checkpoint_path.read_bytes()


def test_a_folder_that_is_not_there_is_found_before_the_work(checkpoint_path: Path, tmp_path: Path) -> None:
    def to_graph(student: Student, contract: InputContract, tile_px: int) -> ExportedGraph:
        pytest.fail("the work had begun")

    with pytest.raises(OutputError, match="does not exist"):
        export_checkpoint(ExportConfig(checkpoint_path, tmp_path / "nowhere" / "x.onnx"), to_graph=to_graph)
