"""Training: it learns, judges, starts from what it is given, and stops when it diverges."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kda_edge.errors import TrainingError
from kda_edge.networks.checkpoint import read_checkpoint, read_content, weights_digest, write_checkpoint, write_content
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.evaluate import evaluate
from kda_edge.train.segmentation.segment import segment

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


def weights_of(path: Path) -> dict[str, Tensor]:
    run = read_content(path)["run"]
    return {**run["network"], **{f"average {key}": value for key, value in run["average"].items()}}


def test_a_student_learns_scars_that_it_never_saw(config: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    config = dataclasses.replace(config, epochs=12, augmentation=Augmentation(colour=0.1), clip_norm=1.0)
    best = segment(config, data, tmp_path / "run", command="kda-train segment")
    checkpoint = read_checkpoint(best)
    evaluation = evaluate(
        checkpoint.student, data.samples["test"], data.input, tile_px=32, overlap_px=8, device=torch.device("cpu")
    )
    assert evaluation.by_source()[0].counts_at(checkpoint.threshold).iou > 0.6
    record = checkpoint.training
    assert (record.command, record.seed, checkpoint.tile_px) == ("kda-train segment", 0, 32)
    assert record.data == tuple(data.groups("train"))
    assert set(record.held_out) == set(data.groups("val") + data.groups("test"))
    assert any(name.startswith("val scars") for name in record.metrics)
    assert any(path.name.startswith("events.out.tfevents") for path in (tmp_path / "run").iterdir())


def test_epochs_that_are_not_judged_learn_the_same_and_are_never_the_best(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    sparse = dataclasses.replace(config, evaluate_every=2)
    best = segment(sparse, data, tmp_path / "sparse")
    segment(config, data, tmp_path / "dense")
    sparse_run, dense_run = weights_of(tmp_path / "sparse" / "last.pt"), weights_of(tmp_path / "dense" / "last.pt")
    assert all(torch.equal(sparse_run[key], dense_run[key]) for key in dense_run)
    record = read_checkpoint(best).training
    assert record.epochs in (2, 3)  # every second, and the last
    assert record.metrics

    segment(dataclasses.replace(sparse, epochs=1), data, tmp_path / "one")
    assert read_checkpoint(tmp_path / "one" / "best.pt").training.metrics  # the last epoch is judged, however few


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    wild = dataclasses.replace(config, decoder_rate=(1e30, 1e30), backbone_rate=(1e30, 1e30))
    with pytest.raises(
        TrainingError, match=r"no longer finite in epoch 1 \(no epoch was finished\); lower the learning"
    ):
        segment(wild, data, tmp_path / "at once")
    segment(dataclasses.replace(config, epochs=1), data, tmp_path / "run")
    good = read_content(tmp_path / "run" / "last.pt")
    good["run"]["network"]["decoder.head.bias"][0] = float("nan")  # what a bad step leaves behind
    good["run"]["settings"]["epochs"] = 2
    write_content(tmp_path / "run" / "last.pt", good)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"in epoch 2 \(.*last\.pt holds the state after epoch 1\)"):
        segment(dataclasses.replace(config, epochs=2), data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.pt").read_bytes() == before


def test_nothing_to_train_on_is_said(config: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    empty = dataclasses.replace(data, samples={**data.samples, "train": ()})
    with pytest.raises(TrainingError, match="no samples are in the train split"):
        segment(config, empty, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_starts_from_a_given_student(config: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    first = segment(dataclasses.replace(config, epochs=1), data, tmp_path / "first")
    still = dataclasses.replace(
        config, epochs=1, init=str(first), backbone_rate=(0, 0), decoder_rate=(0, 0), weight_decay=0.0
    )
    taught = read_checkpoint(first)
    write_checkpoint(first, dataclasses.replace(taught, training=dataclasses.replace(taught.training, teacher="a CNN")))
    second = segment(still, data, tmp_path / "second")
    assert read_checkpoint(second).training.teacher == "a CNN"  # what the weights came from is not forgotten
    assert weights_digest(read_checkpoint(second).student) == weights_digest(read_checkpoint(first).student)
    with pytest.raises(TrainingError, match="holds 'nano', not 'tiny'"):
        segment(dataclasses.replace(still, variant="tiny"), data, tmp_path / "third")
