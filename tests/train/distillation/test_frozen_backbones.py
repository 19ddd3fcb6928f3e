"""Frozen backbones: they stay frozen, normalise for themselves, take any crop, and say what to fetch."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.data import resolve_model_data_config

from kda_edge.errors import TrainingError, UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.checkpoint import Checkpoint, write_checkpoint
from kda_edge.networks.student import Student
from kda_edge.train.cli.train import main
from kda_edge.train.distillation.frozen_backbones import open_backbone


def image(side_px: int, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, side_px, side_px, generator=torch.Generator().manual_seed(side_px))


@pytest.mark.parametrize(
    "name",
    [
        *(f"vit_{size}_patch14_dinov2.lvd142m" for size in ("base", "large", "giant")),
        *(f"vit_{size}_patch14_reg4_dinov2.lvd142m" for size in ("base", "large", "giant")),
        *("convnext_base.fb_in22k", "convnext_large.fb_in22k", "convnext_xlarge.fb_in22k"),
    ],
)
def test_the_papers_teachers_are_known_to_timm_with_weights(name: str) -> None:
    assert timm.get_pretrained_cfg(name) is not None
    assert timm.is_model_pretrained(name)


@pytest.mark.parametrize(
    ("crop_px", "seen_px", "grid"), [(224, 224, 16), (512, 518, 37), (256, 266, 19)], ids=["224", "512", "256"]
)
def test_a_patch_of_14_sees_the_next_multiple_of_14(crop_px: int, seen_px: int, grid: int) -> None:
    teacher = open_backbone("vit_small_patch14_dinov2", weights=None, pretrained=False)
    assert teacher.input_px(crop_px) == seen_px
    assert teacher.shapes(crop_px) == [(384, grid, grid)]


def test_a_vit_gives_its_normed_patch_tokens_without_the_class_token() -> None:
    teacher = open_backbone("test_vit", weights=None, pretrained=False)
    model = teacher.backbone.get_submodule("model")
    config = resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    pixels = image(96)
    with torch.no_grad():
        tokens = model.forward_features((pixels - mean) / std)  # type: ignore[operator]
        (features,) = teacher(pixels)
    expected = tokens[:, 1:].transpose(1, 2).reshape(1, -1, 6, 6)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_registers_are_left_out_too() -> None:
    teacher = open_backbone("vit_small_patch14_reg4_dinov2", weights=None, pretrained=False)
    assert teacher.shapes(56) == [(384, 4, 4)]


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_efficientnet", "test_resnet"])
def test_whatever_is_trained_around_it_a_backbone_stays_frozen_and_in_eval_mode(name: str) -> None:
    teacher = open_backbone(name, weights=None, levels="stages", pretrained=False)
    before = teacher.digest()
    wrapped = torch.nn.Sequential(teacher).train()
    assert not any(module.training for module in teacher.modules())
    pixels = image(64, 2).requires_grad_()
    sum(one.square().mean() for one in wrapped(pixels)).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert pixels.grad is not None
    assert float(pixels.grad.abs().sum()) > 0, "gradients must flow through to what it looks at"
    assert teacher.digest() == before


def test_a_changed_weight_changes_the_digest() -> None:
    teacher = open_backbone("test_vit", weights=None, pretrained=False)
    before = teacher.digest()
    with torch.no_grad():
        next(teacher.parameters()).add_(1e-6)
    assert teacher.digest() != before


def test_the_stages_of_a_cnn_have_the_strides_of_the_students() -> None:
    teacher = open_backbone("test_convnext", weights=None, levels="stages", pretrained=False)
    assert [shape[1] for shape in teacher.shapes(128)] == [32, 16, 8, 4]
    efficientnet = open_backbone("test_efficientnet", weights=None, levels="stages", pretrained=False)
    assert [shape[1] for shape in efficientnet.shapes(128)] == [32, 16, 8, 4]


def test_the_stages_of_a_vit_are_evenly_spaced_blocks_that_end_with_the_last() -> None:
    teacher = open_backbone("vit_small_patch14_dinov2", weights=None, levels="stages", pretrained=False)
    assert teacher.backbone.indices == [2, 5, 8, 11]


def test_a_crop_is_enlarged_where_that_is_asked_for() -> None:
    teacher = open_backbone("test_convnext", weights=None, input_px=100, pretrained=False)
    assert teacher.input_px(64) == 128
    pixels = image(64)
    enlarged = F.interpolate(pixels, size=(128, 128), mode="bilinear", antialias=True)
    plain = open_backbone("test_convnext", weights=None, pretrained=False)
    plain.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(teacher(pixels)[-1], plain(enlarged)[-1])


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_weights_come_from_a_file(tmp_path: Path, ending: str) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(3)
    state = timm.create_model("test_vit", pretrained=False).state_dict()
    path = tmp_path / f"weights.{ending}"
    if ending == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    first = open_backbone("test_vit", weights=path)
    for key, value in first.backbone.get_submodule("model").state_dict().items():
        assert torch.equal(value, state[key]), key
    other = open_backbone("test_vit", weights=None, pretrained=False)
    assert other.digest() != first.digest()


def test_a_student_can_teach(tmp_path: Path) -> None:
    torch.manual_seed(1)
    contract = InputContract(pixel_type="uint16", value_range=(0, 1000), mean=(500, 400, 300), std=(100, 200, 300))
    student = Student("nano").eval()
    path = tmp_path / "teacher.pt"
    write_checkpoint(path, Checkpoint(student, contract, 0.5, TrainingRecord(), 64))
    teacher = open_backbone("student", weights=path, levels="stages")
    pixels = image(64)
    raw = pixels * 1000
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (contract.mean, contract.std))
    with torch.no_grad():
        for ours, expected in zip(teacher(pixels), student.encoder((raw - mean) / std), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_name_a_missing_file_and_foreign_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no model 'vit_huge_patch99'"):
        open_backbone("vit_huge_patch99", weights=None)
    with pytest.raises(TrainingError, match="there is no weights file"):
        open_backbone("test_vit", weights=tmp_path / "none.pt")
    path = tmp_path / "foreign.pt"
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(TrainingError, match="does not hold the weights of test_vit") as caught:
        open_backbone("test_vit", weights=path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="needs a checkpoint"):
        open_backbone("student", weights=None)


def test_a_hub_that_cannot_be_reached_says_which_file_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TrainingError, match=r"timm/vit_small_patch14_dinov2\.lvd142m") as caught:
        open_backbone("vit_small_patch14_dinov2.lvd142m", weights=None)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith("with --teacher-weights")


@pytest.mark.parametrize("command", ["distill", "fit"])
def test_all_weights_that_lack_are_said_at_once_and_before_the_imagery_is_looked_at(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    words = ["--data", str(tmp_path / "nowhere"), "--teacher", "vit_small_patch14_dinov2.lvd142m", "--out"]
    words += [str(tmp_path / "run"), "--discriminator", "convnext_tiny.fb_in22k", "--variant", "nano"]
    assert main([command, *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "timm/vit_small_patch14_dinov2.lvd142m elsewhere and give it with --teacher-weights" in line
    assert "timm/convnext_tiny.fb_in22k elsewhere and give it with --discriminator-weights" in line
    assert "nowhere" not in line
    assert not (tmp_path / "run").exists()
    assert main([command, *words, "--teacher-weights", str(tmp_path / "none.pt"), "--method", "kd"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"kda-train: there is no weights file {tmp_path / 'none.pt'}; check --teacher-weights"
