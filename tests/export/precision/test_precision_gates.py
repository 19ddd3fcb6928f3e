"""Every gate of FP16 and INT8 lets pass what holds and refuses what does not, and a refusal writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
from numpy.typing import NDArray

from kda_edge.errors import KdaEdgeError, NotFaster, OutputError, ParityError, Unverified
from kda_edge.export.config import BudgetConfig, CalibrationConfig, ExportConfig
from kda_edge.export.graphs.graph_view import is_within
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.pipeline import ExportReport, export_checkpoint
from kda_edge.export.verifying.compared_engines import engine_from_graph
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.runtime.opened_engine import open_engine
from kda_edge.tiling.certificate_tiles import generated_terrain
from kda_edge.tiling.tile_answers import Engine

TILE_PX = 64
ANY_LOSS = BudgetConfig(
    iou_points=100.0
)  # an untrained student's map is noise; here the gates are looked at one by one


@pytest.fixture(scope="session")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty tiles of 16-bit terrain, dark to bright."""
    folder = tmp_path_factory.mktemp("imagery")
    profile = {"driver": "GTiff", "width": TILE_PX, "height": TILE_PX, "count": 3, "dtype": "uint16"}
    transform = rasterio.Affine(1, 0, 500000, 0, -1, 4000000)
    for seed in range(20):
        pixels = generated_terrain(seed, TILE_PX) * 10000 * (0.3 + 0.7 * seed / 19)
        with rasterio.open(folder / f"{seed:02}.tif", "w", crs="EPSG:32647", transform=transform, **profile) as file:
            file.write(pixels.astype(np.uint16))
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory, imagery: Path, student_answers: Engine) -> Path:
    """Three of these tiles with masks that the student gets almost right, so that IoU is near 1 and loss shows."""
    folder = tmp_path_factory.mktemp("labelled")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for path in sorted(imagery.iterdir())[::7]:
        (folder / "images" / path.name).write_bytes(path.read_bytes())
        with rasterio.open(path) as file:
            pixels, profile = file.read().astype(np.float32), file.profile
        mask = (student_answers(pixels[None])[0] >= 0.375).astype(np.uint8)
        mask[:, ::16, ::16] ^= 1
        with rasterio.open(folder / "masks" / path.name, "w", **{**profile, "count": 1, "dtype": "uint8"}) as file:
            file.write(mask)
    return folder


@pytest.fixture(scope="session")
def student_answers(by_hand: Engine) -> Engine:
    return by_hand


class Slowed:
    """An engine that answers four times before it answers, or at once."""

    max_batch = None

    def __init__(self, engine: Engine, slow: bool) -> None:
        self._engine, self._slow = engine, slow

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        for _ in range(4 * self._slow):
            self._engine(tiles)
        return self._engine(tiles)


def slowed(chosen: Callable[[onnx.ModelProto], bool]) -> Callable[[onnx.ModelProto], Slowed]:
    """Graphs that are chosen are slow."""
    return lambda graph: Slowed(engine_from_graph(graph), chosen(graph))


def is_int8(graph: onnx.ModelProto) -> bool:
    return any(node.op_type == "DequantizeLinear" for node in graph.graph.node)


@pytest.fixture(scope="session")
def export(checkpoint_path: Path, graph: ExportedGraph) -> Callable[..., ExportReport]:
    def run(
        artifact: Path, to_engine: Callable[[onnx.ModelProto], Engine] = engine_from_graph, **options: object
    ) -> ExportReport:
        config = replace(ExportConfig(checkpoint_path, artifact), **options)  # type: ignore[arg-type]
        return export_checkpoint(
            config,
            to_graph=lambda *_: graph,
            to_engine=to_engine,
            timed_on=lambda: {"ONNX Runtime, perhaps slowed": to_engine},
            log=lambda _: None,
        )

    return run


def refused(folder: Path, kind: type[KdaEdgeError], run: Callable[[], object]) -> str:
    before = sorted(folder.iterdir())
    with pytest.raises(kind) as caught:
        run()
    assert sorted(folder.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="session")
