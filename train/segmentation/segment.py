"""Phase 2: learn to segment from images and masks.

Source: KDA, doi 10.1109/LGRS.2025.3597685, section II-C and III-A; its settings are the defaults of `SegmentConfig`.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from kda_edge.errors import TrainingError, UsageError
from kda_edge.manifest import TrainingRecord
from kda_edge.metrics import ConfusionCounts, best_threshold, mean_iou_at
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import (
    Checkpoint,
    content_from_checkpoint,
    read_checkpoint,
    write_checkpoint,
    write_content,
)
from kda_edge.networks.network import Network
from kda_edge.networks.pvt import PyramidVisionTransformer
from kda_edge.tiling.tile_grid import default_overlap_px

from ..data.batches import batches_of, loaded
from ..data.crops import Crops
from ..data.data_file import DataSet
from ..data.image_files import IGNORED
from ..loops.backbone_files import load_backbone, read_backbone
from ..loops.metric_reports import log_writer
from ..loops.optimizers import decay_groups, set_rates
from ..loops.parallel import open_fabric, set_share, share_of, summed, wrapped
from ..loops.run_state import WeightAverage, restore_run, run_of, settings_of, state_of_run
from ..loops.schedules import crop_side_px
from .config import SegmentConfig
from .evaluate import Evaluation, evaluate
from .losses import segmentation_loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

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

    After each epoch `out` holds `last.pt` (student and state to resume from) and `best.pt` (student with the best
    landslide IoU on the val groups, mean over sources, among the epochs that were judged; without such groups, the
    latest). Both are written atomically:
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
    settings = settings_of(config, data)
    last, best = out / "last.pt", out / "best.pt"
    if last.exists() and not resume:
        raise TrainingError(f"{last} exists; go on with --resume, or choose another folder with --out")
    fabric = open_fabric(config.device, config.precision)
    if config.threads:
        torch.set_num_threads(config.threads)

    student = _fresh(config).to(fabric.device)
    summary = _with_backbone(student, config)
    wrapped_student = wrapped(fabric, student)
    groups = decay_groups(student.encoder, "backbone") + decay_groups(student.decoder, "decoder")
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    average = WeightAverage(student, config.average)
    crops = Crops(data.samples["train"], data.input, config.augmentation, crop_px=config.crop_px, seed=config.seed)
    crops.preload()
    steps_an_epoch = math.ceil(len(crops) / config.batch)
    rates = {"backbone": config.backbone_rate, "decoder": config.decoder_rate}
    first_epoch, step, best_iou = 0, 0, -1.0
    if resume and last.exists():
        state = run_of(last, settings)
        restore_run(state, student, optimizer, average)
        first_epoch, step, best_iou = state["epochs_done"], state["step"], state["best_iou"]
        LOGGER.info("resuming after %d of %d epochs", first_epoch, config.epochs)

    if fabric.is_global_zero:
        out.mkdir(parents=True, exist_ok=True)
    with log_writer(out, first_epoch) if fabric.is_global_zero else nullcontext() as writer:
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
            for done, (image, labels, total) in enumerate(_shares(crops, config, fabric), start=1):
                set_rates(
                    optimizer,
                    step,
                    rates,
                    total_steps=steps_an_epoch * config.epochs,
                    warmup_steps=steps_an_epoch * config.warmup_epochs,
                )
                set_share(student, total, fabric)
                logit = wrapped_student(image)
                loss = segmentation_loss(logit, labels, config.loss, gather=partial(summed, fabric))
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
                checkpoint = _checkpoint(
                    student,
                    data,
                    config,
                    threshold=threshold,
                    evaluation=evaluation,
                    command=command,
                    epochs=epoch + 1,
                    teacher=summary,
                )
            iou = val_iou if math.isfinite(val_iou) else 0.0
            better = (judged and iou >= best_iou) or not data.samples["val"]
            best_iou = iou if better else best_iou
            if writer is not None:
                writer.add_scalar("train/loss", loss_sum / steps_an_epoch, epoch + 1)
                writer.add_scalar("train/gradient_norm", float(gradient_norm), epoch + 1)
                writer.add_scalar("train/backbone_rate", optimizer.param_groups[0]["lr"], epoch + 1)
                for group, counts in evaluation.counts(threshold).items():
                    for name, value in counts.as_dict().items():
                        writer.add_scalar(f"val {group}/{name}", value, epoch + 1)
                writer.flush()
                if better:
                    write_checkpoint(best, checkpoint)
                run = state_of_run(
                    student, optimizer, average, epochs_done=epoch + 1, step=step, best_iou=best_iou, settings=settings
                )
                write_content(last, {**content_from_checkpoint(checkpoint), "run": run})
                LOGGER.info(
                    "epoch %d/%d: loss %.4f, %s (best %.3f), %.0f s",
                    *(epoch + 1, config.epochs, loss_sum / steps_an_epoch),
                    f"val IoU {iou:.3f} at threshold {threshold:.2f}" if judged else "not judged",
                    *(best_iou, time.monotonic() - started),
                )
            fabric.barrier()
    return best


def _fresh(config: SegmentConfig) -> Network:
    """The network with the weights that the run starts from: those of `init`, or fresh ones."""
    torch.manual_seed(config.seed)
    student = read_checkpoint(config.init).student if config.init else network_from_name(config.variant)
    if student.variant != config.variant:
        raise TrainingError(f"{config.init} holds {student.variant!r}, not {config.variant!r}")
    if config.encoder_weights:
        from kda_edge.networks.peers import load_encoder_weights

        load_encoder_weights(student, config.encoder_weights)
    return student


def _with_backbone(student: Network, config: SegmentConfig) -> str:
    """Give the network its distilled backbone, if there is one; return what the record says of it."""
    encoder = student.encoder
    if isinstance(encoder, PyramidVisionTransformer):
        encoder.recompute = config.recompute
    elif config.recompute or config.backbone:
        raise UsageError(f"{config.variant} has no PVT encoder; leave --backbone and --recompute out")
    if not config.backbone:
        return read_checkpoint(config.init).training.teacher if config.init else ""
    backbone = read_backbone(Path(config.backbone))
    load_backbone(encoder, backbone, Path(config.backbone))
    return backbone.summary


def _shares(crops: Crops, config: SegmentConfig, fabric: Fabric) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield this process's images and labels of each batch, and the size of the whole batch."""
    batches = batches_of(crops.order(), config.batch)
    # A process that the last batch has nothing for shows one crop that is not judged.
    mine = [share_of(batch, fabric) or batch[:1] for batch in batches]
    loader = loaded(crops, mine, workers=config.workers, pinned=fabric.device.type == "cuda")
    for (image, labels), batch in zip(loader, batches, strict=True):
        if fabric.global_rank >= len(batch):
            labels.fill_(IGNORED)
        device = fabric.device
        yield image.to(device, non_blocking=True), labels.to(device, non_blocking=True), len(batch)


def _require_finite(value: Tensor, epoch: int, last: Path) -> None:
    if not torch.isfinite(value):
        kept = f"{last} holds the state after epoch {epoch}" if last.exists() else "no epoch was finished"
        raise TrainingError(
            f"the loss is no longer finite in epoch {epoch + 1} ({kept}); "
            "lower the learning rates, set --clip-norm 1, or train with --precision fp32"
        )


def _checkpoint(
    student: Network,
    data: DataSet,
    config: SegmentConfig,
    *,
    threshold: float,
    evaluation: Evaluation,
    command: str,
    epochs: int,
    teacher: str,
) -> Checkpoint:
    counts: dict[str, ConfusionCounts] = evaluation.counts(threshold)
    record = TrainingRecord(
        data=tuple(data.groups("train")),
        held_out=tuple(data.groups("val") + data.groups("test")),
        command=command,
        seed=config.seed,
        epochs=epochs,
        teacher=teacher,
        metrics={f"val {name}": value.as_dict() for name, value in counts.items()},
    )
    return Checkpoint(copy.deepcopy(student).cpu().eval(), data.input, threshold, record, config.tile_px)
