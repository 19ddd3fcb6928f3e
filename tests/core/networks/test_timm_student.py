"""Any backbone of timm with maps at strides 4 to 32 becomes a student under any head."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from kda_edge.decoders.by_name import HEADS
from kda_edge.errors import TrainingError, UnsupportedSize, UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kda_edge.networks.imagenet_weights import load_encoder_weights
from kda_edge.networks.timm_student import DCF, TimmStudent

LITE: str = "tf_efficientnet_lite0"
# One whose stages keep timm's names, one whose stages are renamed, and a transformer.
BACKBONES = (LITE, "efficientvit_b0", "pvt_v2_b0")


def whole_network(backbone: str) -> torch.nn.Module:
    """A classifier as timm has it, whose norms have seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = timm.create_model(backbone, pretrained=False)
        for name, buffer in whole.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape))
    return whole.eval()


@pytest.mark.parametrize("head", [DCF, *HEADS])
def test_every_head_gives_a_logit_a_pixel(head: str) -> None:
    student = network_from_name(f"{LITE}+{head}").eval()
    with torch.inference_mode():
        logit = student(torch.randn(2, 3, 64, 96))
    assert logit.shape == (2, 1, 64, 96)
    assert logit.isfinite().all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_weights_of_the_whole_network_make_its_own_maps(backbone: str, tmp_path: Path) -> None:
    whole = whole_network(backbone)
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    student = TimmStudent(f"{backbone}+fpn").eval()
    decoder = {key: value.clone() for key, value in student.decoder.state_dict().items()}
    load_encoder_weights(student, tmp_path / "weights.pt")
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        deepest = [m for m in whole.forward_intermediates(image, intermediates_only=True) if m.shape[2:] == (2, 3)][-1]  # type: ignore[operator]
        maps = student.encoder(image)
    assert [tuple(x.shape[2:]) for x in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [x.shape[1] for x in maps] == student.channels
    torch.testing.assert_close(maps[-1], deepest)
    assert all(torch.equal(value, decoder[key]) for key, value in student.decoder.state_dict().items())


def test_weights_of_another_backbone_are_refused_whole(tmp_path: Path) -> None:
    torch.save(whole_network("resnet18").state_dict(), tmp_path / "weights.pt")
    student = TimmStudent(f"{LITE}+fpn")
    before = {key: value.clone() for key, value in student.state_dict().items()}
    with pytest.raises(TrainingError, match=r"does not fit the encoder of tf_efficientnet_lite0\+fpn"):
        load_encoder_weights(student, tmp_path / "weights.pt")
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_a_checkpoint_gives_the_same_student_again(tmp_path: Path) -> None:
    student = TimmStudent(f"{LITE}+{DCF}").eval()
    write_checkpoint(tmp_path / "s.pt", Checkpoint(student, InputContract(), 0.5, TrainingRecord(), 64))
    again = read_checkpoint(tmp_path / "s.pt").student
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(image), student(image))
    assert again.variant == f"{LITE}+{DCF}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{LITE}+nothing", "there is no head 'nothing'; choose one of dcf, "),
        (LITE, "there is no head ''; choose one of dcf, "),
        ("vit_tiny_patch16_224+dcf", "vit_tiny_patch16_224 has no maps at strides 4, 8, 16, 32"),
        ("resnet_of_nobody+dcf", "there is no network 'resnet_of_nobody\\+dcf'"),
    ],
)
def test_what_makes_no_student_is_said_in_a_line(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        network_from_name(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size_hw", [(64, 80), (0, 64), (33, 32)])
def test_sizes_that_the_strides_don_t_divide_are_refused(size_hw: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedSize):
        TimmStudent(f"{LITE}+fpn").eval()(torch.zeros(1, 3, *size_hw))