def fp16(tmp_path_factory: pytest.TempPathFactory, export: Callable[..., ExportReport], labelled: Path) -> ExportReport:
    artifact = tmp_path_factory.mktemp("fp16") / "student.onnx"
    return export(artifact, precision="fp16", labelled=labelled, budget=BudgetConfig(iou_points=1.0))


def test_fp16_is_half_the_size_made_for_tensorrt_and_certified_on_labels(
    fp16: ExportReport, report: ExportReport
) -> None:
    assert fp16.size_bytes < 0.6 * report.size_bytes
    assert (fp16.manifest.precision, fp16.manifest.target) == ("fp16", "tensorrt")
    labels = fp16.certificate.labelled
    assert labels is not None
    assert labels.images == ("00.tif", "07.tif", "14.tif")
    assert 0.9 < labels.reference_iou < 1.0
    assert fp16.certificate.holds
    assert 0 < fp16.certificate.max_abs < 0.05
    assert read_artifact(fp16.artifact).doubt == ""


def test_the_same_export_gives_the_same_bytes(
    tmp_path: Path, export: Callable[..., ExportReport], fp16: ExportReport, labelled: Path
) -> None:
    again = export(tmp_path / "again.onnx", precision="fp16", labelled=labelled, budget=BudgetConfig(iou_points=1.0))
    assert (tmp_path / "again.onnx").read_bytes() == fp16.artifact.read_bytes()
    assert again.sha256 == fp16.sha256


def test_without_labels_the_user_is_told_what_is_held_instead(
    tmp_path: Path, export: Callable[..., ExportReport]
) -> None:
    made = export(tmp_path / "out.onnx", precision="fp16", budget=BudgetConfig(iou_points=5.0))
    assert any("--eval DIR" in note and "5%" in note for note in made.notes)
    assert made.certificate.labelled is None


@pytest.mark.slow
def test_fp16_beyond_its_budget_is_refused_and_the_worst_layers_are_named(
    tmp_path: Path, export: Callable[..., ExportReport]
) -> None:
    budget = BudgetConfig(max_abs=1e-9, iou_points=100.0)  # float32 itself does not hold that
    message = refused(tmp_path, ParityError, lambda: export(tmp_path / "out.onnx", precision="fp16", budget=budget))
    assert "the worst layers are" in message
    assert "encoder." in message or "decoder." in message


@pytest.mark.slow
def test_layers_that_lose_too_much_are_kept_out_and_named_and_the_budget_holds(
    tmp_path: Path, export: Callable[..., ExportReport], fp16: ExportReport, graph: ExportedGraph
) -> None:
    half_of_it = fp16.certificate.max_abs / 2
    budget = BudgetConfig(max_abs=half_of_it, iou_points=100.0)
    made = export(tmp_path / "out.onnx", precision="fp16", budget=budget)
    assert made.certificate.max_abs <= half_of_it
    assert made.manifest.islands
    for island in made.manifest.islands:
        assert any(is_within(node, island) for node in graph.model.graph.node), island
    assert fp16.size_bytes < made.size_bytes
    assert read_artifact(made.artifact).doubt == ""


def test_labels_that_an_engine_gets_wrong_cost_iou_and_are_refused(
    tmp_path: Path, export: Callable[..., ExportReport], labelled: Path
) -> None:
    def lower(graph: onnx.ModelProto) -> Engine:
        engine = engine_from_graph(graph)
        return lambda tiles: np.asarray(engine(tiles) * np.float32(0.5))

    budget = BudgetConfig(max_abs=1.0, iou_points=0.5)  # only IoU can refuse here
    message = refused(
        tmp_path,
        ParityError,
        lambda: export(tmp_path / "out.onnx", lower, labelled=labelled, budget=budget),
    )
    assert "points of landslide IoU are lost, 0.5 are allowed" in message


