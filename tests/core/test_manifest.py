"""The manifest survives a round trip and refuses what does not fit, naming the field."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from kda_edge.errors import ManifestError, NewerManifest
from kda_edge.manifest import SCHEMA_VERSION, InputContract, Manifest, Parity, TileParity, TrainingRecord


def _manifest() -> Manifest:
    tile = TileParity("noise", "ab" * 32, 2e-6, 1e-7, 1.0)
    return Manifest(
        variant="nano",
        parameters=3_308_802,
        checkpoint_sha256="0f" * 32,
        tile_px=256,
        parity=Parity(1e-4, (tile,), {"onnxruntime": "1.20"}),
        package_version="0.1.0",
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
        (("input", "colour"), 1, "unknown field 'colour'"),
        (("parity", "tiles"), [{"tile": "x"}], "lacks the field 'sha256'"),
        (("parity", "budget_max_abs"), None, "budget_max_abs must be float"),
        (("training", "metrics"), {"a": {"iou": "high"}}, "metrics.a.iou must be float"),
    ],
)
def test_a_field_that_does_not_fit_is_named(path: tuple[str, ...], value: object, reason: str) -> None:
    plain: dict[str, Any] = json.loads(_manifest().to_json())
    part = plain
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


def test_parity_holds_only_where_something_was_compared_and_lies_within_the_budget() -> None:
    parity = _manifest().parity
    assert parity.holds
    assert parity.max_abs == 2e-6
    assert not dataclasses.replace(parity, tiles=()).holds
    assert not dataclasses.replace(parity, budget_max_abs=1e-6).holds
