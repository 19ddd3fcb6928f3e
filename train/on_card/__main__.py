"""Teachers, then students, trained on a device for minutes, from a packed set.

python -m kda_edge.train.on_card.pack --data train/card_student.toml --data-root DIR --out set.zip
python -m kda_edge.train.on_card --set set.zip --weights DIR --learn-from train --judge-on val test --out OUT
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kda_edge.networks.network import Network
from kda_edge.networks.peers import load_encoder_weights

from .card_colours import CardColours
from .card_crops import CropSampler
from .card_images import CardImages
from .card_judging import STEPS, histograms, iou_at
from .card_training import Normalise, Progress, Span, train_for
from .packed_set import read_packed_set

THRESHOLDS: Final = (0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
TOLD_S: Final = 10.0
CONTRACT: Final = InputContract(gsd_m=(0.03, 10.0))


def main(argv: Sequence[str] | None = None) -> int:
    """Train and judge; return the exit code."""
    options = _parser().parse_args(argv)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    run = Run(options, shlex.join(["python", "-m", "kda_edge.train.on_card", *(argv or sys.argv[1:])]))
    run.teach()
    run.train_students()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="on_card", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--set", type=Path, required=True, metavar="FILE", help="packed set")
    add("--out", type=Path, required=True, metavar="DIR", help="for checkpoints, figures and the log")
    add("--weights", type=Path, metavar="DIR", help="encoders' weights, NAME.pt for a backbone NAME of timm")
    add("--learn-from", nargs="+", default=["train"], metavar="SPLIT")
    add("--judge-on", nargs="*", default=["val", "test"], metavar="SPLIT")
    add("--teachers", nargs="*", default=["tf_efficientnet_lite2+unet", "tf_efficientnet_lite2+upernet"])
    add("--students", nargs="+", default=["tf_efficientnet_lite0+fpn"], help="variants, or checkpoints to go on from")
    add("--teacher-s", type=float, default=120.0)
    add("--student-s", type=float, default=240.0)
    add("--batch", type=int, default=64)
    add("--crop-px", type=int, default=256)
    add("--scale", type=float, nargs=2, default=(0.5, 2.0))
    add("--steps", type=int, default=0, help="at most, of each span (default: as many as there is time for)")
    add("--seed", type=int, default=0)
    add("--device", default="cuda")
    return parser


class Run:
    """A run: its imagery on the device, its networks, what it writes.

    Args:
        options: of the command line.
        command: for the training record.
    """

    def __init__(self, options: argparse.Namespace, command: str) -> None:
        self.options, self.command = options, command
        self.device = torch.device(options.device)
        self.half = self.device.type == "cuda"
        torch.manual_seed(options.seed)
        options.out.mkdir(parents=True, exist_ok=True)
        self.log = (options.out / "log.txt").open("a", encoding="utf-8")
        self.images = CardImages(read_packed_set(options.set), self.device)
        self.normalise = Normalise(CONTRACT, self.device)
        facts = self.images.facts
        self.learned = [i for i, one in enumerate(facts) if one.split in options.learn_from]
        self.judged = [i for i, one in enumerate(facts) if one.split in options.judge_on]
        if not self.learned:
            raise UsageError(f"{options.set} has nothing in {', '.join(options.learn_from)}; see --learn-from")
        self.teachers: list[Network] = []
        self.say(f"{len(self.learned)} images to learn from, {len(self.judged)} to judge on, on {self.device}")

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        print(f"{time.strftime('%H:%M:%S')} {line}", file=self.log, flush=True)

    def teach(self) -> None:
        """Train the teachers from labels and judge them."""
        options = self.options
        if not options.teachers:
            return
        labelled = [i for i in self.learned if self._has_labels(i)]
        self.teachers = [self._network(name) for name in options.teachers]
        span = Span(options.teacher_s, batch=options.batch, steps=options.steps)
        self._train("teachers", self.teachers, labelled, span, ())
        for network in self.teachers:
            self._keep(network, "teacher", {})
        self._judge("teachers", self.teachers)

    def train_students(self) -> None:
        """Train the students, by the teachers if there are some, judge them and keep them."""
        options = self.options
        students = [self._network(name) for name in options.students]
        span = Span(options.student_s, batch=options.batch, steps=options.steps)
        chosen = self.learned if self.teachers else [i for i in self.learned if self._has_labels(i)]
        self._train("students", students, chosen, span, self.teachers)
        for network in students:
            self._keep(network, "student", {})
        for network in students:
            self._judge(network.variant, [network])

    def _has_labels(self, index: int) -> bool:
        return bool((self.images.whole(index)[1] != 255).any())

    def _network(self, name: str) -> Network:
        if name.endswith(".pt"):
            network = read_checkpoint(name).student
        else:
            network = network_from_name(name)
            file = self.options.weights and self.options.weights / f"{name.partition('+')[0]}.pt"
            if file and file.is_file():
                load_encoder_weights(network, str(file))
                self.say(f"{name}: encoder from {file.name}")
        return network.to(self.device, memory_format=torch.channels_last)

    def _train(
        self, what: str, networks: list[Network], chosen: list[int], span: Span, teachers: Sequence[Network]
    ) -> None:
        options, last = self.options, [0.0]
        seed = options.seed * 1000 + (1 if teachers else 0)
        sampler = CropSampler(
            self.images, chosen, crop_px=options.crop_px, magnification=tuple(options.scale), seed=seed
        )

        def told(progress: Progress) -> None:
            if time.monotonic() - last[0] > TOLD_S or progress.share >= 1:
                last[0] = time.monotonic()
                losses = " ".join(f"{loss:.4f}" for loss in progress.losses)
                self.say(f"{what}: {progress.steps} steps, {100 * progress.share:.0f} %, losses {losses}")

        colours = CardColours(self.device, seed)
        train_for(networks, sampler, colours, self.normalise, span, teachers=teachers, half=self.half, told=told)

    def _judge(self, name: str, networks: Sequence[Network]) -> None:
        if not self.judged:
            return
        found = histograms(networks, self.images, self.judged, self.normalise, half=self.half)
        figures: dict[str, Any] = {
            group: {f"{t:g}": round(iou_at(one, round(t * (STEPS - 1))), 4) for t in THRESHOLDS}
            | {"best": round(max(iou_at(one, step) for step in range(1, STEPS)), 4)}
            | {"painted_at_0.1": round(float(one[:, 26:].sum() / max(one.sum(), 1)), 5)}
            for group, one in found.items()
        }
        (self.options.out / f"judged_{name}.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        for group, values in figures.items():
            line = " ".join(f"{key}:{value:.3f}" for key, value in values.items())
            self.say(f"{name} {group}: {line}")
        np.savez_compressed(
            self.options.out / f"judged_{name}.npz", **{k.replace("/", "|"): v for k, v in found.items()}
        )

    def _keep(self, network: Network, role: str, metrics: dict[str, Any]) -> None:
        options, facts = self.options, self.images.facts
        sources = sorted({f"{facts[i].source}/{facts[i].group}" for i in self.learned})
        held = sorted({f"{facts[i].source}/{facts[i].group}" for i in self.judged} - set(sources))
        teacher = ", ".join(network.variant for network in self.teachers) if role == "student" else ""
        record = TrainingRecord(tuple(sources), tuple(held), self.command, options.seed, 0, metrics, teacher)
        kept = network_from_name(network.variant)
        kept.load_state_dict({key: value.float().cpu() for key, value in network.state_dict().items()})
        compute = f"channels_last {'bf16' if self.half else 'fp32'}"
        checkpoint = Checkpoint(kept.eval(), CONTRACT, 0.15, record, options.crop_px, compute=compute)
        write_checkpoint(options.out / f"{role}_{network.variant.replace('+', '_')}.pt", checkpoint)


if __name__ == "__main__":
    sys.exit(main())
