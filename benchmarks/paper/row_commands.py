"""The `kda-train` commands of a row of the paper, and the folders that rows share.

A folder is named after what its step is, never after the table: the student that DINOv2-L taught at 0.6/0.4 is in all
four tables and is made once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from kda_edge.errors import UsageError
from kda_edge.networks.imagenet_weights import IMAGENET, IMAGENET_WEIGHTS
from kda_edge.networks.student import VARIANTS

from .experiments import Cell, Step
from .tables import PaperRow

# The paper names sizes of ConvNeXt and no weights. XL was published with ImageNet-22k only; timm has such weights for
# all three sizes. Taken are those without fine-tuning to the 1000 classes of ImageNet-1k: a broad pre-training.
TEACHERS: Final = MappingProxyType(
    {
        "DINOv2-B": "vit_base_patch14_dinov2.lvd142m",
        "DINOv2-L": "vit_large_patch14_dinov2.lvd142m",
        "DINOv2-G": "vit_giant_patch14_dinov2.lvd142m",
        "ConvNeXt-B": "convnext_base.fb_in22k",
        "ConvNeXt-L": "convnext_large.fb_in22k",
        "ConvNeXt-XL": "convnext_xlarge.fb_in22k",
    }
)
SEEN_THROUGH: Final = "DINOv2-B"  # the paper's name of the model inside the discriminator
ENDINGS: Final = (".safetensors", ".pth", ".pt")
RANDOM: Final = "none"
AUGMENTATION: Final = (
    "--scale",
    "1",
    "1",
    "--colour",
    "0",
)  # the paper turns and mirrors; kda-train does more by itself
OURS: Final = (  # options of kda-train that the rows set themselves
    *("--data", "--data-root", "--seed", "--out", "--resume", "--variant", "--epochs", "--batch", "--crop-px"),
    *("--precision", "--device", "--workers", "--threads", "--recompute", "--teacher", "--teacher-weights", "--method"),
    *("--weights", "--discriminator", "--discriminator-weights", "--backbone", "--init", "--encoder-weights"),
)


@dataclass(frozen=True)
class Settings:
    """What all rows have in common; the defaults are the paper's where it gives any.

    Attributes:
        data: folder or TOML file, as for kda-train.
        data_root: where a TOML file's sources lie.
        out: folder of all cells.
        variant: size of the student.
        epochs: of phase 1 and 2.
        batch: of phase 1 and 2.
        crop_px: of phase 1 and 2.
        precision: `auto`, `fp32` or `bf16`.
        threshold: from which a pixel is landslide; None: the one that was best on val.
        weights_dir: folder of state dicts, for teachers and discriminator.
        teacher_of: timm's name of what stands in for a teacher, by the paper's name.
        discriminator: timm's name of the model inside the discriminator; empty: DINOv2-B or its stand-in.
        peer_weights: `imagenet`, `none`, or a folder of state dicts named after the peers.
        distill_options: further options of `kda-train distill`.
        segment_options: further options of `kda-train segment`.
        machine: options that leave the weights as they are, of distill and segment.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        recompute: gradient checkpointing of the student.
    """

    data: Path
    out: Path
    data_root: Path | None = None
    variant: str = "base"
    epochs: tuple[int, int] = (200, 200)
    batch: tuple[int, int] = (8, 16)
    crop_px: tuple[int, int] = (224, 512)
    precision: str = "auto"
    threshold: float | None = 0.5
    weights_dir: Path | None = None
    teacher_of: Mapping[str, str] = field(default_factory=dict)
    discriminator: str = ""
    peer_weights: str = IMAGENET
    distill_options: tuple[str, ...] = ()
    segment_options: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    device: str = "auto"
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise UsageError(f"--variant {self.variant}: there is no such student; choose one of {', '.join(VARIANTS)}")
        if not self.data.exists():
            raise UsageError(f"there is no data file or folder {self.data}; give CAS, or a TOML file, with --data")
        for name, model in (*self.teacher_of.items(), (SEEN_THROUGH, self.seen_through)):
            if name not in TEACHERS:
                raise UsageError(f"the paper has no teacher {name!r}; it has {', '.join(TEACHERS)}")
            if not re.fullmatch(r"[\w.-]+", model):
                raise UsageError(f"{model!r} is no name of a timm model; give one such as {TEACHERS[name]}")
        for word in (*self.distill_options, *self.segment_options):
            name = word.partition("=")[0]
            if name.startswith("--") and any(ours.startswith(name) for ours in OURS):  # argparse takes shortened names
                raise UsageError(f"{name} is set by the table; leave it out of the further options")
        if self.peer_weights not in (IMAGENET, RANDOM) and not Path(self.peer_weights).is_dir():
            raise UsageError(f"--peer-weights {self.peer_weights}: give imagenet, none, or a folder of state dicts")

    @property
    def seen_through(self) -> str:
        """Timm's name of the frozen model inside the discriminator."""
        return self.discriminator or self.model_of(SEEN_THROUGH)

    def model_of(self, teacher: str) -> str:
        """Return timm's name of a teacher of the paper, or of what stands in for it."""
        return self.teacher_of.get(teacher, TEACHERS[teacher])

    def is_stand_in(self, teacher: str) -> bool:
        """Return whether another model than the paper's teaches."""
        return self.model_of(teacher) != TEACHERS[teacher]

    def plain(self) -> dict[str, Any]:
        """Return what decides the figures, as JSON takes it."""
        return {
            "data": str(self.data),
            "data_root": None if self.data_root is None else str(self.data_root),
            "variant": self.variant,
            "epochs_distill": self.epochs[0],
            "epochs_segment": self.epochs[1],
            "batch_distill": self.batch[0],
            "batch_segment": self.batch[1],
            "crop_px_distill": self.crop_px[0],
            "crop_px_segment": self.crop_px[1],
            "precision": self.precision,
            "threshold": self.threshold,
            "teacher_of": dict(self.teacher_of),
            "discriminator": self.seen_through,
            "peer_weights": self.peer_weights,
            "augmentation": f"rotation, flips, {shlex.join(AUGMENTATION)}",
            "distill_options": shlex.join(self.distill_options),
            "segment_options": shlex.join(self.segment_options),
        }


