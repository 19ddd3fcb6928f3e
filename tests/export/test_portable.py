"""A portable graph is read by Deepness and GeoDeep, as their code reads, and answers as our own graph does.

The two programs are not run: how each reads a file is said again here, in few words of our own.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from nano_graph import nano_graph
from numpy.typing import NDArray

from kda_edge.errors import ArtifactError, ExportError
from kda_edge.export.lint import rules as lint
from kda_edge.export.portable import portable_graph, resolution_cm
from kda_edge.manifest import METADATA_KEY, InputContract, Manifest
from kda_edge.runtime.engines.artifact import read_artifact
from kda_edge.tiling.certificate_tiles import generated_tiles
from kda_edge.tiling.fill_nodata import fill_nodata

TILE_PX = 256
UINT16 = InputContract(pixel_type="uint16", value_range=(-50.0, 10000.0), mean=(1900.0,) * 3, std=(900.0,) * 3)


def manifest(**changed: Any) -> Manifest:
    facts = Manifest("nano", 1, "0" * 64, TILE_PX, "0.1.0", input=InputContract(gsd_m=(0.03, 10.0)), threshold=0.625)
    return dataclasses.replace(facts, **changed)


def opened(model: onnx.ModelProto, as_written: bool = False) -> onnxruntime.InferenceSession:
    """A session; `as_written` keeps it from fusing, which it does otherwise where a batch is fixed: 3e-6 apart."""
    options = onnxruntime.SessionOptions()
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def own() -> onnx.ModelProto:
    return nano_graph()


@pytest.fixture(scope="module")
def portable(own: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return opened(portable_graph(own, manifest()))


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """Terrain and hostile tiles as the two programs would read them, (N, T, T, 3)."""
    tiles = generated_tiles(InputContract(), TILE_PX)[:-1]  # the last one, all mean, is no uint8
    return np.stack([tile.pixels for tile in tiles]).transpose(0, 2, 3, 1).astype(np.uint8)


class Deepness:
    """What the QGIS plugin makes of a file: its older demand of a batch of 1, and its newer way with pixels."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self.said = session.get_modelmeta().custom_metadata_map
        (self.port,) = session.get_inputs()
        (self.answer,) = session.get_outputs()
        assert self.port.shape[-2] == self.port.shape[-1]
        assert self.answer.shape[0] == 1
        assert len(self.answer.shape) == 4
        assert self.answer.shape[2] == self.answer.shape[3]

    def value(self, key: str) -> Any:
        return json.loads(self.said[key]) if key in self.said else None

    @property
    def class_names(self) -> list[str]:
        in_order = sorted(self.value("class_names").items(), key=lambda entry: int(entry[0]))
        assert [int(number) for number, _ in in_order] == list(range(len(in_order)))
        return [name for _, name in in_order]

    def classes(self, tile: NDArray[np.uint8]) -> NDArray[np.intp]:
        shares = np.float32(tile[..., : self.port.shape[-3]] * 1.0 / 255.0)
        (answer,) = self.session.run(None, {self.port.name: shares.transpose(2, 0, 1)[None]})
        answer[answer < float(self.value("seg_thresh"))] = 0.0
        return np.asarray(answer.argmax(axis=1)[0])


