"""The manifest survives a round trip and refuses what does not fit, naming the field."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from kda_edge.certificate import Budget, Calibration, Certificate, Labelled, Latency, TileParity
from kda_edge.errors import ManifestError, NewerManifest
from kda_edge.manifest import SCHEMA_VERSION, InputContract, Manifest, TrainingRecord


def _manifest() -> Manifest:
    tile = TileParity("noise", "ab" * 32, 2e-6, 1e-7, 1.0)
    return Manifest(
        variant="nano",
        parameters=3_308_802,
        checkpoint_sha256="0f" * 32,
        tile_px=256,
        package_version="0.1.0",
        certificate=Certificate(
            graph_sha256="12" * 32,
            budget=Budget(iou_points=0.5, faster_by=0.15),
            tiles=(tile,),
            versions={"onnxruntime": "1.20"},
            labelled=Labelled(("a.png",), ("ab" * 32,), 0.5, 0.501),
            latency=Latency("an engine", "a processor", 30, 8.0, "fp32", 10.0),
        ),
        precision="int8",
        target="cpu",
        islands=("encoder.stages.0",),
        calibration=Calibration("percentile", 3, {"dark": 1}, ("ab" * 32,)),
        input=InputContract(gsd_m=(0.5, 10.0)),
        threshold=0.42,
        training=TrainingRecord(data=("a/b",), metrics={"val": {"iou": 0.5}}),
    )


def test_a_manifest_reads_back_as_it_was() -> None:
    manifest = _manifest()
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("variant",), "", "variant"),
        (("variant",), 3, "manifest.variant must be str"),
        (("parameters",), 0, "parameters"),
        (("parameters",), True, "manifest.parameters must be int"),
        (("checkpoint_sha256",), "xyz", "checkpoint_sha256"),
        (("tile_px",), 100, "tile_px must be a multiple of 32"),
        (("tile_px",), 256.0, "manifest.tile_px must be int"),
        (("threshold",), 1.0, "threshold"),
        (("classes",), ["landslide"], "classes"),
        (("precision",), "fp4", "precision"),
        (("input",), [], "manifest.input must be an object"),
        (("input", "pixel_type"), "float64", "pixel_type"),
        (("input", "value_range"), [255, 0], "value_range"),
        (("input", "value_range"), [0], "value_range must have 2 values"),
        (("input", "std"), [1, 0, 1], "std must be above 0"),
        (("input", "mean"), [1, 2], "mean must have one value a band"),
        (("input", "bands"), ["red"], "three bands"),
        (("input", "gsd_m"), [10, 1], "gsd_m"),
        (("input", "colour"), 1, "unknown field 'colour'; it may have bands, pixel_type, value_range, mean, std"),
        (("target",), "toaster", "target"),
        (("sampling",), "guess", "sampling"),
        (("fallback",), "../other.onnx", "fallback must be a name"),
        (("calibration",), None, "calibration belongs to int8"),
        (("calibration", "method"), "hope", "calibration.method"),
        (("calibration", "drawn"), {"snow": 1}, "calibration.drawn"),
        (("calibration", "drawn"), {"dark": 2}, "a digest for each tile"),
        (("certificate", "graph_sha256"), "12", "graph_sha256 must be 64"),
        (("certificate", "tiles"), [{"tile": "x"}], "lacks the field 'sha256'"),
        (("certificate", "tiles", 0, "max_abs"), 1.5, "max_abs must lie in 0..1"),
        (("certificate", "budget"), {}, "must limit something"),
        (("certificate", "budget", "iou_points"), -1, "iou_points must lie in 0..100"),
        (("certificate", "latency", "p50_ms"), 0, "above 0 ms"),
        (("certificate", "labelled", "iou"), 2, "labelled.iou must lie in 0..1"),
        (("certificate", "labelled", "images"), [], "a digest for each image"),
        (("training", "metrics"), {"a": {"iou": "high"}}, "metrics.a.iou must be float"),
    ],
)
def test_a_field_that_does_not_fit_is_named(path: tuple[str | int, ...], value: object, reason: str) -> None:
    plain: dict[str, Any] = json.loads(_manifest().to_json())
    part: Any = plain
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(ManifestError, match=reason):
        Manifest.from_json(json.dumps(plain))


def test_a_missing_field_is_named() -> None:
    plain = json.loads(_manifest().to_json())
    del plain["tile_px"]
    with pytest.raises(ManifestError, match="lacks the field 'tile_px'"):
        Manifest.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"schema_version": "1"}', '{"schema_version": 0}'])
def test_what_is_no_manifest_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ManifestError, match="export the model again with kda-export"):
        Manifest.from_json(text)


def test_a_newer_manifest_says_upgrade() -> None:
    plain = {**json.loads(_manifest().to_json()), "schema_version": SCHEMA_VERSION + 1, "novelty": 1}
    with pytest.raises(NewerManifest, match="pip install -U kda-edge"):
        Manifest.from_json(json.dumps(plain))


def test_a_manifest_of_the_first_schema_is_read_and_has_no_certificate() -> None:
    plain = json.loads(_manifest().to_json())
    for name in ("certificate", "target", "islands", "calibration", "sampling", "fallback"):
        del plain[name]
    parity = {"budget_max_abs": 1e-4, "tiles": [], "versions": {}}
    old = Manifest.from_json(json.dumps({**plain, "precision": "fp32", "parity": parity, "schema_version": 1}))
    assert old.certificate is None
    assert (old.threshold, old.precision, old.target) == (0.42, "fp32", "any")


def test_a_manifest_of_the_second_schema_is_read_and_has_no_licences() -> None:
    plain = json.loads(_manifest().to_json())
    del plain["training"]["licences"]
    old = Manifest.from_json(json.dumps({**plain, "schema_version": 2}))
    assert old.training.licences == {}
    assert old == dataclasses.replace(_manifest(), training=dataclasses.replace(_manifest().training, licences={}))


def test_licences_go_through_the_manifest() -> None:
    licences = {"moxi": "CC BY-NC 4.0", "bijie": "research"}
    training = dataclasses.replace(_manifest().training, licences=licences)
    manifest = dataclasses.replace(_manifest(), training=training)
    assert Manifest.from_json(manifest.to_json()).training.licences == licences


def test_imagery_of_eight_bits_is_normalised_by_imagenets_statistics_unless_told_otherwise() -> None:
    plain = InputContract()
    assert plain.mean == pytest.approx([255 * share for share in (0.485, 0.456, 0.406)])
    assert plain.std == pytest.approx([255 * share for share in (0.229, 0.224, 0.225)])
