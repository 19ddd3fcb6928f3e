"""Phase 1 as a run: it resumes, stops and repeats as promised, with and without a cache, and hands over a backbone."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kda_edge.errors import CheckpointError, TrainingError, UsageError
from kda_edge.networks.checkpoint import read_content, write_content
from kda_edge.networks.student import Student
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.distillation.distill import distill
from kda_edge.train.loops.backbone_files import load_backbone, read_backbone
from kda_edge.train.loops.compute_choice import TORCH_FORMATS


@pytest.mark.parametrize(
    ("method", "memory_format"), [("kd", "contiguous"), ("kda", "contiguous"), ("kda", "channels_last")]
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: DistillConfig, images: DataSet, tmp_path: Path, method: str, memory_format: str
) -> None:
    config = dataclasses.replace(config, method=method, memory_format=memory_format)
    whole = distill(config, images, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2") and done == 2:
            raise Killed

    with pytest.raises(Killed):
        distill(config, images, tmp_path / "cut", progress=kill)
    assert read_content(tmp_path / "cut" / "last.pt")["run"]["epochs_done"] == 1
    again = distill(config, images, tmp_path / "cut", resume=True)
    # The optimizer's moments lie as the kernels of the run do.
    moments = read_content(tmp_path / "cut" / "last.pt")["run"]["student_optimizer"]["state"].values()
    kernels = [one["exp_avg"] for one in moments if one["exp_avg"].ndim == 4 and min(one["exp_avg"].shape[1:3]) > 1]
    assert kernels
    assert all(one.is_contiguous(memory_format=TORCH_FORMATS[memory_format]) for one in kernels)
    first, second = read_backbone(whole).state, read_backbone(again).state
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_resumed_run_takes_the_recorded_choice_and_makes_no_trial(
    config: DistillConfig, images: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the trial chose, the record is what counts: it is set to the other choice here."""
    caplog.set_level(logging.INFO)
    config = dataclasses.replace(config, method="kd", memory_format="auto", epochs=1)
    distill(config, images, tmp_path)
    assert sum(message.startswith("computing in ") for message in caplog.messages) == 1
    content = dict(read_content(tmp_path / "last.pt"))
    chosen = content["run"]["compute"]
    assert read_backbone(tmp_path / "distilled.pt").compute == f"{chosen['memory_format']} fp32"
    (other,) = {"contiguous", "channels_last"} - {chosen["memory_format"]}
    content["run"]["compute"] = {**chosen, "memory_format": other}
    content["run"]["settings"]["epochs"] = 2
    write_content(tmp_path / "last.pt", content)
    caplog.clear()
    distill(dataclasses.replace(config, epochs=2), images, tmp_path, resume=True)
    assert not any(message.startswith("computing in ") for message in caplog.messages)
    assert read_content(tmp_path / "last.pt")["run"]["compute"]["memory_format"] == other
    assert read_backbone(tmp_path / "distilled.pt").compute == f"{other} fp32"


def test_another_setting_is_not_resumed(config: DistillConfig, images: DataSet, tmp_path: Path) -> None:
    once = dataclasses.replace(config, epochs=1, method="kd")
    distill(once, images, tmp_path)
    with pytest.raises(TrainingError, match="exists; go on with --resume"):
        distill(once, images, tmp_path)
    with pytest.raises(TrainingError, match=r"trained with temperature 5\.0, not 4\.0"):
        distill(dataclasses.replace(once, temperature=4.0), images, tmp_path, resume=True)


def test_a_run_that_diverges_stops_with_one_line_and_keeps_the_epoch_before(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, method="kd")
    with pytest.raises(TrainingError, match=r"no longer finite in epoch 2 \(.*hold epoch 1\)"):
        distill(config, images, tmp_path, progress=_PoisonsTheSecondEpoch(images))
    state = read_backbone(tmp_path / "distilled.pt").state
    assert all(torch.isfinite(value).all() for value in state.values())
    assert read_content(tmp_path / "last.pt")["run"]["epochs_done"] == 1


def test_the_cache_changes_nothing_beyond_half_precision(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, method="kd", views=1, epochs=3)
    plain = read_backbone(distill(config, images, tmp_path / "plain")).state
    cached = read_backbone(distill(config, images, tmp_path / "cached", cache=tmp_path / "cache")).state
    for key, value in plain.items():
        torch.testing.assert_close(cached[key], value, rtol=0.05, atol=5e-3, msg=key)
    with pytest.raises(UsageError, match="--views"):
        distill(dataclasses.replace(config, views=0), images, tmp_path / "x", cache=tmp_path / "cache")


def test_a_cache_that_is_there_decides_the_precision(
    config: DistillConfig, images: DataSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its features were computed in one, and a run in the other would be refused."""
    caplog.set_level(logging.INFO)
    config = dataclasses.replace(config, method="kd", views=1, epochs=1)
    distill(config, images, tmp_path / "first", cache=tmp_path / "cache")
    free = dataclasses.replace(config, precision="auto")
    distill(free, images, tmp_path / "second", cache=tmp_path / "cache")
    assert read_content(tmp_path / "second" / "last.pt")["run"]["compute"]["precision"] == "fp32"
    assert not any(message.startswith("computing in ") for message in caplog.messages)


def test_crops_of_a_run_are_those_of_its_views(config: DistillConfig, images: DataSet, tmp_path: Path) -> None:
    """With two views the third epoch shows the crops of the first: the teacher's features come from the cache."""
    config = dataclasses.replace(config, method="kd", views=2, epochs=3)
    distill(config, images, tmp_path / "run", cache=tmp_path / "cache")
    seals = np.fromfile(tmp_path / "cache" / "teacher_features" / "seals.bin", np.uint8).reshape(-1, 16)
    assert len(seals) == 2 * 20
    assert seals.any(axis=1).all()


def test_an_augmentation_is_part_of_the_settings(config: DistillConfig, images: DataSet, tmp_path: Path) -> None:
    once = dataclasses.replace(config, epochs=1, method="kd")
    distill(once, images, tmp_path)
    with pytest.raises(TrainingError, match=r"trained with augmentation\.colour 0\.4, not 0\.1"):
        distill(dataclasses.replace(once, augmentation=Augmentation(colour=0.1)), images, tmp_path, resume=True)


def test_the_backbone_fits_the_student_it_was_distilled_for(
    config: DistillConfig, images: DataSet, tmp_path: Path
) -> None:
    path = distill(dataclasses.replace(config, epochs=1, method="kd"), images, tmp_path)
    backbone = read_backbone(path)
    student = Student("nano")
    load_backbone(student.encoder, backbone, path)
    assert torch.equal(student.encoder.state_dict()["pos_embed1"], backbone.state["pos_embed1"])
    with pytest.raises(CheckpointError, match="distilled for 'nano'"):
        load_backbone(Student("tiny").encoder, backbone, path)


class _PoisonsTheSecondEpoch:
    """Spoils the normalisation of the crops after the first step of the second epoch."""

    def __init__(self, images: DataSet) -> None:
        self.images = images

    def __call__(self, label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2") and done == 1:
            object.__setattr__(self.images.input, "std", (math.nan, 1.0, 1.0))
