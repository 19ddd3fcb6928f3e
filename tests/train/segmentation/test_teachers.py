"""Teachers in phase 2: their answers are learned beside the labels, they stay as they are, and a run can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import scar, write_image

from kda_edge.errors import TrainingError, UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, weights_digest, write_checkpoint
from kda_edge.networks.network import Network
from kda_edge.train.cli.train import main
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.crops import Crops
from kda_edge.train.data.data_file import DataSet
from kda_edge.train.data.labels import IGNORED
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.losses import LossWeights, segmentation_loss
from kda_edge.train.segmentation.segment import segment
from kda_edge.train.segmentation.teachers import TeacherSettings, open_teachers, taught_loss

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)


def teacher_at(path: Path, seed: int = 0, contract: InputContract | None = None) -> Network:
    torch.manual_seed(seed)
    network = network_from_name("nano").eval()
    write_checkpoint(path, Checkpoint(network, contract or InputContract(), 0.5, TrainingRecord(), 64))
    return network


def taught(config: SegmentConfig, *paths: Path, **settings: float) -> SegmentConfig:
    teachers = TeacherSettings(tuple(map(str, paths)), **settings)
    return dataclasses.replace(config, teachers=teachers)


def test_the_loss_is_that_of_softened_answers_scaled_by_the_square_of_the_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn((2, 1, 6, 5), generator=generator, requires_grad=True)
    labels = torch.randint(0, 2, (2, 6, 5), generator=generator).to(torch.uint8)
    target = torch.rand((2, 1, 6, 5), generator=generator)
    plain = segmentation_loss(logit, labels, LossWeights())
    found = taught_loss(plain, logit, target, TeacherSettings(share=0.7, temperature=3.0))
    student = torch.softmax(torch.stack([torch.zeros_like(logit), logit]) / 3.0, dim=0)  # two classes
    by_hand = -(target * student[1].log() + (1 - target) * student[0].log()).mean() * 9.0
    torch.testing.assert_close(found, 0.3 * plain + 0.7 * by_hand)
    (gradient,) = torch.autograd.grad(found - 0.3 * plain, logit)
    expected = 0.7 * 3.0 * (student[1] - target) / target.numel()
    torch.testing.assert_close(gradient, expected.detach())


def test_pixels_without_labels_are_learned_from_and_crops_that_do_not_count_are_not() -> None:
    logit = torch.randn((1, 1, 4, 4), requires_grad=True)
    nothing = segmentation_loss(logit, torch.full((1, 4, 4), IGNORED, dtype=torch.uint8), LossWeights())
    settings = TeacherSettings(share=0.5)
    target = torch.full((1, 1, 4, 4), 0.9)
    (gradient,) = torch.autograd.grad(taught_loss(nothing, logit, target, settings), logit, retain_graph=True)
    assert bool((gradient != 0).all())
    (gradient,) = torch.autograd.grad(taught_loss(nothing, logit, target, settings, counts=False), logit)
    assert bool((gradient == 0).all())


def test_a_teacher_sees_its_own_normalisation_and_several_answer_by_their_mean(tmp_path: Path) -> None:
    own = InputContract(mean=(127.0, 120.0, 110.0), std=(128.0, 64.0, 70.0))
    networks = [teacher_at(tmp_path / "a.pt", 1), teacher_at(tmp_path / "b.pt", 2, own)]
    settings = TeacherSettings((str(tmp_path / "a.pt"), str(tmp_path / "b.pt")), temperature=2.0)
    run = InputContract()
    teachers = open_teachers(settings, run).to(torch.device("cpu"), torch.contiguous_format)
    pixels = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(3)) * 255

    def normalised(contract: InputContract) -> torch.Tensor:
        mean, std = (torch.tensor(one).reshape(1, 3, 1, 1) for one in (contract.mean, contract.std))
        return (pixels - mean) / std

    found = teachers.answer(normalised(run), contextlib.nullcontext())
    with torch.no_grad():
        each = [torch.sigmoid(network(normalised(one)) / 2) for network, one in zip(networks, (run, own), strict=True)]
    torch.testing.assert_close(found, (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-5)


def test_a_taught_run_differs_says_who_taught_it_and_leaves_the_teacher(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    network = teacher_at(tmp_path / "teacher.pt")
    before, content = weights_digest(network), (tmp_path / "teacher.pt").read_bytes()
    config = dataclasses.replace(config, epochs=1)
    alone = read_checkpoint(segment(config, data, tmp_path / "alone"))
    followed = read_checkpoint(segment(taught(config, tmp_path / "teacher.pt"), data, tmp_path / "taught"))
    assert weights_digest(alone.student) != weights_digest(followed.student)
    assert alone.training.teacher == ""
    assert followed.training.teacher == f"answers of nano {before[:12]} (60% of the loss, temperature 1)"
    assert (tmp_path / "teacher.pt").read_bytes() == content


def test_a_student_comes_to_answer_as_its_teacher_where_the_labels_say_nothing(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    trained = segment(dataclasses.replace(config, epochs=8), data, tmp_path / "teacher")
    unlabelled = tuple(dataclasses.replace(sample, mask=None) for sample in data.samples["train"])
    bare = dataclasses.replace(data, samples={**data.samples, "train": unlabelled, "val": ()})
    config = dataclasses.replace(config, seed=9)
    crops = Crops(unlabelled, data.input, Augmentation(), crop_px=64, seed=4)
    sample = torch.stack([crops[item][0] for item in range(4)])
    distances = []
    for epochs in (1, 12):
        run = dataclasses.replace(taught(config, trained, share=1.0), epochs=epochs)
        student = read_checkpoint(segment(run, bare, tmp_path / f"student{epochs}")).student
        with torch.no_grad():
            answers = [torch.sigmoid(one(sample)) for one in (student, read_checkpoint(trained).student)]
        distances.append(float((answers[0] - answers[1]).abs().mean()))
    assert distances[1] < 0.8 * distances[0]


def test_a_resumed_run_ends_as_one_that_was_not_cut_wherever_its_teacher_lies_then(
    config: SegmentConfig, data: DataSet, tmp_path: Path
) -> None:
    teacher_at(tmp_path / "teacher.pt")
    config = dataclasses.replace(taught(config, tmp_path / "teacher.pt", temperature=2.0), epochs=2)
    whole = segment(config, data, tmp_path / "whole")

    def stop(label: str, done: int, total: int) -> None:
        if label.startswith("epoch 2/") and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(config, data, tmp_path / "parts", progress=stop)
    shutil.move(tmp_path / "teacher.pt", tmp_path / "moved.pt")
    moved = taught(config, tmp_path / "moved.pt", temperature=2.0)
    parts = segment(moved, data, tmp_path / "parts", resume=True)
    digests = [weights_digest(read_checkpoint(path).student) for path in (whole, parts)]
    assert digests[0] == digests[1]


def test_a_run_is_not_resumed_with_another_teacher(config: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    teacher_at(tmp_path / "teacher.pt")
    config = dataclasses.replace(taught(config, tmp_path / "teacher.pt"), epochs=1)
    segment(config, data, tmp_path / "run")
    teacher_at(tmp_path / "teacher.pt", seed=1)
    with pytest.raises(TrainingError, match=r"was trained with teachers\.checkpoints"):
        segment(dataclasses.replace(config, epochs=2), data, tmp_path / "run", resume=True)


def test_a_teacher_of_other_pixels_is_refused(config: SegmentConfig, data: DataSet, tmp_path: Path) -> None:
    other = InputContract(pixel_type="uint16", value_range=(0.0, 10000.0), mean=(1.0, 1.0, 1.0), std=(2.0, 2.0, 2.0))
    teacher_at(tmp_path / "teacher.pt", contract=other)
    with pytest.raises(UsageError, match="was trained on imagery with pixel_type uint16, and the data have uint8"):
        segment(taught(config, tmp_path / "teacher.pt"), data, tmp_path / "run")
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"share": 1.1}, {"temperature": 0.0}])
def test_settings_that_can_not_be_right_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must"):
        TeacherSettings(**settings)  # type: ignore[arg-type]


def test_images_without_masks_join_a_taught_run_alone(folders: Path, tmp_path: Path) -> None:
    image, _ = scar(np.random.default_rng(4), 64, 64)
    write_image(tmp_path / "more" / "bare.png", image)
    lines = ["[[source]]", 'name = "scars"', 'root = "scars"', "fractions = [0.8, 0.2, 0.0]"]
    lines += ["[[source]]", 'name = "more"', 'root = "more"', 'images = ""', 'masks = ""']
    (tmp_path / "data.toml").write_text("\n".join(lines))
    teacher_at(tmp_path / "teacher.pt")
    words = ["segment", "--data", str(tmp_path / "data.toml"), "--variant", "nano", "--epochs", "1", "--batch", "8"]
    words += ["--crop-px", "32", "--device", "cpu", "--workers", "0", "--precision", "fp32", "--skip-check"]
    words += ["--memory-format", "contiguous", "--skip-report"]
    assert main([*words, "--out", str(tmp_path / "alone")]) == 0
    assert main([*words, "--out", str(tmp_path / "taught"), "--teacher-ckpt", str(tmp_path / "teacher.pt")]) == 0
    learned = [read_checkpoint(tmp_path / run / "best.pt").training.data for run in ("alone", "taught")]
    assert "more/unlabelled" not in learned[0]
    assert "more/unlabelled" in learned[1]