def cell_of(row: PaperRow, split: str, seed: int, settings: Settings) -> Cell:
    """Return the commands of a row with one seed: phase 1 where it has one, phase 2, and the judgement on a split."""
    common: tuple[str, ...] = ("--data", str(settings.data), "--seed", str(seed))
    if settings.data_root is not None:
        common = (*common, "--data-root", str(settings.data_root))
    steps = [_distill(row, seed, common, settings)] if row.method else []
    steps.append(_segment(row, seed, common, settings))
    folder = steps[-1].folder
    result = folder / split / "metrics.json"
    judged = ("evaluate", *common, "--ckpt", str(folder / "best.pt"), "--split", split, "--json", str(result))
    if settings.threshold is not None:
        judged = (*judged, "--threshold", str(settings.threshold))
    steps.append(Step(result.parent, judged, resumable=False, machine=("--device", settings.device)))
    return Cell(f"{row_label(row, settings)}, seed {seed}", tuple(steps), result, {})


def row_label(row: PaperRow, settings: Settings) -> str:
    """Return what a row is called: as in the paper, but a stand-in by its own name and nothing else."""
    if not row.method or not settings.is_stand_in(row.teacher):
        return row.label
    model = settings.model_of(row.teacher)
    if row.teacher in row.label:
        return row.label.replace(row.teacher, model)
    return f"{row.label}, taught by {model}"