def as_geodeep_reads(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    said = session.get_modelmeta().custom_metadata_map
    (port,) = session.get_inputs()
    return {
        "model_type": json.loads(said.get("model_type", '"Detector"')),
        "class_names": json.loads(said.get("class_names", "{}")),
        "resolution": float(said.get("resolution", 10)),
        "tiles_overlap": float(said.get("tiles_overlap", 5)),
        "seg_thresh": float(said.get("seg_thresh", 0.5)),
        "seg_small_segment": int(said.get("seg_small_segment", 11)),
        "det_conf": float(said.get("det_conf", 0.3)),
        "tiles_size": port.shape[-1],
    }


def test_deepness_reads_a_segmentation_model_of_two_classes(portable: onnxruntime.InferenceSession) -> None:
    deepness = Deepness(portable)
    assert str(deepness.value("model_type")).capitalize() == "Segmentor"
    assert deepness.class_names == ["background", "landslide"]
    assert int(deepness.value("tile_size")) == int(deepness.value("tiles_size")) == deepness.port.shape[-1] == TILE_PX
    assert int(deepness.value("tiles_overlap")) == 25
    assert float(deepness.value("resolution")) == 3.0  # the finest of 3 cm to 10 m
    assert float(deepness.value("seg_thresh")) == 0.5
    assert int(deepness.value("seg_small_segment")) == 0
    assert deepness.port.shape[-3] == 3
    assert deepness.answer.shape[-3] == 2


def test_geodeep_reads_a_segmentation_model_of_two_classes(portable: onnxruntime.InferenceSession) -> None:
    assert as_geodeep_reads(portable) == {
        "model_type": "Segmentor",
        "class_names": {"0": "background", "1": "landslide"},
        "resolution": 3.0,
        "tiles_overlap": 25.0,
        "seg_thresh": 0.5,
        "seg_small_segment": 0,
        "det_conf": 0.3,
        "tiles_size": TILE_PX,
    }


def test_the_shares_of_every_uint8_value_become_that_value_again() -> None:
    values = np.arange(256, dtype=np.uint8)
    for shares in (np.float32(values * 1.0 / 255.0), (values / 255.0).astype(np.float32)):
        np.testing.assert_array_equal(shares * np.float32(255.0), values.astype(np.float32))


def judged(probability: NDArray[Any], threshold: float) -> NDArray[np.float64]:
    """What the landslide channel must say: 0.5 at the threshold, the odds of the two classes moved alike."""
    odds = probability.astype(np.float64) / (1.0 - probability.astype(np.float64)) * (1.0 - threshold) / threshold
    return odds / (1.0 + odds)


def test_shares_of_raw_pixels_give_background_and_landslide_of_our_own_graph(
    own: onnx.ModelProto, portable: onnxruntime.InferenceSession, pixels: NDArray[np.uint8]
) -> None:
    made = portable_graph(own, manifest())
    raw, exact, landslides = opened(own, as_written=True), opened(made, as_written=True), 0
    for tile in pixels:
        planes = np.maximum(tile, 1).transpose(2, 0, 1)[None].astype(np.float32)  # nothing is missing
        (probability,) = raw.run(None, {"image": planes})
        (classes,) = exact.run(None, {"image": planes / np.float32(255.0)})
        expected = judged(probability, 0.625)
        np.testing.assert_allclose(classes, np.concatenate((1.0 - expected, expected), axis=1), rtol=0, atol=1e-6)
        landslides += int((probability >= 0.625).sum())
        clear = np.abs(probability[0, 0] - 0.625) > 1e-5
        wanted = (probability[0, 0] >= 0.625).astype(np.intp)
        np.testing.assert_array_equal(Deepness(portable).classes(np.maximum(tile, 1))[clear], wanted[clear])
    assert 0 < landslides < pixels[..., 0].size, "one class everywhere proves nothing"


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.9])
def test_the_landslide_channel_is_the_greater_one_from_the_students_threshold_on(
    own: onnx.ModelProto, pixels: NDArray[np.uint8], threshold: float
) -> None:
    """Whatever it is: what two classes by themselves can't say."""
    planes = np.maximum(pixels[0], 1).transpose(2, 0, 1)[None].astype(np.float32)
    (probability,) = opened(own).run(None, {"image": planes})
    (classes,) = opened(portable_graph(own, manifest(threshold=threshold))).run(None, {"image": planes / 255})
    np.testing.assert_allclose(classes[:, 1:], judged(probability, threshold), rtol=0, atol=1e-5)
    order = np.argsort(probability, axis=None)
    assert (np.diff(classes[:, 1:].reshape(-1)[order]) >= -1e-5).all()
    clear = np.abs(probability[0, 0] - threshold) > 1e-4
    np.testing.assert_array_equal(classes[0].argmax(axis=0)[clear], (probability[0, 0] >= threshold)[clear])


