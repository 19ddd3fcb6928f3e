"""Phase 1: a frozen vision model teaches the student's backbone, with or without a discriminator. No labels.

Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-A and III-A; its settings are the defaults of `DistillConfig`.

Both players step from the same point (simultaneous gradient descent and ascent; the paper gives no order). The
losses are differentiated down to the student's feature maps; there the two gradients are weighed and go on through
the encoder in one backward pass, so that the discriminator gets exactly the gradient of Eq. (2), the student exactly
that of Eq. (3), and adaptive weights cost nothing.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from kda_edge.checkpoint import write_content
from kda_edge.errors import TrainingError, UsageError
from kda_edge.manifest import InputContract
from kda_edge.student import VARIANTS, Student

from .alignment import AlignedStudent, matched_stages
from .backbones import Backbone, write_backbone
from .batches import batches_of, loaded
from .crops import Crops
from .data import DataSet
from .discriminator import Discriminator
from .distill_config import DistillConfig
from .distillation_losses import aligned_divergence, balanced_score_weight, score_distance
from .feature_cache import FeatureCache, pixels_digest
from .optimizers import decay_groups, set_rates
from .parallel import mean_everywhere, open_fabric, set_share, share_of, wrapped
from .report import log_writer
from .state import run_of, settings_of
from .teachers import FrozenBackbone, open_backbone

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOGGER: Final = logging.getLogger(__name__)
FIGURES: Final = (  # what is logged of each epoch, means over its steps
    "divergence",  # KL(O_T, O_S)
    "distance",  # MSE(D_T, D_S), 0..1
    "score_teacher",  # D_T, 0..1
    "score_student",  # D_S, 0..1
    "score_weight",
    "gradient_norm_student",
    "gradient_norm_discriminator",
    "variance_teacher",  # of the features over batch and positions, mean over channels
    "variance_student",
)
WON: Final = 0.95  # a distance above which the discriminator leaves the student hardly a gradient; unmeasured choice


def distill(
    config: DistillConfig,
    data: DataSet,
    out: Path,
    *,
    resume: bool = False,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Distil a backbone and return its file, `distilled.pt`.

    After each epoch `out` holds `distilled.pt` (the backbone) and `last.pt` (the state to resume from), both written
    atomically; a run that diverges or is killed leaves those of the epoch before. The TensorBoard log lies beside them.

    Args:
        config: settings.
        data: imagery in `train`; labels are not read.
        out: folder, made if missing.
        resume: go on from `last.pt`.
        cache: folder for the teacher's features; needs `config.views`.
        progress: called with a label, steps done and steps in all.

    Raises:
        TrainingError: nothing to learn from, a run in the way, a run or cache that doesn't fit, weights that can't be
            had, or a loss that is not finite.
        UsageError: settings that contradict each other.
    """
    samples = data.samples["train"]
    if not samples:
        raise TrainingError("there are no images to learn from; name groups for the train split in the data file")
    if cache is not None and not config.views:
        raise UsageError("a cache needs crops that come again; set --views 1 or more")
    settings = settings_of(config, data)
    last = out / "last.pt"
    if last.exists() and not resume:
        raise TrainingError(f"{last} exists; go on with --resume, or choose another folder with --out")
    fabric = open_fabric(config.device, config.precision)
    if config.batch % fabric.world_size:
        raise UsageError(f"a batch of {config.batch} can't be shared by {fabric.world_size} processes")
    if config.threads:
        torch.set_num_threads(config.threads)
    game = _Game(config, data.input, fabric)
    crops = Crops(samples, data.input, config.augmentation, crop_px=config.crop_px, seed=config.seed)
    crops.preload()
    if len(crops) < config.batch:
        raise TrainingError(f"{len(crops)} crops don't fill a batch of {config.batch}; lower --batch or add images")
    steps_an_epoch = len(crops) // config.batch
    first_epoch, step = 0, 0
    if resume and last.exists():
        state = run_of(last, settings)
        game.restore(state)
        first_epoch, step = state["epochs_done"], state["step"]
        LOGGER.info("resuming after %d of %d epochs", first_epoch, config.epochs)
    if cache is not None:
        computed = f"{config.align} {game.teacher.input_px(config.crop_px)} px {fabric.strategy.precision.precision}"
        key = f"{game.teacher.digest()} {computed}"
        game.cache = FeatureCache(cache, teacher=key, shapes=game.shapes, slots=len(crops) * config.views)
    summary = f"{config.method} from {game.teacher.name}, {len(samples)} images without labels"

    if fabric.is_global_zero:
        out.mkdir(parents=True, exist_ok=True)
    with log_writer(out, first_epoch) if fabric.is_global_zero else nullcontext() as writer:
        for epoch in range(first_epoch, config.epochs):
            started = time.monotonic()
            torch.manual_seed(config.seed * 100_003 + epoch)  # stochastic depth, as a function of the epoch
            view = epoch % config.views if config.views else epoch
            crops.epoch = view
            order = [int(i) for i in np.random.default_rng([config.seed, epoch]).permutation(len(crops))]
            batches = [share_of(one, fabric) for one in batches_of(order, config.batch, whole_only=True)]
            sums = np.zeros(len(FIGURES))
            for done, (image, items) in enumerate(_shown(crops, batches, config, fabric), start=1):
                game.set_rates(step, steps_an_epoch)
                figures = game.play(image, [view * len(crops) + item for item in items])
                if not all(map(math.isfinite, figures)):
                    raise TrainingError(_diverged(last, epoch))
                sums += np.asarray(figures)
                step += 1
                if progress is not None and fabric.is_global_zero:
                    progress(f"epoch {epoch + 1}/{config.epochs}", done, steps_an_epoch)
            means = dict(zip(FIGURES, mean_everywhere(fabric, list(sums / steps_an_epoch)), strict=True))
            if writer is not None:
                for name, value in means.items():
                    writer.add_scalar(f"distill/{name}", value, epoch + 1)
                writer.flush()
                write_backbone(
                    out / "distilled.pt", Backbone(config.variant, game.encoder_state(), data.input, summary)
                )
                run = {**game.state(), "epochs_done": epoch + 1, "step": step, "settings": settings}
                write_content(last, {"format": "kda-edge distillation", "run": run})
                _report(epoch, config, means, time.monotonic() - started)
            fabric.barrier()
    return out / "distilled.pt"