def missing_weights(row: PaperRow, settings: Settings) -> str:
    """Return which weights file a row needs that its folder lacks; empty: none."""
    if not row.method:
        peers = settings.peer_weights
        lacking = peers not in (IMAGENET, RANDOM) and not _file_in(Path(peers), row.network)
        return f"{peers} has no {row.network}{{{','.join(ENDINGS)}}}" if lacking else ""
    stand_in_for = {settings.model_of(row.teacher): f"--teacher-of {row.teacher}=MODEL"}
    if row.method == "kda":
        stand_in_for.setdefault(settings.seen_through, "--discriminator MODEL")
    folder = settings.weights_dir
    absent = [model for model in stand_in_for if folder is not None and not _file_in(folder, model)]
    if not absent:
        return ""
    file = f"{absent[0]}{{{','.join(ENDINGS)}}}"
    return f"{folder} has no {file} (what is there can stand in: {stand_in_for[absent[0]]})"


def _distill(row: PaperRow, seed: int, common: tuple[str, ...], settings: Settings) -> Step:
    folder = settings.out / f"distill-{_student_name(row, settings)}-seed{seed}"
    teacher = settings.model_of(row.teacher)
    arguments = ["distill", *common, "--out", str(folder), "--variant", settings.variant]
    arguments += ["--teacher", teacher, *_weights_option("--teacher-weights", teacher, settings)]
    arguments += ["--method", row.method]
    if row.method == "kda":
        arguments += ["--weights", *map(str, row.weights), "--discriminator", settings.seen_through]
        arguments += _weights_option("--discriminator-weights", settings.seen_through, settings)
    arguments += [*_phase(0, settings), *AUGMENTATION, *settings.distill_options]
    return Step(folder, tuple(arguments), machine=_machine(settings, pvt=True))


def _segment(row: PaperRow, seed: int, common: tuple[str, ...], settings: Settings) -> Step:
    if row.method:
        name = f"{_student_name(row, settings)}-{row.network or 'dcf'}"
        network = f"{settings.variant}+{row.network}" if row.network else settings.variant
        start = [
            "--backbone",
            str(settings.out / f"distill-{_student_name(row, settings)}-seed{seed}" / "distilled.pt"),
        ]
    else:
        name = network = row.network
        start = _peer_start(row.network, settings)
    folder = settings.out / f"segment-{name}-seed{seed}"
    arguments = ["segment", *common, "--out", str(folder), "--variant", network, *start]
    arguments += [*_phase(1, settings), *AUGMENTATION, *settings.segment_options]
    return Step(folder, tuple(arguments), machine=_machine(settings, pvt=bool(row.method)))


def _student_name(row: PaperRow, settings: Settings) -> str:
    weights = f"-{row.weights[0]}-{row.weights[1]}" if row.method == "kda" else ""
    return f"{row.method}-{settings.model_of(row.teacher)}{weights}"


def _phase(index: int, settings: Settings) -> list[str]:
    sizes = {"--epochs": settings.epochs, "--batch": settings.batch, "--crop-px": settings.crop_px}
    words = [word for option, value in sizes.items() for word in (option, str(value[index]))]
    return [*words, "--precision", settings.precision]


def _machine(settings: Settings, *, pvt: bool) -> tuple[str, ...]:
    recompute = ("--recompute",) if settings.recompute and pvt else ()
    return ("--device", settings.device, *settings.machine, *recompute)


def _peer_start(peer: str, settings: Settings) -> list[str]:
    if settings.peer_weights == RANDOM or peer not in IMAGENET_WEIGHTS:
        return []
    if settings.peer_weights == IMAGENET:
        return ["--encoder-weights", IMAGENET]
    file = _file_in(Path(settings.peer_weights), peer)
    return ["--encoder-weights", str(file)] if file else []


def _weights_option(option: str, model: str, settings: Settings) -> list[str]:
    file = _file_in(settings.weights_dir, model) if settings.weights_dir is not None else None
    return [option, str(file)] if file else []


def _file_in(folder: Path, name: str) -> Path | None:
    return next((folder / f"{name}{ending}" for ending in ENDINGS if (folder / f"{name}{ending}").is_file()), None)