def test_int8_that_is_not_faster_is_refused_in_one_line_and_force_is_recorded(
    tmp_path: Path, export: Callable[..., ExportReport], imagery: Path
) -> None:
    options = {
        "precision": "int8",
        "target": "cpu",
        "calibration": CalibrationConfig(imagery, count=16, method="minmax"),
    }
    message = refused(
        tmp_path, NotFaster, lambda: export(tmp_path / "out.onnx", slowed(is_int8), budget=ANY_LOSS, **options)
    )
    assert "so fp32 is the better one: export without --int8, or --force" in message

    forced = export(tmp_path / "out.onnx", slowed(is_int8), budget=replace(ANY_LOSS, force=True), **options)
    assert forced.certificate.forced
    assert forced.certificate.latency is not None
    assert forced.certificate.latency.faster_by < 0.15
    assert read_artifact(tmp_path / "out.onnx").doubt == ""


@pytest.fixture(scope="session")
def int8(tmp_path_factory: pytest.TempPathFactory, export: Callable[..., ExportReport], imagery: Path) -> ExportReport:
    """INT8 for the CPU that is faster, because the float graph is slowed down."""
    return export(
        tmp_path_factory.mktemp("int8") / "student.onnx",
        slowed(lambda graph: not is_int8(graph)),
        precision="int8",
        target="cpu",
        calibration=CalibrationConfig(imagery, count=16, method="minmax", seed=5),
        budget=ANY_LOSS,
    )


def test_int8_that_is_faster_is_written_with_its_calibration_and_its_latency(int8: ExportReport) -> None:
    manifest, certificate = int8.manifest, int8.certificate
    assert (manifest.precision, manifest.target, manifest.fallback) == ("int8", "cpu", "")
    assert manifest.calibration is not None
    assert (manifest.calibration.method, manifest.calibration.seed) == ("minmax", 5)
    assert len(manifest.calibration.sha256) == sum(manifest.calibration.drawn.values()) == 16
    assert certificate.latency is not None
    assert certificate.latency.other_precision == "fp32"
    assert certificate.latency.faster_by > 0.15
    assert certificate.latency.engine == "ONNX Runtime, perhaps slowed"
    assert not certificate.forced
    with open_engine(int8.artifact, engine="cpu") as engine:
        assert engine.manifest == manifest
        assert engine.notes == ()


def test_int8_for_tensorrt_brings_its_fallback_and_says_that_latency_is_not_measured(
    tmp_path: Path, export: Callable[..., ExportReport], imagery: Path
) -> None:
    made = export(
        tmp_path / "out.onnx",
        precision="int8",
        target="tensorrt",
        calibration=CalibrationConfig(imagery, count=16, method="minmax"),
        budget=ANY_LOSS,
    )
    assert made.certificate.latency is None
    assert any("latency not measured" in note for note in made.notes)
    fallback = read_artifact(tmp_path / made.manifest.fallback)
    assert (fallback.manifest.precision, fallback.manifest.target) == ("fp16", "tensorrt")
    assert fallback.manifest.checkpoint_sha256 == made.manifest.checkpoint_sha256
    with open_engine(tmp_path / "out.onnx", engine="cpu") as engine:
        (note,) = engine.notes
    assert "made for TensorRT (int8)" in note


def test_a_fallback_is_not_left_behind_where_int8_can_not_be_written(
    tmp_path: Path, export: Callable[..., ExportReport], imagery: Path
) -> None:
    (tmp_path / "out.onnx").mkdir()  # found when the file is staged, behind the fallback
    calibration = CalibrationConfig(imagery, count=16, method="minmax")
    options = {"precision": "int8", "target": "tensorrt", "calibration": calibration, "budget": ANY_LOSS}
    assert "is a folder" in refused(tmp_path, OutputError, lambda: export(tmp_path / "out.onnx", **options))


def test_an_artifact_that_another_tool_touched_is_refused(tmp_path: Path, fp16: ExportReport) -> None:
    model = onnx.load(fp16.artifact)
    model.graph.node[0].doc_string = "optimised"
    onnx.save(model, tmp_path / "touched.onnx")
    with pytest.raises(Unverified, match="changed or damaged"):
        open_engine(tmp_path / "touched.onnx")
