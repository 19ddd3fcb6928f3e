"""The manifest: what an artifact says of itself, typed, versioned, validated.

The manifest travels as JSON inside the `.onnx` file (`metadata_props`, key `kda_edge.manifest`) and, in part, inside
the checkpoint. The runtime takes every fact about the model from it; nothing is typed on a command line or guessed.
This module needs nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from kda_edge.certificate import Calibration, Certificate, require, require_sha256
from kda_edge.errors import ManifestError, NewerManifest, quantity

SCHEMA_VERSION: Final = 3  # 1 had `parity` in the certificate's place, and FP32 graphs alone; 2 no licences
METADATA_KEY: Final = "kda_edge.manifest"
INPUT_NAME: Final = "image"  # of the graph: raw pixels (N, 3, T, T)
OUTPUT_NAME: Final = "probability"  # of the graph: of landslide, (N, 1, T, T), 0..1
STRIDE_PX: Final = 32  # the encoder's coarsest stride: tile sides are multiples of it
PRECISIONS: Final = ("fp32", "fp16", "int8")
TARGETS: Final = ("any", "cpu", "tensorrt")  # engines that a graph was made for
PIXEL_TYPES: Final = ("uint8", "uint16", "int16", "float32")

_T = TypeVar("_T")


@dataclass(frozen=True)
class InputContract:
    """The pixels that a model was trained on, and so the only ones that it may be given.

    Attributes:
        bands: names in the order of the channels.
        pixel_type: data type of the imagery, one of `PIXEL_TYPES`.
        value_range: least and largest value that the imagery can hold, in its own units.
        mean: per band, in the units of the imagery; subtracted inside the graph.
        std: per band, in the units of the imagery; divided by inside the graph.
        gsd_m: finest and coarsest ground sampling distance trained on, metres; None where nobody knows.
    """

    bands: tuple[str, ...] = ("red", "green", "blue")
    pixel_type: str = "uint8"
    value_range: tuple[float, float] = (0.0, 255.0)
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    gsd_m: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        require(len(self.bands) == 3, f"input.bands must name three bands, not {len(self.bands)}")
        require(
            self.pixel_type in PIXEL_TYPES, f"input.pixel_type must be one of {PIXEL_TYPES}, not {self.pixel_type!r}"
        )
        low, high = self.value_range
        require(
            math.isfinite(low) and math.isfinite(high) and low < high, "input.value_range must be finite, low < high"
        )
        for name, values in (("mean", self.mean), ("std", self.std)):
            require(len(values) == len(self.bands), f"input.{name} must have one value a band")
            require(all(map(math.isfinite, values)), f"input.{name} must be finite")
        require(min(self.std) > 0, "input.std must be above 0")
        if self.gsd_m is not None:
            require(0 < self.gsd_m[0] <= self.gsd_m[1], "input.gsd_m must be finest then coarsest, above 0")


@dataclass(frozen=True)
class TrainingRecord:
    """How a student came to be, and how good it was on groups that it never saw.

    Attributes:
        data: the sources it learned from, by name.
        held_out: the groups that it never saw, by name.
        command: the command line that trained it.
        seed: the random seed of the run.
        epochs: the epochs that were run.
        metrics: figures on the held-out groups, `{group: {metric: value}}`, each 0..1.
        teacher: what its backbone was distilled from, and whose answers it learned, a sentence; empty: nothing.
        licences: terms of the imagery that it learned from, by source, as its data file says them; they may bind what
            is made with the weights. Empty: the file says none.
    """

    data: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    command: str = ""
    seed: int = 0
    epochs: int = 0
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    teacher: str = ""
    licences: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """All that the runtime knows about a model.

    Attributes:
        variant: name of the student's size, as in `kda_edge.networks.student.VARIANTS`.
        parameters: learned numbers in the whole student.
        checkpoint_sha256: digest of the student's weights (`kda_edge.networks.checkpoint.weights_digest`).
        tile_px: side of the square tile that the graph takes, a multiple of 32.
        input: the pixels that it may be given.
        classes: names of the classes by id.
        threshold: landslide probability from which a pixel counts as landslide, 0..1, both excluded.
        precision: of the graph, one of `PRECISIONS`.
        target: engines that the graph was made for, one of `TARGETS`; others run it too, and slower.
        islands: modules that a search for sensitive layers kept out of the precision, beyond the rules.
        calibration: what the ranges of an INT8 graph were measured on; None in other precisions.
        sampling: `gridsample`, or `gather` where GridSample was written out.
        fallback: name of the artifact beside this one that takes over where INT8 is not faster; empty: none.
        opset: ONNX operator set of the graph.
        training: how the student came to be.
        certificate: the evidence that the graph answers as the checkpoint does; None: there is none.
        package_version: of the kda-edge that wrote this.
        schema_version: of this manifest.
    """

    variant: str
    parameters: int
    checkpoint_sha256: str
    tile_px: int
    package_version: str
    certificate: Certificate | None = None
    input: InputContract = InputContract()
    classes: tuple[str, ...] = ("background", "landslide")
    threshold: float = 0.5
    precision: str = "fp32"
    target: str = "any"
    islands: tuple[str, ...] = ()
    calibration: Calibration | None = None
    sampling: str = "gridsample"
    fallback: str = ""
    opset: int = 19
    training: TrainingRecord = field(default_factory=TrainingRecord)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        require(self.schema_version == SCHEMA_VERSION, f"schema_version must be {SCHEMA_VERSION}")
        require(bool(self.variant), "variant must not be empty")
        require(self.parameters > 0, "parameters must be above 0")
        require_sha256("checkpoint_sha256", self.checkpoint_sha256)
        require(
            self.tile_px > 0 and self.tile_px % STRIDE_PX == 0,
            f"tile_px must be a multiple of {STRIDE_PX}, not {self.tile_px}",
        )
        require(len(self.classes) == 2, "classes must be background and landslide")
        require(0 < self.threshold < 1, f"threshold must lie between 0 and 1, not {self.threshold}")
        require(self.precision in PRECISIONS, f"precision must be one of {PRECISIONS}, not {self.precision!r}")
        require(self.target in TARGETS, f"target must be one of {TARGETS}, not {self.target!r}")
        require(self.sampling in ("gridsample", "gather"), f"sampling is unknown: {self.sampling!r}")
        require(
            (self.calibration is not None) == (self.precision == "int8"), "calibration belongs to int8, and to it alone"
        )
        require("/" not in self.fallback and "\\" not in self.fallback, "fallback must be a name, not a path")

    def to_json(self) -> str:
        """Return the manifest as JSON, keys sorted: equal manifests give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest.

        Raises:
            ManifestError: not JSON, a field missing, unknown, of the wrong type or out of range; the field is named.
            NewerManifest: written by a later schema than this package knows.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ManifestError(f"the manifest is not JSON ({error}); export the model again with kda-export") from None
        if not isinstance(data, dict):
            raise ManifestError("the manifest is not a JSON object; export the model again with kda-export")
        version = data.get("schema_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ManifestError("the manifest has no schema_version; export the model again with kda-export")
        if version > SCHEMA_VERSION:
            raise NewerManifest(schema_version=version, known_version=SCHEMA_VERSION)
        if version == 1:  # FP32 graphs, compared but not bound to a digest: no certificate
            data = {name: value for name, value in data.items() if name != "parity"}
        return from_plain(cls, {**data, "schema_version": SCHEMA_VERSION}, where="manifest")


def from_plain(kind: type[_T], data: object, *, where: str) -> _T:
    """Build the frozen dataclass `kind` from plain JSON or checkpoint data, each field checked by its type.

    Raises:
        ManifestError: a field is missing, unknown or of the wrong type; `where` and the field are named.
    """
    if not isinstance(data, dict):
        raise ManifestError(f"{where} must be an object, not {type(data).__name__}")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is a dataclass by contract
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ManifestError(f"{where} has an unknown field {unknown[0]!r}; it may have {', '.join(known)}")
    for name, spec in known.items():
        if name not in data and spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ManifestError(f"{where} lacks the field {name!r}")
    return kind(**{name: _typed(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _typed(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast("type[Any]", hint), value, where=where)
    if origin is tuple and isinstance(value, (list, tuple)):
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise ManifestError(f"{where} must have {quantity(len(arguments), 'value')}, not {len(value)}")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(
            _typed(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is dict and isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _typed(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    expected = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ManifestError(f"{where} must be {expected}, not {value!r:.80}")
