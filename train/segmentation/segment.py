"""Phase 2: learn to segment from images and masks.

Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-C and III-A; its settings are the defaults of `SegmentConfig`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from kda_edge.errors import TrainingError
from kda_edge.metrics import best_threshold, mean_iou_at
from kda_edge.networks.checkpoint import content_from_checkpoint, write_checkpoint, write_content
from kda_edge.paths import exists
from kda_edge.tiling.tile_grid import default_overlap_px

from ..configuration.config_file import write_config
from ..data.batches import batches_of
from ..data.crops import Crops
from ..data.data_file import DataSet
from ..loops.compute_choice import compute_of
from ..loops.known_data import keep_digests, known_data
from ..loops.metric_reports import EpochLog
from ..loops.output_places import keeping, require_folder
from ..loops.parallel import open_fabric, set_share, share_of, summed, wrapped
from ..loops.run_state import lengthened, lengthening, restore_run, run_of, settings_of, state_of_run
from ..loops.shared_batches import shared_batches
from ..optimisation.optimizers import decay_groups, set_rates
from ..optimisation.schedules import crop_side_px
from ..optimisation.weight_average import WeightAverage
from .config import SegmentConfig
from .evaluate import evaluate
from .initial_student import initial_student
from .losses import segmentation_loss
from .run_checkpoint import run_checkpoint
from .teachers import open_teachers, taught_loss
from .trial_step import SMALLEST_PX, SegmentationTrial

LOGGER: Final = logging.getLogger(__name__)


def segment(
    config: SegmentConfig,
    data: DataSet,
    out: Path,
    *,
    command: str = "",
    resume: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train a student and return the path of its best checkpoint.

    `out` holds `config.toml`, the resolved settings. After each epoch it holds `last.pt` (student and state to resume
    from) and `best.pt` (student with the best landslide IoU on the val groups, mean over sources, among the epochs that
    were judged; without such groups, the latest). All are written atomically: a run that is killed loses at most the
    epoch that it was in. The TensorBoard log lies in the same folder.

    Args:
        config: settings.
        data: checked samples; at least one in `train`.
        out: folder, made if missing.
        command: for the training record, and that of the settings.
        resume: go on from `last.pt`.
        progress: called with a label, steps done and steps in all.

    Raises:
        TrainingError: nothing to train on, a run in the way, a run that doesn't fit, or a loss that is not finite.
    """
    if not data.samples["train"]:
        raise TrainingError("no samples are in the train split; name groups or fractions for it in the data file")
    require_folder(out, "--out")
    known, digests = known_data(data, out, progress)
    teachers = open_teachers(config.teachers, data.input)
    settings = settings_of(config, data, known)
    settings["teachers"] = {**settings["teachers"], "checkpoints": list(teachers.digests)}  # files may move
    if config.patience and not data.samples["val"]:
        raise TrainingError(
            "no samples are in the val split, which --patience waits for; name groups for it, or leave it"
        )
    last, best = out / "last.pt", out / "best.pt"
    if exists(last) and not resume:
        raise TrainingError(f"{last} exists; go on with --resume, or choose another folder with --out")
    run = run_of(last, settings) if resume and exists(last) else None
    changes = lengthened(run, config.epochs)
    fabric = open_fabric(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)

    student, teacher = initial_student(config)
    teacher = "; ".join(filter(None, (teacher, teachers.summary)))
    student.to(fabric.device)
    trial = partial(SegmentationTrial, student, config.loss)
    compute = compute_of(config, run, fabric, trial, smallest_px=SMALLEST_PX)
    fabric = open_fabric(config.device, compute.precision)  # known only now
    student.to(memory_format=compute.torch_format)
    teachers = teachers.to(fabric.device, compute.torch_format)
    wrapped_student = wrapped(fabric, student)
    groups = decay_groups(student.encoder, "backbone") + decay_groups(student.decoder, "decoder")
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    average = WeightAverage(student, config.average)
    crops = Crops(
        data.samples["train"],
        data.input,
        config.augmentation,
        crop_px=config.crop_px,
        seed=config.seed,
        landslide_share=config.landslide_share,
    )
    crops.channels_last = compute.memory_format == "channels_last"
    crops.preload()
    steps_an_epoch = math.ceil(len(crops) / config.batch)
    rates = {"backbone": config.backbone_rate, "decoder": config.decoder_rate}
    first_epoch, step, best_iou, best_epoch = 0, 0, -1.0, 0
    if run is not None:
        restore_run(run, student, optimizer, average)
        first_epoch, step, best_iou = run["epochs_done"], run["step"], run["best_iou"]
        best_epoch = run.get("best_epoch", first_epoch)
        LOGGER.info("resuming after %d of %d epochs%s", first_epoch, config.epochs, lengthening(changes[-1:]))

    with EpochLog(out, first_epoch, loggers=config.loggers, writes=fabric.is_global_zero) as log:
        if fabric.is_global_zero:
            keep_digests(out, digests)
            with keeping(out, first_epoch + 1):
                write_config(out, "segment", config, compute=compute, request=data.request, command=command)
        for epoch in range(first_epoch, config.epochs):
            if 0 < config.patience <= epoch - best_epoch:
                LOGGER.info("ended after %d epochs: no val IoU above %.3f since epoch %d", epoch, best_iou, best_epoch)
                break
            started = time.monotonic()
            torch.manual_seed(config.seed * 100_003 + epoch)  # stochastic depth, as a function of the epoch
            crops.epoch = epoch
            crops.crop_px = crop_side_px(
                epoch,
                epochs=config.epochs,
                crop_px=config.crop_px,
                finish_px=config.finish_px,
                finish_epochs=config.finish_epochs,
            )
            student.train()
            loss_sum = 0.0
            batches = batches_of(crops.order(), config.batch)
            shares = shared_batches(crops, batches, fabric, workers=config.workers)
            for done, (image, labels, batch) in enumerate(shares, start=1):
                set_rates(
                    optimizer,
                    step,
                    rates,
                    total_steps=steps_an_epoch * config.epochs,
                    warmup_steps=steps_an_epoch * config.warmup_epochs,
                )
                set_share(student, len(batch), fabric)
                logit = wrapped_student(image)
                loss = segmentation_loss(logit, labels, config.loss, gather=partial(summed, fabric))
                if teachers.networks:
                    target = teachers.answer(image, fabric.autocast())
                    mine = fabric.global_rank < len(batch)
                    gather = partial(summed, fabric)
                    loss = taught_loss(loss, logit, target, config.teachers, counts=mine, gather=gather)
                # Before the backward pass: PyTorch's grid_sample crashes the process on positions that are NaN.
                _require_finite(loss, epoch, last)
                optimizer.zero_grad(set_to_none=True)
                fabric.backward(loss)
                gradient_norm = torch.nn.utils.clip_grad_norm_(student.parameters(), config.clip_norm or math.inf)
                _require_finite(gradient_norm, epoch, last)
                optimizer.step()
                average.update(step)
                step += 1
                loss_sum += float(loss.detach())
                if progress is not None and fabric.is_global_zero:
                    progress(f"epoch {epoch + 1}/{config.epochs}", done, steps_an_epoch)

            judged = (epoch + 1) % config.evaluate_every == 0 or epoch + 1 == config.epochs
            with average.applied():
                evaluation = evaluate(
                    student,
                    share_of(data.samples["val"] if judged else (), fabric),
                    data.input,
                    tile_px=config.tile_px,
                    overlap_px=default_overlap_px(config.tile_px),
                    device=fabric.device,
                ).gathered(fabric)
                threshold = best_threshold(evaluation.by_source())
                val_iou = mean_iou_at(evaluation.by_source(), threshold)
                checkpoint = run_checkpoint(
                    student,
                    data,
                    config,
                    threshold=threshold,
                    evaluation=evaluation,
                    command=command + lengthening(changes),
                    epochs=epoch + 1,
                    teacher=teacher,
                    compute=compute,
                )
            iou = val_iou if math.isfinite(val_iou) else 0.0
            better = (judged and iou >= best_iou) or not data.samples["val"]
            best_epoch = epoch + 1 if judged and iou > best_iou else best_epoch
            best_iou = iou if better else best_iou
            counts = evaluation.counts(threshold)
            figures = {
                "train/loss": loss_sum / steps_an_epoch,
                "train/gradient_norm": float(gradient_norm),
                "train/backbone_rate": optimizer.param_groups[0]["lr"],
                **{f"val {group}/{k}": v for group, one in counts.items() for k, v in one.as_dict().items()},
            }
            if fabric.is_global_zero:
                state = state_of_run(
                    student,
                    optimizer,
                    average,
                    epochs_done=epoch + 1,
                    step=step,
                    best_iou=best_iou,
                    best_epoch=best_epoch,
                    settings=settings,
                    compute=compute,
                    lengthened=changes,
                )
                with keeping(out, epoch + 1):
                    log.write(epoch + 1, figures)
                    if better:
                        write_checkpoint(best, checkpoint)
                    write_content(last, {**content_from_checkpoint(checkpoint), "run": state})
                LOGGER.info(
                    "epoch %d/%d: loss %.4f, %s (best %.3f), %.0f s",
                    *(epoch + 1, config.epochs, loss_sum / steps_an_epoch),
                    f"val IoU {iou:.3f} at threshold {threshold:.2f}" if judged else "not judged",
                    *(best_iou, time.monotonic() - started),
                )
            fabric.barrier()
    return best


def _require_finite(value: Tensor, epoch: int, last: Path) -> None:
    if not torch.isfinite(value):
        kept = f"{last} holds the state after epoch {epoch}" if exists(last) else "no epoch was finished"
        raise TrainingError(
            f"the loss is no longer finite in epoch {epoch + 1} ({kept}); "
            "lower the learning rates, set --clip-norm 1, or train with --precision fp32"
        )
