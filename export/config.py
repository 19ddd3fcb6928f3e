"""The configuration of an export; needs nothing but the core's torch-free half."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kda_edge.certificate import FASTER_BY, Budget
from kda_edge.errors import ManifestError, UsageError
from kda_edge.manifest import STRIDE_PX, InputContract

CALIBRATION_METHODS: Final = ("minmax", "entropy", "percentile")
CALIBRATION_TILES_MIN: Final = 16
# By precision: what may be lost unless the user says otherwise. FP16 and INT8 are held to what they do to the map.
MAX_ABS: Final[dict[str, float | None]] = {"fp32": 1e-4, "fp16": None, "int8": None}
IOU_POINTS: Final[dict[str, float | None]] = {"fp32": None, "fp16": 0.1, "int8": 0.5}


@dataclass(frozen=True)
class DeclaredInput:
    """What the user says of the pixels of a checkpoint that says nothing itself; None stands for "not said".

    Attributes:
        pixel_type: one of `kda_edge.manifest.PIXEL_TYPES`.
        value_range: least and largest value that the imagery can hold.
        mean: per band, in the units of the imagery.
        std: per band, in the units of the imagery.
    """

    pixel_type: str | None = None
    value_range: tuple[float, float] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise UsageError("--mean and --std belong together; give both, in the units of the imagery")
        if self.mean is None and self.said_anything:
            raise UsageError(
                "--pixel-type and --value-range change the units; give --mean and --std in those units as well"
            )
        if self.pixel_type not in (None, "uint8") and self.value_range is None:
            raise UsageError(f"--pixel-type {self.pixel_type} needs --value-range, such as --value-range 0 10000")
        contract = self.contract()
        if contract.pixel_type != "float32" and max(contract.std) < 1:
            raise UsageError(
                f"a std of {max(contract.std):g} says that {contract.pixel_type} imagery holds nothing; give --mean "
                "and --std in the units of the imagery (0..1 statistics of 8-bit imagery times 255)"
            )

    @property
    def said_anything(self) -> bool:
        """Whether any option was given."""
        return any(value is not None for value in (self.pixel_type, self.value_range, self.mean, self.std))

    def contract(self) -> InputContract:
        """Return the contract: what was said, and 8-bit RGB with ImageNet statistics where nothing was.

        Raises:
            UsageError: what was said contradicts itself.
        """
        default = InputContract()
        try:
            return InputContract(
                pixel_type=self.pixel_type or default.pixel_type,
                value_range=self.value_range or default.value_range,
                mean=self.mean or default.mean,
                std=self.std or default.std,
            )
        except ManifestError as error:
            raise UsageError(f"{error}; correct --pixel-type, --value-range, --mean or --std") from error


@dataclass(frozen=True)
class CalibrationConfig:
    """What an INT8 graph's ranges are measured on.

    Attributes:
        imagery: image, scene or folder of them, without masks; None: not given.
        count: tiles to draw.
        method: of turning values into ranges, one of `CALIBRATION_METHODS`.
        seed: that the tiles are drawn with.
    """

    imagery: Path | None = None
    count: int = 64
    method: str = "percentile"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < CALIBRATION_TILES_MIN:
            raise UsageError(f"--calib-count must be {CALIBRATION_TILES_MIN} or more, not {self.count}")
        if self.method not in CALIBRATION_METHODS:
            raise UsageError(f"--calib-method must be one of {', '.join(CALIBRATION_METHODS)}, not {self.method!r}")
        if self.seed < 0:
            raise UsageError(f"--calib-seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True)
class BudgetConfig:
    """What may be lost, None for the precision's own default.

    Attributes:
        max_abs: largest difference of the probability, 0..1; FP32 has 1e-4, the others are held to IoU.
        iou_points: points of landslide IoU, 0..100; FP16 has 0.1, INT8 0.5.
        faster_by: share of the median latency of the best other precision that INT8 must save.
        force: take an INT8 graph that saves less, and record that.
    """

    max_abs: float | None = None
    iou_points: float | None = None
    faster_by: float = FASTER_BY
    force: bool = False

    def __post_init__(self) -> None:
        for name, value, most in (
            ("--max-difference", self.max_abs, 1.0),
            ("--max-iou-loss", self.iou_points, 100.0),
            ("--min-gain", self.faster_by, 1.0),
        ):
            if value is not None and not 0 <= value <= most:
                raise UsageError(f"{name} must lie in 0..{most:g}, not {value:g}")

    def of(self, precision: str) -> Budget:
        """Return the limits for a precision."""
        iou_points = self.iou_points if self.iou_points is not None else IOU_POINTS[precision]
        max_abs = self.max_abs if self.max_abs is not None else MAX_ABS[precision]
        return Budget(max_abs, iou_points, self.faster_by if precision == "int8" else None)


@dataclass(frozen=True)
class ExportConfig:
    """One export.

    Attributes:
        checkpoint: of kda-train, or a published KDA state dict.
        artifact: where the graph goes; None is beside the checkpoint, under its name.
        tile_px: side of the tile, a multiple of 32; None is what the checkpoint was trained at.
        tiles: image, scene or folder of them to verify on; None is generated tiles and the example scene alone.
        threshold: probability from which a pixel counts as landslide; None is what the checkpoint says.
        input: for a checkpoint that does not describe its input.
        precision: one of `kda_edge.manifest.PRECISIONS`.
        target: engines to make the graph for: `cpu`, `tensorrt`, or None for what suits the precision and this machine.
        labelled: folder with `images/` and `masks/` to hold the IoU to; None: no labels.
        calibration: for INT8.
        budget: what may be lost.
        gridsample: keep GridSample; False writes it out as gathers; None: as suits the target (`pipeline.sampling_of`).
        portable: write the flavour for QGIS Deepness and WebODM GeoDeep instead of ours.
    """

    checkpoint: Path
    artifact: Path | None = None
    tile_px: int | None = None
    tiles: Path | None = None
    threshold: float | None = None
    input: DeclaredInput = DeclaredInput()
    precision: str = "fp32"
    target: str | None = None
    labelled: Path | None = None
    calibration: CalibrationConfig = CalibrationConfig()
    budget: BudgetConfig = BudgetConfig()
    gridsample: bool | None = None
    portable: bool = False

    def __post_init__(self) -> None:
        if self.precision == "int8" and self.calibration.imagery is None:
            raise UsageError(
                f"--int8 needs imagery to calibrate on: give --calib with a scene, or a folder of at least "
                f"{CALIBRATION_TILES_MIN} tiles like those it will map; no masks are needed"
            )
        if self.precision != "int8" and self.calibration.imagery is not None:
            raise UsageError("--calib belongs to --int8; other precisions are not calibrated")
        if self.tile_px is not None and (self.tile_px < STRIDE_PX or self.tile_px % STRIDE_PX):
            nearest_px = max(STRIDE_PX, round(self.tile_px / STRIDE_PX) * STRIDE_PX)
            raise UsageError(
                f"--tile must be a multiple of {STRIDE_PX} px, not {self.tile_px}; give --tile {nearest_px}"
            )
        if self.threshold is not None and not (math.isfinite(self.threshold) and 0 < self.threshold < 1):
            raise UsageError(f"--threshold must lie between 0 and 1, not {self.threshold:g}; give 0.5, say")
        if self.artifact is not None and self.artifact.suffix != ".onnx":
            raise UsageError(
                f"the output must end in .onnx, not {self.artifact.name!r}; give -o {self.artifact.stem}.onnx"
            )

    @property
    def artifact_path(self) -> Path:
        """Where the artifact goes: by default beside the checkpoint, its name told by precision and flavour."""
        if self.artifact is not None:
            return self.artifact
        endings = [self.precision] * (self.precision != "fp32") + ["portable"] * self.portable
        return self.checkpoint.with_name("_".join([self.checkpoint.stem, *endings]) + ".onnx")

    @property
    def fallback_path(self) -> Path:
        """Where the FP16 graph goes that takes over on a device on which INT8 is not faster."""
        return self.artifact_path.with_name(f"{self.artifact_path.stem}_fallback.onnx")