def test_black_is_no_landslide_and_no_ground_beside_it_changes_as_for_the_runtime(
    own: onnx.ModelProto, portable: onnxruntime.InferenceSession, pixels: NDArray[np.uint8]
) -> None:
    """A drone's orthophoto lies askew in its raster; fed with black, the network fires along the cliff."""
    row, col = np.indices((TILE_PX, TILE_PX))
    missing, raw, away = (row + 0.7 * col < 100) | (np.hypot(row - 180, col - 60) < 20), opened(own), []
    for whole in pixels[:3]:
        tile = np.where(missing[..., None], np.uint8(0), np.maximum(whole, 1))
        filled = fill_nodata(tile, ~missing).transpose(2, 0, 1)[None].astype(np.float32)
        (probability,) = raw.run(None, {"image": filled})
        shares = np.float32(tile / 255.0).transpose(2, 0, 1)[None]
        (classes,) = portable.run(None, {"image": shares})
        assert (classes[0, 0, missing] == 1.0).all()
        assert (classes[0, 1, missing] == 0.0).all()
        assert not Deepness(portable).classes(tile)[missing].any()
        away.append(np.abs(classes[0, 1] - judged(probability, 0.625)[0, 0])[~missing].mean())
    assert np.mean(away) < 0.02


def test_kda_infer_says_what_a_portable_file_is_for(own: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(portable_graph(own, manifest()), tmp_path / "p.onnx")
    with pytest.raises(ArtifactError, match="is a portable model, for QGIS Deepness and WebODM; kda-infer takes"):
        read_artifact(tmp_path / "p.onnx")


def test_an_empty_tile_holds_no_landslide(portable: onnxruntime.InferenceSession) -> None:
    assert not Deepness(portable).classes(np.zeros((TILE_PX, TILE_PX, 3), np.uint8)).any()


def test_another_range_of_values_is_taken_in_shares_of_it(own: onnx.ModelProto) -> None:
    raw = np.random.default_rng(0).uniform(0.0, 255.0, (1, 3, TILE_PX, TILE_PX)).astype(np.float32)
    low, high = UINT16.value_range
    shares = ((raw.astype(np.float64) - low) / (high - low)).astype(np.float32)
    (expected,) = opened(own).run(None, {"image": raw})
    (classes,) = opened(portable_graph(own, manifest(input=UINT16))).run(None, {"image": shares})
    # float32 holds a share to 6e-8, and with it a raw value to 6e-4 of a grey level.
    np.testing.assert_allclose(classes[:, 1:], judged(expected, 0.625), rtol=0, atol=1e-4)


def test_the_file_is_valid_has_no_manifest_and_is_no_artifact_of_ours(own: onnx.ModelProto) -> None:
    before = own.SerializeToString(deterministic=True)
    made = portable_graph(own, manifest())
    onnx.checker.check_model(made, full_check=True)
    assert METADATA_KEY not in {entry.key for entry in made.metadata_props}
    assert lint.findings(made) == ["the graph has ['classes'] where it must have 'probability' alone"]
    assert own.SerializeToString(deterministic=True) == before
    again = portable_graph(own, manifest())
    assert again.SerializeToString(deterministic=True) == made.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("gsd_m", "centimetres"), [((0.1, 10.0), 10.0), ((0.5, 0.5), 50.0), ((0.03, 10.0), 3.0), (None, None)]
)
def test_the_resolution_is_the_finest_that_the_model_knows_so_that_no_host_shrinks_what_it_knows(
    gsd_m: tuple[float, float] | None, centimetres: float | None
) -> None:
    assert resolution_cm(InputContract(gsd_m=gsd_m)) == centimetres


def test_an_unknown_resolution_is_left_to_the_reader(own: onnx.ModelProto) -> None:
    session = opened(portable_graph(own, manifest(input=InputContract())))
    assert Deepness(session).value("resolution") is None
    assert as_geodeep_reads(session)["resolution"] == 10.0


@pytest.mark.parametrize(("pixel_cm", "shrunk"), [(1.0, 3), (2.0, 1), (3.0, 1), (5.0, 1), (50.0, 1), (1000.0, 1)])
def test_geodeep_shrinks_only_what_is_finer_than_the_model_learned_from(
    portable: onnxruntime.InferenceSession, pixel_cm: float, shrunk: int
) -> None:
    resolution = as_geodeep_reads(portable)["resolution"]
    assert (int(resolution // pixel_cm) if pixel_cm < resolution else 1) == shrunk


def test_a_graph_that_does_not_end_in_a_sigmoid_is_refused(own: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(own)
    other.graph.node[-1].op_type = "Relu"
    with pytest.raises(ExportError, match="Sigmoid"):
        portable_graph(other, manifest())
    with pytest.raises(ExportError, match="from image to probability"):
        portable_graph(portable_graph(own, manifest()), manifest())