class _Game:
    """The two players, the teacher, and one step of all three."""

    def __init__(self, config: DistillConfig, contract: InputContract, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        device = fabric.device
        levels = "stages" if config.align == "stages" else "last"
        self.teacher = open_backbone(
            config.teacher, weights=_path(config.teacher_weights), levels=levels, input_px=config.teacher_px
        ).to(device)
        self.shapes = self.teacher.shapes(config.crop_px)
        if config.variant not in VARIANTS:
            raise UsageError(f"there is no student {config.variant!r}; choose one of {', '.join(VARIANTS)}")
        torch.manual_seed(config.seed)
        aligned = AlignedStudent(
            Student(config.variant).encoder,
            VARIANTS[config.variant].dims,
            self.shapes,
            matched_stages(self.shapes, config.crop_px),
        )
        aligned.encoder.recompute = config.recompute
        self.aligned = aligned
        self.student: Any = wrapped(fabric, aligned.train())
        self.student_optimizer = torch.optim.AdamW(decay_groups(aligned, "student"), weight_decay=config.weight_decay)
        self.adversary: Discriminator | None = None
        if config.method == "kda":
            eyes = self._eyes()
            self.adversary = Discriminator(
                eyes.to(device), self.shapes[-1][0], config.pseudo_px or config.crop_px, config.doors
            )
            self.discriminator: Any = wrapped(fabric, self.adversary)
            self.discriminator_optimizer = torch.optim.AdamW(
                decay_groups(self.adversary, "discriminator"), weight_decay=config.weight_decay, maximize=True
            )
        low, high = contract.value_range
        self.scale = torch.tensor(contract.std, device=device).reshape(1, 3, 1, 1) / (high - low)
        self.shift = (torch.tensor(contract.mean, device=device).reshape(1, 3, 1, 1) - low) / (high - low)
        self.cache: FeatureCache | None = None

    def play(self, image: Tensor, slots: list[int]) -> list[float]:
        """Let both players step on a batch; return `FIGURES`. Nothing is changed where a loss is not finite.

        Args:
            image: normalised for the student, (B, 3, S, S).
            slots: of the crops in the cache.
        """
        config, fabric = self.config, self.fabric
        targets = self._targets(image, slots)
        set_share(self.aligned, config.batch, fabric)
        outputs: list[Tensor] = self.student(image)
        features = [one.detach().requires_grad_() for one in outputs]
        divergence = aligned_divergence(features, targets, config.temperature)
        gradients = list(torch.autograd.grad(divergence, features))
        figures = [float(divergence.detach()), 0.0, 0.0, 0.0, 0.0]
        discriminator_norm = 0.0
        gradients[:-1] = [config.weights[0] * one for one in gradients[:-1]]
        if self.adversary is None:
            gradients[-1] = config.weights[0] * gradients[-1]
        else:
            teacher_score, student_score = self.discriminator([targets[-1], features[-1]], ("teacher", "student"))
            distance = score_distance(teacher_score, student_score)
            self.discriminator_optimizer.zero_grad(set_to_none=True)
            fabric.backward(distance)
            pull = features[-1].grad
            if pull is None:
                raise TypeError("the discriminator gave the student no gradient")
            weight = self._score_weight(gradients[-1], pull)
            gradients[-1] = config.weights[0] * gradients[-1] + weight * pull
            scores = float(teacher_score.detach().mean()), float(student_score.detach().mean())
            figures[1:] = [float(distance.detach()), *scores, weight]
            discriminator_norm = _norm(self.adversary.parameters())
        self.student_optimizer.zero_grad(set_to_none=True)
        surrogate = torch.stack([(one * g).sum() for one, g in zip(outputs, gradients, strict=True)]).sum()
        fabric.backward(surrogate)
        norm = float(torch.nn.utils.clip_grad_norm_(self.aligned.parameters(), config.clip_norm or math.inf))
        figures += [norm, discriminator_norm, _variance(targets[-1]), _variance(features[-1].detach())]
        if all(map(math.isfinite, figures)):
            self.student_optimizer.step()
            if self.adversary is not None:
                self.discriminator_optimizer.step()
        return figures

    def set_rates(self, step: int, steps_an_epoch: int) -> None:
        """Give both players the rates of a step."""
        total = steps_an_epoch * self.config.epochs
        warmup = steps_an_epoch * self.config.warmup_epochs
        rates = {"student": self.config.student_rate}
        set_rates(self.student_optimizer, step, rates, total_steps=total, warmup_steps=warmup)
        if self.adversary is not None:
            rates = {"discriminator": self.config.discriminator_rate}
            set_rates(self.discriminator_optimizer, step, rates, total_steps=total, warmup_steps=0)

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder's weights."""
        return dict(self.aligned.encoder.state_dict())

    def state(self) -> dict[str, Any]:
        """Return all that changes in a step; the frozen models are opened again."""
        state: dict[str, Any] = {
            "student": _cpu(self.aligned.state_dict()),
            "student_optimizer": self.student_optimizer.state_dict(),
        }
        if self.adversary is not None:
            state["discriminator"] = _cpu(self.adversary.learned())
            state["discriminator_optimizer"] = self.discriminator_optimizer.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.aligned.load_state_dict(state["student"])
        self.student_optimizer.load_state_dict(state["student_optimizer"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["discriminator"], strict=False)
            self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])

    def _eyes(self) -> FrozenBackbone:
        config = self.config
        given = config.discriminator_weights
        if not given and config.discriminator == config.teacher:
            given = config.teacher_weights
        return open_backbone(
            config.discriminator, weights=_path(given), levels="stages", option="--discriminator-weights"
        )

    @torch.no_grad()
    def _targets(self, image: Tensor, slots: list[int]) -> list[Tensor]:
        digests = [pixels_digest(one) for one in image.cpu()] if self.cache is not None else []
        if self.cache is not None:
            kept = self.cache.get(slots, digests)
            if kept is not None:
                return [one.to(image.device) for one in kept]
        with self.fabric.autocast():
            share = (image * self.scale + self.shift).clamp(0, 1)
            targets = [one.float() for one in self.teacher(share)]
        if self.cache is not None:
            self.cache.put(slots, digests, targets)
            targets = [one.half().float() for one in targets]  # as they will come back: a resumed run is then exact
        return targets

    def _score_weight(self, divergence_gradient: Tensor, distance_gradient: Tensor) -> float:
        if self.config.balance == "fixed":
            return self.config.weights[1]
        squares = [float(g.float().square().sum()) for g in (divergence_gradient, distance_gradient)]
        divergence, distance = (math.sqrt(s) for s in mean_everywhere(self.fabric, squares))
        return balanced_score_weight(divergence, distance, weights=self.config.weights)


