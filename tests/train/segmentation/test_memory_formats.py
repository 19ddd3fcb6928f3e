"""Networks answer and learn the same in both memory formats, and what they hand over lies the same in memory."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, read_content, weights_digest, write_checkpoint
from kda_edge.networks.network import Network
from kda_edge.train.loops.backbone_files import Backbone, read_backbone, write_backbone
from kda_edge.train.segmentation.losses import LossWeights, segmentation_loss


def learned(network: Network, memory_format: torch.memory_format) -> tuple[Tensor, dict[str, Tensor]]:
    """One forward and backward pass in training: the logit, and all gradients and batch statistics."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(3, 3, 64, 64, generator=generator).to(memory_format=memory_format)
    labels = torch.randint(0, 2, (3, 64, 64), generator=generator, dtype=torch.uint8)
    network = copy.deepcopy(network).train().to(memory_format=memory_format)
    torch.manual_seed(2)  # stochastic depth
    logit = network(image)
    torch.autograd.backward(segmentation_loss(logit, labels, LossWeights()))
    found = {key: parameter.grad for key, parameter in network.named_parameters() if parameter.grad is not None}
    return logit.detach(), {**found, **dict(network.named_buffers())}


# DCF alone; batch norm in encoder and decoder; batch norm and group norm in the decoder.
@pytest.mark.parametrize("variant", ["nano", "unet-small", "nano+upernet", "nano+segnext"])
def test_outputs_gradients_and_statistics_agree_in_both_formats(variant: str) -> None:
    torch.manual_seed(0)
    network = network_from_name(variant)
    logit, plain = learned(network, torch.contiguous_format)
    other_logit, other = learned(network, torch.channels_last)
    torch.testing.assert_close(other_logit, logit, rtol=1e-3, atol=1e-4)
    assert other.keys() == plain.keys()
    largest = max(float(value.abs().max()) for value in plain.values())
    for key, value in plain.items():
        # Biases before a norm are idle: nothing but rounding is left of their gradients.
        scale = max(float(value.abs().max()), 1e-4 * largest)
        torch.testing.assert_close(other[key] / scale, value / scale, rtol=0, atol=2e-3, msg=key)


def test_files_hold_the_same_whatever_the_memory_format(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = network_from_name("unet-small").eval()
    digest = weights_digest(student)
    contract = InputContract()
    for name, memory_format in (("plain", torch.contiguous_format), ("last", torch.channels_last)):
        student.to(memory_format=memory_format)
        write_checkpoint(tmp_path / f"{name}.pt", Checkpoint(student, contract, 0.5, TrainingRecord(), 64))
        state = dict(student.encoder.state_dict())
        write_backbone(tmp_path / f"{name}_backbone.pt", Backbone("nano", state, contract, "", "channels_last fp32"))
        assert all(value.is_contiguous() for value in read_content(tmp_path / f"{name}.pt")["state_dict"].values())
        assert all(value.is_contiguous() for value in read_backbone(tmp_path / f"{name}_backbone.pt").state.values())
        assert weights_digest(read_checkpoint(tmp_path / f"{name}.pt").student) == digest
    assert read_backbone(tmp_path / "last_backbone.pt").compute == "channels_last fp32"
