"""What an export is asked to do; needs nothing but the core's torch-free half."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from kda_edge.errors import ManifestError, UsageError
from kda_edge.manifest import STRIDE_PX, InputContract


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
class ExportConfig:
    """One export.

    Attributes:
        checkpoint: of kda-train, or a published KDA state dict.
        artifact: where the graph goes; None is beside the checkpoint, under its name.
        tile_px: side of the tile, a multiple of 32; None is what the checkpoint was trained at.
        tiles: image, scene or folder of them to verify on; None is generated tiles and the example scene alone.
        threshold: probability from which a pixel counts as landslide; None is what the checkpoint says.
        input: for a checkpoint that does not describe its input.
    """

    checkpoint: Path
    artifact: Path | None = None
    tile_px: int | None = None
    tiles: Path | None = None
    threshold: float | None = None
    input: DeclaredInput = DeclaredInput()

    def __post_init__(self) -> None:
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
        """Where the artifact goes."""
        return self.artifact if self.artifact is not None else self.checkpoint.with_suffix(".onnx")
