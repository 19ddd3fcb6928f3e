"""Both phases from one command: distil the backbone, then learn to segment with it.

`--config FILE` is TOML with the tables `[distill]` and `[segment]`, as `config_file` reads them; what is not given has
the paper's value. The two phases stay what they are alone: the same files, the same weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kda_edge.errors import TrainingError, UsageError
from kda_edge.paths import exists

from .configuration.config_file import settings_from_table
from .data.data_file import DataSet
from .distillation.config import DistillConfig
from .distillation.distill import distill
from .loops.known_data import known_data
from .loops.run_state import run_of, settings_of
from .segmentation.config import SegmentConfig
from .segmentation.segment import segment


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
        if self.segment.seed != self.distill.seed:
            raise UsageError(
                f"phase 1 has the seed {self.distill.seed} and phase 2 {self.segment.seed}; give both one, or images "
                "that phase 2 is judged on are seen by phase 1"
            )
        if self.segment.init or self.segment.backbone or self.segment.encoder_weights:
            raise UsageError("fit gives phase 2 the backbone of phase 1; leave init, backbone and encoder_weights out")


def fit_config(
    tables: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Mapping[str, Any]], path: Path | None = None
) -> FitConfig:
    """Return the settings of both phases.

    Args:
        tables: of a configuration file, as `read_tables` returns them; the paper's settings where they say nothing.
        overrides: by table, what the command line says; stronger than the file.
        path: of the file, for messages.

    Raises:
        UsageError: an unknown field, or a value that can't be right; it is named.
    """
    first, second = ({**tables.get(name, {}), **overrides.get(name, {})} for name in ("distill", "segment"))
    # One student and one seed for both, said once.
    if "variant" not in first and isinstance(second.get("variant"), str):
        first["variant"] = second["variant"].partition("+")[0]
    for name in ("variant", "seed"):
        for table, other in ((first, second), (second, first)):
            if name in other:
                table.setdefault(name, other[name])
    return FitConfig(
        settings_from_table(DistillConfig, first, where="distill", path=path),
        settings_from_table(SegmentConfig, second, where="segment", path=path),
    )


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
        backbone = distill(
            config.distill, images, first, command=command, resume=resume, cache=cache, progress=progress
        )
    settings = dataclasses.replace(config.segment, backbone=str(backbone))
    return segment(settings, data, second, command=command, resume=resume, progress=progress)


def _is_done(last: Path, config: DistillConfig, images: DataSet) -> bool:
    """Whether phase 1 has ended, with these very settings; the teacher need not be opened then."""
    if not exists(last):
        return False
    known, _ = known_data(images, last.parent)
    return int(run_of(last, settings_of(config, images, known))["epochs_done"]) == config.epochs
