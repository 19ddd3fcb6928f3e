"""Phase 1: a frozen vision model teaches the student's backbone, with or without a discriminator. No labels.

Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-A and III-A; its settings are the defaults of `DistillConfig`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from kda_edge.errors import TrainingError, UsageError, quantity
from kda_edge.networks.checkpoint import DISTILLATION_FORMAT, write_content
from kda_edge.paths import exists

from ..configuration.config_file import write_config
from ..data.batches import batches_of
from ..data.crops import Crops
from ..data.data_file import DataSet
from ..loops.backbone_files import Backbone, write_backbone
from ..loops.compute_choice import compute_of
from ..loops.known_data import keep_digests, known_data
from ..loops.metric_reports import EpochLog
from ..loops.output_places import keeping, require_folder
from ..loops.parallel import FABRIC_PRECISIONS, mean_everywhere, open_fabric, share_of
from ..loops.run_state import lengthened, lengthening, run_of, settings_of
from ..loops.shared_batches import shared_batches
from .adversarial_step import FIGURES, AdversarialStep
from .config import DistillConfig
from .distillation_models import DistillationModels, open_models
from .feature_cache import FeatureCache, kept_teacher
from .trial_step import DistillationTrial

LOGGER: Final = logging.getLogger(__name__)
WON: Final = 0.95  # a distance above which the discriminator leaves the student hardly a gradient; unmeasured choice


def distill(
    config: DistillConfig,
    data: DataSet,
    out: Path,
    *,
    command: str = "",
    resume: bool = False,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Distil a backbone and return its file, `distilled.pt`.

    `out` holds `config.toml`, the resolved settings. After each epoch it holds `distilled.pt` (the backbone) and
    `last.pt` (the state to resume from), all written atomically; a run that diverges or is killed leaves those of the
    epoch before. The TensorBoard log lies beside them.

    Args:
        config: settings.
        data: imagery in `train`; labels are not read.
        out: folder, made if missing.
        command: for the record of its settings.
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
    require_folder(out, "--out")
    if cache is not None:
        require_folder(cache, "--cache")
    known, digests = known_data(data, out, progress)
    settings = settings_of(config, data, known)
    last = out / "last.pt"
    if exists(last) and not resume:
        raise TrainingError(f"{last} exists; go on with --resume, or choose another folder with --out")
    run = run_of(last, settings) if resume and exists(last) else None
    changes = lengthened(run, config.epochs)
    fabric = open_fabric(config.device)
    if config.batch % fabric.world_size:
        raise UsageError(f"a batch of {config.batch} can't be shared by {fabric.world_size} processes")
    if config.threads:
        torch.set_num_threads(config.threads)
    models = open_models(config, fabric.device)
    crops = Crops(samples, data.input, config.augmentation, crop_px=config.crop_px, seed=config.seed)
    crops.preload()
    if len(crops) < config.batch:
        raise TrainingError(
            f"a batch of {config.batch} is not filled by {quantity(len(crops), 'crop')}; lower --batch or add images"
        )
    steps_an_epoch = len(crops) // config.batch
    teachers = _cached_teachers(models, config) if cache is not None else {}
    compute = compute_of(
        config,
        run,
        fabric,
        partial(DistillationTrial, models, config.temperature, taught=cache is None),
        smallest_px=config.crop_px,  # the teacher's maps have the shapes that they have for these crops
        suits=lambda compute: cache is None or kept_teacher(cache) == teachers[compute.precision],
    )
    fabric = open_fabric(config.device, compute.precision)  # known only now
    crops.channels_last = compute.memory_format == "channels_last"
    adversarial = AdversarialStep(models.in_format(compute.torch_format), config, data.input, fabric)
    first_epoch, step = 0, 0
    if run is not None:
        adversarial.restore(run)
        first_epoch, step = run["epochs_done"], run["step"]
        LOGGER.info("resuming after %d of %d epochs%s", first_epoch, config.epochs, lengthening(changes[-1:]))
    if cache is not None:
        teacher, slots = teachers[compute.precision], len(crops) * config.views
        adversarial.cache = FeatureCache(cache, teacher=teacher, shapes=models.shapes, slots=slots)
    summary = f"{config.method} from {models.teacher.name}, {len(samples)} images without labels{lengthening(changes)}"

    with EpochLog(out, first_epoch, loggers=config.loggers, writes=fabric.is_global_zero) as log:
        if fabric.is_global_zero:
            keep_digests(out, digests)
            with keeping(out, first_epoch + 1):
                write_config(out, "distill", config, compute=compute, request=data.request, command=command)
        for epoch in range(first_epoch, config.epochs):
            started = time.monotonic()
            torch.manual_seed(config.seed * 100_003 + epoch)  # stochastic depth, as a function of the epoch
            view = epoch % config.views if config.views else epoch
            crops.epoch = view
            order = [int(i) for i in np.random.default_rng([config.seed, epoch]).permutation(len(crops))]
            batches = batches_of(order, config.batch, whole_only=True)
            shares = shared_batches(crops, batches, fabric, workers=config.workers)
            sums = np.zeros(len(FIGURES))
            for done, (image, _, batch) in enumerate(shares, start=1):
                adversarial.set_rates(step, steps_an_epoch)
                figures = adversarial.take(image, [view * len(crops) + item for item in share_of(batch, fabric)])
                if not all(map(math.isfinite, figures)):
                    raise TrainingError(_diverged(last, epoch))
                sums += np.asarray(figures)
                step += 1
                if progress is not None and fabric.is_global_zero:
                    progress(f"epoch {epoch + 1}/{config.epochs}", done, steps_an_epoch)
            means = dict(zip(FIGURES, mean_everywhere(fabric, list(sums / steps_an_epoch)), strict=True))
            if fabric.is_global_zero:
                backbone = Backbone(config.variant, adversarial.encoder_state(), data.input, summary, str(compute))
                done_so_far = {"epochs_done": epoch + 1, "step": step, "settings": settings, "compute": asdict(compute)}
                done_so_far["lengthened"] = changes
                with keeping(out, epoch + 1):
                    log.write(epoch + 1, {f"distill/{name}": value for name, value in means.items()})
                    write_backbone(out / "distilled.pt", backbone)
                    write_content(last, {"format": DISTILLATION_FORMAT, "run": {**adversarial.state(), **done_so_far}})
                _report(epoch, config, means, time.monotonic() - started)
            fabric.barrier()
    return out / "distilled.pt"


def _cached_teachers(models: DistillationModels, config: DistillConfig) -> dict[str, str]:
    """Return what a feature cache calls the teacher, by precision: all that decides its features but the pixels."""
    start = f"{models.teacher.digest()} {config.align} {models.teacher.input_px(config.crop_px)} px"
    return {precision: f"{start} {name}" for precision, name in FABRIC_PRECISIONS.items()}


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
    kept = f"{last} and distilled.pt hold epoch {epoch}" if exists(last) else "no epoch was finished"
    return (
        f"a loss or gradient is no longer finite in epoch {epoch + 1} ({kept}); "
        "lower --student-rate, set --clip-norm 1, or distil with --precision fp32"
    )
