"""Both phases from one command: distil the backbone, then learn to segment with it.

`--config FILE` is TOML with two optional tables whose keys are the fields of `DistillConfig` and `SegmentConfig`:

    [distill]
    teacher = "vit_large_patch14_dinov2.lvd142m"
    epochs = 200

    [segment]
    variant = "base"
    epochs = 200
    finish_px = 512

What is not given has the paper's value. The two phases stay what they are alone: the same files, the same weights.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kda_edge.errors import ManifestError, TrainingError, UsageError
from kda_edge.manifest import from_plain
from kda_edge.paths import exists

from .data.data_file import DataSet
from .distillation.config import DistillConfig
from .distillation.distill import distill
from .loops.known_data import known_data
from .loops.run_state import run_of, settings_of
from .segmentation.config import SegmentConfig
from .segmentation.segment import segment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class FitConfig:
    """The settings of both phases.

    Attributes:
        distill: of phase 1.
        segment: of phase 2; its `backbone` is filled in.
    """

    distill: DistillConfig
    segment: SegmentConfig

    def __post_init__(self) -> None:
        if self.segment.variant.partition("+")[0] != self.distill.variant:
            raise UsageError(
                f"phase 1 distils a backbone for {self.distill.variant!r} and phase 2 trains {self.segment.variant!r}; "
                "name the same student in both, in phase 2 with another head if you like"
            )
        if self.segment.init or self.segment.backbone or self.segment.encoder_weights:
            raise UsageError("fit gives phase 2 the backbone of phase 1; leave init, backbone and encoder_weights out")


def read_fit_config(path: Path | None, overrides: Mapping[str, Mapping[str, Any]]) -> FitConfig:
    """Read both tables.

    Args:
        path: TOML; None: the paper's settings.
        overrides: by table, what the command line says; stronger than the file.

    Raises:
        UsageError: not TOML, an unknown table or field, or a value that can't be right; it is named.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"there is no config {path}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not TOML: {error}") from error
    unknown = sorted(set(content) - {"distill", "segment"})
    if unknown:
        raise UsageError(f"{path} may hold [distill] and [segment], not {unknown[0]!r}")
    distill_table = {**content.get("distill", {}), **overrides.get("distill", {})}
    segment_table = {**content.get("segment", {}), **overrides.get("segment", {})}
    # One student for both, said once.
    if "variant" not in segment_table and "variant" in distill_table:
        segment_table["variant"] = distill_table["variant"]
    elif "variant" not in distill_table and "variant" in segment_table:
        distill_table["variant"] = segment_table["variant"].partition("+")[0]
    try:
        return FitConfig(
            from_plain(DistillConfig, distill_table, where="distill"),
            from_plain(SegmentConfig, segment_table, where="segment"),
        )
    except ManifestError as error:
        raise UsageError(f"{path or 'the options'}: {error}") from error


def fit(
    config: FitConfig,
    images: DataSet,
    data: DataSet,
    out: Path,
    *,
    command: str = "",
    resume: bool = False,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Run both phases, in `out/distill` and `out/segment`, and return the path of the best checkpoint.

    Args:
        config: settings of both.
        images: what phase 1 looks at.
        data: what phase 2 learns from.
        out: folder.
        command: for the training record.
        resume: go on where the run stopped, in whichever phase.
        cache: folder for the teacher's features.
        progress: called with a label, steps done and steps in all.

    Raises:
        TrainingError: a run in the way, one that doesn't fit, or whatever `distill` and `segment` raise.
    """
    first, second = out / "distill", out / "segment"
    if exists(second / "last.pt") and not resume:  # before hours of phase 1
        raise TrainingError(f"{second / 'last.pt'} exists; go on with --resume, or choose another folder with --out")
    backbone = first / "distilled.pt"
    if not (resume and exists(backbone) and _is_done(first / "last.pt", config.distill, images)):
        if exists(second / "last.pt") and exists(first / "last.pt"):
            raise TrainingError(
                f"{second / 'last.pt'} was begun from the backbone of a phase 1 that was over; leave [distill] as it "
                "was, or choose another folder with --out"
            )
        backbone = distill(config.distill, images, first, resume=resume, cache=cache, progress=progress)
    settings = dataclasses.replace(config.segment, backbone=str(backbone))
    return segment(settings, data, second, command=command, resume=resume, progress=progress)


def _is_done(last: Path, config: DistillConfig, images: DataSet) -> bool:
    """Whether phase 1 has ended, with these very settings; the teacher need not be opened then."""
    if not exists(last):
        return False
    known, _ = known_data(images, last.parent)
    return int(run_of(last, settings_of(config, images, known))["epochs_done"]) == config.epochs
