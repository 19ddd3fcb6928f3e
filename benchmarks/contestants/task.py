"""The task of `kda-bench compare`, what a lap of it tells, and the protocol of a contestant."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from kda_edge.errors import UsageError
from kda_edge.runtime.engines.artifact import Artifact, read_artifact

Settings: TypeAlias = Mapping[str, str | int | float]  # ready for JSON


@dataclass(frozen=True)
class MappingTask:
    """Map a scene by tiles, with the weights of one artifact; the same for each contestant.

    Attributes:
        artifact: the `.onnx` file; None is the bundled student.
        checkpoint: the `.pt` file with the same weights, for contestants that run PyTorch; None: there is none.
        bands: 1-based numbers of the scene's bands, in the model's order.
        overlap_px: least overlap of neighbouring tiles.
        threads: that each contestant computes with.
        batch: tiles a call; None lets each choose what is fastest for it, before the clock starts.
        engine: of our own contestants, one of `kda_edge.runtime.engines.engine_names.ENGINES`.
        allow_unverified: take an artifact without valid evidence too.
        device: that peers in PyTorch run on, `cpu` or `cuda`.
        precision: that they compute in, `fp32`, `fp16` or `bf16`.
    """

    artifact: Path | None
    checkpoint: Path | None
    bands: tuple[int, int, int]
    overlap_px: int
    threads: int
    batch: int | None = None
    engine: str = "auto"
    allow_unverified: bool = False
    device: str = "cpu"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda") or self.precision not in ("fp32", "fp16", "bf16"):
            raise UsageError(f"there is no device {self.device!r} with precision {self.precision!r}")
        if self.threads < 1 or (self.batch is not None and self.batch < 1):
            raise UsageError("threads and batch must be 1 or more")

    def model(self) -> Artifact:
        """Return the artifact, read and checked.

        Raises:
            ArtifactError, ManifestError, Unverified: see `kda_edge.runtime.engines.artifact.read_artifact`.
        """
        return read_artifact(self.artifact, allow_unverified=self.allow_unverified)

    def to_plain(self) -> dict[str, object]:
        """Return the task as plain JSON values."""
        plain = dataclasses.asdict(self)
        return {name: str(value) if isinstance(value, Path) else value for name, value in plain.items()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> MappingTask:
        """Return the task that `to_plain` was made from."""
        values = dict(plain)
        for name in ("artifact", "checkpoint"):
            value = values[name]
            values[name] = None if value is None else Path(str(value))
        bands = values["bands"]
        assert isinstance(bands, (list, tuple))
        values["bands"] = tuple(bands)
        return cls(**values)  # type: ignore[arg-type]  # as to_plain wrote them


@dataclass(frozen=True)
class Lap:
    """One run over a scene.

    Attributes:
        seconds: on the clock.
        tiles: that the network answered.
        map_path: GeoTIFF whose bands 1 and 2 are class (0, 1, 255) and probability (0..254, 255); None: it makes none.
    """

    seconds: float
    tiles: int
    map_path: Path | None


class Contestant(Protocol):
    """Does the task, with its model open and its settings chosen."""

    @property
    def settings(self) -> Settings:
        """All that a reader needs to judge whether it was treated fairly."""
        ...

    def run(self, scene_path: Path, out_dir: Path) -> Lap:
        """Map a scene into a folder that exists."""
        ...
