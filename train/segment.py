"""Phase 2: learn to segment from images and masks.

Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-C and III-A; its settings are the defaults of `SegmentConfig`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from kda_edge.checkpoint import (
    Checkpoint,
    content_from_checkpoint,
    read_checkpoint,
    read_content,
    write_checkpoint,
    write_content,
)
from kda_edge.errors import MissingDependency, TrainingError
from kda_edge.manifest import TrainingRecord
from kda_edge.metrics import ConfusionCounts, best_threshold, mean_iou_at
from kda_edge.student import Student

from .config import SegmentConfig
from .crops import Crops
from .data import DataSet
from .devices import autocast, resolve_device
from .evaluate import Evaluation, evaluate
from .losses import segmentation_loss
from .schedules import cosine_rate, crop_side_px
from .state import WeightAverage, restore_run, state_of_run

LOGGER: Final = logging.getLogger(__name__)
EVALUATION_OVERLAP: Final = 0.25  # of a tile; the runtime's default


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

    After each epoch `out` holds `last.pt` (student and state to resume from) and `best.pt` (student with the best
    landslide IoU on the val groups, mean over sources; without such groups, the latest). Both are written atomically:
    a run that is killed loses at most the epoch that it was in. The TensorBoard log lies in the same folder.

    Args:
        config: settings.
        data: checked samples; at least one in `train`.
        out: folder, made if missing.
        command: for the training record.
        resume: go on from `last.pt`.
        progress: called with a label, steps done and steps in all.

    Raises:
        TrainingError: nothing to train on, a run in the way, a run that doesn't fit, or a loss that is not finite.
    """
    if not data.samples["train"]:
        raise TrainingError("no samples are in the train split; name groups or fractions for it in the data file")
    settings = _settings(config, data)
    last, best = out / "last.pt", out / "best.pt"
    if last.exists() and not resume:
        raise TrainingError(f"{last} exists; go on with --resume, or choose another folder with --out")
    device = resolve_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)

    torch.manual_seed(config.seed)
    student = read_checkpoint(config.init).student if config.init else Student(config.variant)
    if student.variant != config.variant:
        raise TrainingError(f"{config.init} holds the student {student.variant!r}, not {config.variant!r}")
    student = student.to(device)
    optimizer = torch.optim.AdamW(_parameter_groups(student, config), weight_decay=config.weight_decay)
    average = WeightAverage(student, config.average)
    crops = Crops(data.samples["train"], data.input, config.augmentation, crop_px=config.crop_px, seed=config.seed)
    steps_an_epoch = math.ceil(len(crops) / config.batch)
    first_epoch, step, best_iou = 0, 0, -1.0
    if resume and last.exists():
        state = _run_of(last, settings)
        restore_run(state, student, optimizer, average)
        first_epoch, step, best_iou = state["epochs_done"], state["step"], state["best_iou"]
        LOGGER.info("resuming after %d of %d epochs", first_epoch, config.epochs)

    out.mkdir(parents=True, exist_ok=True)
    with _log_writer(out, first_epoch) as writer:
        for epoch in range(first_epoch, config.epochs):
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
            for done, (image, labels) in enumerate(_batches(crops, config, device), start=1):
                _set_rates(optimizer, step, steps_an_epoch, config)
                with autocast(device, config.precision):
                    logit = student(image)
                loss = segmentation_loss(logit, labels, config.loss)
                # Before the backward pass: PyTorch's grid_sample crashes the process on positions that are NaN.
                _require_finite(loss, epoch, last)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
                gradient_norm = torch.nn.utils.clip_grad_norm_(student.parameters(), config.clip_norm or math.inf)
                _require_finite(gradient_norm, epoch, last)
                optimizer.step()
                average.update(step)
                step += 1
                loss_sum += float(loss.detach())
                if progress is not None:
                    progress(f"epoch {epoch + 1}/{config.epochs}", done, steps_an_epoch)
            writer.add_scalar("train/loss", loss_sum / steps_an_epoch, epoch + 1)
            writer.add_scalar("train/gradient_norm", float(gradient_norm), epoch + 1)
            writer.add_scalar("train/backbone_rate", optimizer.param_groups[0]["lr"], epoch + 1)

            with average.applied():
                evaluation = _evaluate_val(student, data, config, device)
                threshold = best_threshold(evaluation.by_source())
                val_iou = mean_iou_at(evaluation.by_source(), threshold)
                checkpoint = _checkpoint(
                    student,
                    data,
                    config,
                    threshold=threshold,
                    evaluation=evaluation,
                    command=command,
                    epochs=epoch + 1,
                )
            for group, counts in evaluation.counts(threshold).items():
                for name, value in counts.as_dict().items():
                    writer.add_scalar(f"val {group}/{name}", value, epoch + 1)
            writer.flush()
            iou = val_iou if math.isfinite(val_iou) else 0.0
            if iou >= best_iou or not data.samples["val"]:
                best_iou = iou
                write_checkpoint(best, checkpoint)
            run = state_of_run(
                student, optimizer, average, epochs_done=epoch + 1, step=step, best_iou=best_iou, settings=settings
            )
            write_content(last, {**content_from_checkpoint(checkpoint), "run": run})
            LOGGER.info(
                "epoch %d/%d: loss %.4f, val IoU %.3f at threshold %.2f (best %.3f), %.0f s",
                *(epoch + 1, config.epochs, loss_sum / steps_an_epoch, iou, threshold, best_iou),
                time.monotonic() - started,
            )
    return best


