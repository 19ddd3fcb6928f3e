"""A run on a card: teachers from labels, then students from labels and teachers, judged on what none has seen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.metrics import best_threshold, mean_iou_at
from kda_edge.networks.by_name import network_from_name, require_network
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kda_edge.networks.imagenet_weights import load_encoder_weights
from kda_edge.networks.network import Network

from ..data.labels import IGNORED
from ..loops.metric_reports import write_json
from ..loops.output_places import require_folder
from ..segmentation.evaluate import Evaluation
from .card_colours import CardColours
from .card_crops import CropSampler
from .card_images import CardImages
from .card_judging import evaluate_on_card
from .card_training import Normalise, Progress, Span, train_for
from .packed_set import read_packed_set

LOGGER: Final = logging.getLogger(__name__)
TOLD_S: Final = 10.0


@dataclass(frozen=True)
class CardSettings:
    """Settings of a run.

    Attributes:
        learn_from: splits.
        judge_on: splits.
        teachers: variants of the networks that learn from labels first; empty: none.
        students: variants, or checkpoints to go on from.
        weights: folder with a state dict `NAME.pt` for a backbone `NAME` of timm; None: encoders begin fresh.
        teacher_s: time of the teachers.
        student_s: time of the students.
        batch: crops a step.
        crop_px: side of a crop.
        scale: smallest and largest magnification.
        steps: at most, of each of the two; 0: as many as there is time for.
        seed: of everything random.
        threshold: of the students; None: the best one on `judge_on`, mean over sources.
        gsd_m: of the imagery, finest and coarsest, metres; None: nobody knows.
    """

    learn_from: tuple[str, ...] = ("train",)
    judge_on: tuple[str, ...] = ("val",)
    teachers: tuple[str, ...] = ("tf_efficientnet_lite2+unet", "tf_efficientnet_lite2+upernet")
    students: tuple[str, ...] = ("tf_efficientnet_lite0+fpn",)
    weights: Path | None = None
    teacher_s: float = 150.0
    student_s: float = 185.0
    batch: int = 64
    crop_px: int = 256
    scale: tuple[float, float] = (0.5, 2.0)
    steps: int = 0
    seed: int = 0
    threshold: float | None = None
    gsd_m: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.students:
            raise UsageError("no student is named; give --students")
        for name in (*self.teachers, *self.students):
            if not name.endswith(".pt"):
                require_network(name)
        if min(self.teacher_s, self.student_s) <= 0 or min(self.batch, self.crop_px) < 1 or self.steps < 0:
            raise UsageError("times, --batch and --crop-px must be above 0, and --steps not below")
        if self.crop_px % 32:
            raise UsageError(f"--crop-px must be a multiple of 32, not {self.crop_px}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"--scale must be two magnifications above 0, the lower one first, not {self.scale}")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise UsageError(f"--threshold must lie between 0 and 1, not {self.threshold:g}")


class CardRun:
    """A run: its imagery on the device, its networks, what it writes.

    Args:
        packed_set: file.
        out: folder, for checkpoints and figures.
        settings: of the run.
        device: that everything is on.
        command: for the training record.

    Raises:
        UsageError: nothing to learn from.
        DataError: the file is no packed set.
    """

    def __init__(
        self, packed_set: Path, out: Path, settings: CardSettings, device: torch.device, command: str = ""
    ) -> None:
        require_folder(out, "--out")
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.settings, self.command, self.device = out, settings, command, device
        self.half = device.type == "cuda"
        torch.manual_seed(settings.seed)
        self.contract = InputContract(gsd_m=settings.gsd_m)
        self.images = CardImages(read_packed_set(packed_set), device)
        self.normalise = Normalise(self.contract, device)
        self.learned = self._of(settings.learn_from)
        self.judged = self._of(settings.judge_on)
        if not self._labelled():
            raise UsageError(f"{packed_set} has no labels in {', '.join(settings.learn_from)}; see --learn-from")
        LOGGER.info("%d images to learn from, %d to judge on", len(self.learned), len(self.judged))

    def run(self) -> list[Path]:
        """Train teachers, then students; return the students' checkpoints."""
        settings, teachers = self.settings, []
        if settings.teachers:
            teachers = [self._network(name) for name in settings.teachers]
            self._train("teachers", teachers, self._labelled(), settings.teacher_s)
            for network in teachers:
                self._keep("teacher", network, teachers, self._judge("teacher", [network]))
            self._judge("teachers", teachers)
        students = [self._network(name) for name in settings.students]
        chosen = self.learned if teachers else self._labelled()
        unjudged = Evaluation({})

        def keep() -> None:
            for one in students:
                self._keep("student", one, teachers, unjudged)

        self._train("students", students, chosen, settings.student_s, teachers=teachers, keep=keep)
        return [self._keep("student", one, teachers, self._judge("student", [one])) for one in students]

    def _of(self, splits: Sequence[str]) -> list[int]:
        return [index for index, one in enumerate(self.images.facts) if one.split in splits]

    def _labelled(self) -> list[int]:
        return [index for index in self.learned if bool((self.images.whole(index)[1] != IGNORED).any())]

    def _network(self, name: str) -> Network:
        if name.endswith(".pt"):
            network = read_checkpoint(name).student
        else:
            network = network_from_name(name)
            weights = self.settings.weights
            file = weights / f"{name.partition('+')[0]}.pt" if weights else None
            if file is not None and file.is_file():
                load_encoder_weights(network, str(file))
                LOGGER.info("%s: encoder from %s", name, file.name)
            else:
                LOGGER.warning("%s: its encoder begins fresh; for other weights put its file into --weights", name)
        return network.to(self.device).to(memory_format=torch.channels_last)

    def _train(
        self,
        what: str,
        networks: list[Network],
        chosen: list[int],
        seconds: float,
        *,
        teachers: Sequence[Network] = (),
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        settings = self.settings
        seed = settings.seed * 1000 + (1 if teachers else 0)
        sampler = CropSampler(self.images, chosen, crop_px=settings.crop_px, magnification=settings.scale, seed=seed)
        train_for(
            networks,
            sampler,
            CardColours(self.device, seed),
            self.normalise,
            Span(seconds, batch=settings.batch, steps=settings.steps),
            teachers=teachers,
            half=self.half,
            told=_teller(what),
            keep=keep,
        )

    def _judge(self, role: str, networks: Sequence[Network]) -> Evaluation:
        """Return how networks agree with the labels that they are judged on, and write it."""
        found = evaluate_on_card(networks, self.images, self.judged, self.normalise, half=self.half)
        if not self.judged:
            return found
        threshold = best_threshold(found.by_source())
        name = "_".join([role, *(network.variant.replace("+", "_") for network in networks)])
        content = {
            "networks": [network.variant for network in networks],
            "threshold": threshold,
            "mean_iou_of_sources": {
                f"{one / 100:.2f}": round(mean_iou_at(found.by_source(), one / 100), 4) for one in range(5, 96, 5)
            },
            "metrics": {group: counts.as_dict() for group, counts in found.counts(threshold).items()},
            "at_best_threshold": found.at_best_threshold(),
        }
        write_json(self.out / f"judged_{name}.json", content)
        for group, counts in found.counts(threshold).items():
            LOGGER.info("%s %s: IoU %.3f at threshold %.2f", name, group, counts.iou, threshold)
        return found

    def _keep(self, role: str, network: Network, teachers: Sequence[Network], found: Evaluation) -> Path:
        settings, facts = self.settings, self.images.facts
        learned = {f"{facts[i].source}/{facts[i].group}" for i in self.learned}
        held_out = {f"{one.source}/{one.group}" for one in facts} - learned
        licences = {facts[i].source: facts[i].licence for i in self.learned if facts[i].licence}
        threshold = settings.threshold or best_threshold(found.by_source())
        record = TrainingRecord(
            data=tuple(sorted(learned)),
            held_out=tuple(sorted(held_out)),
            command=self.command,
            seed=settings.seed,
            metrics={group: counts.as_dict() for group, counts in found.counts(threshold).items()},
            teacher=" and ".join(one.variant for one in teachers) if role == "student" else "",
            licences=dict(sorted(licences.items())),
        )
        kept = network_from_name(network.variant)
        kept.load_state_dict({key: value.float().cpu() for key, value in network.state_dict().items()})
        compute = f"channels_last {'bf16' if self.half else 'fp32'}"
        path = self.out / f"{role}_{network.variant.replace('+', '_')}.pt"
        checkpoint = Checkpoint(kept.eval(), self.contract, threshold, record, settings.crop_px, compute=compute)
        write_checkpoint(path, checkpoint)
        return path


def _teller(what: str) -> Callable[[Progress], None]:
    last = [-TOLD_S]

    def told(progress: Progress) -> None:
        now = time.monotonic()
        if now - last[0] >= TOLD_S or progress.share >= 1:
            last[0] = now
            losses = " ".join(f"{loss:.4f}" for loss in progress.losses)
            LOGGER.info(
                "%s: %d steps, %.0f %% of the time, loss %s", what, progress.steps, 100 * progress.share, losses
            )

    return told