def _shown(
    crops: Crops, batches: list[list[int]], config: DistillConfig, fabric: Fabric
) -> Iterator[tuple[Tensor, list[int]]]:
    loader = loaded(crops, batches, workers=config.workers, pinned=fabric.device.type == "cuda")
    for (image, _), items in zip(loader, batches, strict=True):
        yield image.to(fabric.device, non_blocking=True), items


def _report(epoch: int, config: DistillConfig, means: dict[str, float], seconds: float) -> None:
    scores = f", scores {means['score_teacher']:.3f} / {means['score_student']:.3f}" if config.method == "kda" else ""
    LOGGER.info(
        "epoch %d/%d: divergence %.4f%s, feature variance %.3g / %.3g (teacher / student), %.1f s",
        *(epoch + 1, config.epochs, means["divergence"], scores, means["variance_teacher"], means["variance_student"]),
        seconds,
    )
    if means["distance"] > WON:
        LOGGER.warning(
            "the discriminator tells the two apart every time: its gradient fades; lower --discriminator-rate"
        )


def _diverged(last: Path, epoch: int) -> str:
    kept = f"{last} and distilled.pt hold epoch {epoch}" if last.exists() else "no epoch was finished"
    return (
        f"a loss or gradient is no longer finite in epoch {epoch + 1} ({kept}); "
        "lower --student-rate, set --clip-norm 1, or distil with --precision fp32"
    )


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _norm(parameters: Iterator[torch.nn.Parameter]) -> float:
    squares = [p.grad.float().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt())


def _variance(features: Tensor) -> float:
    return float(features.float().var(dim=(0, 2, 3), correction=0).mean())


def _cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in state.items()}