def _require_finite(value: Tensor, epoch: int, last: Path) -> None:
    if not torch.isfinite(value):
        kept = f"{last} holds the state after epoch {epoch}" if last.exists() else "no epoch was finished"
        raise TrainingError(
            f"the loss is no longer finite in epoch {epoch + 1} ({kept}); "
            "lower the learning rates, set --clip-norm 1, or train with --precision fp32"
        )


def _batches(crops: Crops, config: SegmentConfig, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    order = crops.order()
    batches = [order[i : i + config.batch] for i in range(0, len(order), config.batch)]
    workers = min(config.workers, os.cpu_count() or 1)
    loader = DataLoader(crops, batch_sampler=batches, num_workers=workers, pin_memory=device.type == "cuda")
    for image, labels in loader:
        yield image.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _parameter_groups(student: Student, config: SegmentConfig) -> list[dict[str, Any]]:
    """Backbone and decoder, each with and without decay: norms, biases and positions are not pulled to 0."""
    groups: list[dict[str, Any]] = []
    for module, name in ((student.encoder, "backbone"), (student.decoder, "decoder")):
        named = list(module.named_parameters())
        decayed = [p for key, p in named if p.ndim > 1 and "pos_embed" not in key]
        kept = [p for key, p in named if p.ndim <= 1 or "pos_embed" in key]
        groups.append({"params": decayed, "role": name})
        groups.append({"params": kept, "role": name, "weight_decay": 0.0})
    return groups


def _set_rates(optimizer: torch.optim.Optimizer, step: int, steps_an_epoch: int, config: SegmentConfig) -> None:
    for group in optimizer.param_groups:
        first, last = config.backbone_rate if group["role"] == "backbone" else config.decoder_rate
        group["lr"] = cosine_rate(
            step,
            total_steps=steps_an_epoch * config.epochs,
            warmup_steps=steps_an_epoch * config.warmup_epochs,
            first=first,
            last=last,
        )


def _evaluate_val(student: Student, data: DataSet, config: SegmentConfig, device: torch.device) -> Evaluation:
    overlap_px = int(config.tile_px * EVALUATION_OVERLAP)
    return evaluate(
        student, data.samples["val"], data.input, tile_px=config.tile_px, overlap_px=overlap_px, device=device
    )


def _checkpoint(
    student: Student,
    data: DataSet,
    config: SegmentConfig,
    *,
    threshold: float,
    evaluation: Evaluation,
    command: str,
    epochs: int,
) -> Checkpoint:
    counts: dict[str, ConfusionCounts] = evaluation.counts(threshold)
    record = TrainingRecord(
        data=tuple(data.groups("train")),
        held_out=tuple(data.groups("val") + data.groups("test")),
        command=command,
        seed=config.seed,
        epochs=epochs,
        metrics={f"val {name}": value.as_dict() for name, value in counts.items()},
    )
    copy = Student(student.variant)
    copy.load_state_dict(student.state_dict())
    return Checkpoint(copy.eval(), data.input, threshold, record, config.tile_px)


def _settings(config: SegmentConfig, data: DataSet) -> dict[str, Any]:
    """What must be equal for a run to be resumed: all settings that decide the weights, and the samples by name."""
    settings = dataclasses.asdict(config)
    for speed_only in ("workers", "device", "threads"):
        settings.pop(speed_only)
    settings["samples"] = [f"{s.source.name}/{s.group}/{s.image.name}" for s in data.samples["train"]]
    settings["input"] = dataclasses.asdict(data.input)
    return settings


def _run_of(last: Path, settings: dict[str, Any]) -> dict[str, Any]:
    run = read_content(last).get("run")
    if not isinstance(run, dict):
        raise TrainingError(f"{last} holds no run to resume; start in another folder with --out")
    changed = sorted(key for key in settings if run["settings"].get(key) != settings[key])
    if changed:
        raise TrainingError(
            f"{last} was trained with another {changed[0]}; resume with the same settings, or use --out"
        )
    return run


def _log_writer(out: Path, first_epoch: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingDependency("tensorboard", extra="train") from error
    return SummaryWriter(log_dir=str(out), purge_step=first_epoch + 1 if first_epoch else None)
