"""What the peers promise as networks, and that they are the networks that they are named after."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torchvision
from torch import Tensor, nn

from kda_edge.decoders.aspp import PooledContext
from kda_edge.decoders.library_decoders import deeplabv3plus_steps
from kda_edge.errors import MissingDependency, UnsupportedSize, UsageError
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.network import Network
from kda_edge.networks.peers import PEERS, peer_from_name

# Millions, as `kda_edge.networks.peers` tells them.
PARAMETERS = {
    "fcn": 32.9,
    "unet": 32.5,
    "deeplabv3plus": 26.7,
    "mffenet": 71.4,
    "segformer": 27.3,
    "segnext": 27.6,
    "unet-small": 3.4,
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> Network:
    """Each peer in turn; its norms have seen two batches, without which deep networks saturate."""
    torch.manual_seed(0)
    network = peer_from_name(request.param).train()
    with torch.no_grad():
        for seed in (0, 1):
            network(noise(2, 3, 64, 64, seed=seed))
    return network.eval()


def test_encoder_and_decoder_share_out_every_weight_and_buffer(peer: Network) -> None:
    parts = [id(t) for part in (peer.encoder, peer.decoder) for t in (*part.parameters(), *part.buffers())]
    assert len(parts) == len(set(parts))
    assert set(parts) == {id(t) for t in (*peer.parameters(), *peer.buffers())}


def test_a_peer_has_its_name_and_its_size(peer: Network) -> None:
    millions = sum(weight.numel() for weight in peer.parameters()) / 1e6
    assert millions == pytest.approx(PARAMETERS[peer.variant], abs=0.05)


def test_the_answer_is_one_logit_a_pixel_whatever_the_format_of_the_image(peer: Network) -> None:
    with torch.inference_mode():
        logit = peer(noise(2, 3, 64, 96))
    assert logit.shape == (2, 1, 64, 96)
    assert logit.isfinite().all()
    assert logit.std() > 1e-3  # else any constant would do


def test_an_image_is_judged_alone(peer: Network) -> None:
    images = noise(2, 3, 64, 64, seed=3)
    with torch.inference_mode():
        together, alone = peer(images), peer(images[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


@pytest.mark.parametrize("size_hw", [(64, 48), (33, 64), (0, 32)], ids=str)
def test_a_size_that_the_strides_do_not_divide_is_refused(peer: Network, size_hw: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedSize, match="multiples of 32"):
        peer(torch.zeros(1, 3, *size_hw))


def test_in_training_a_batch_of_two_gives_every_weight_a_gradient_and_a_last_image_alone_is_taken(
    peer: Network,
) -> None:
    """A weight without a gradient would stop distributed training."""
    peer.train()
    try:
        peer(noise(2, 3, 64, 64)).square().mean().backward()
        without = [name for name, weight in peer.named_parameters() if weight.grad is None]
        assert without == []
        assert peer(noise(1, 3, 64, 64)).isfinite().all()
    finally:
        peer.eval().zero_grad(set_to_none=True)


def test_a_peer_is_a_network_like_any_other() -> None:
    assert network_from_name("unet-small").variant == "unet-small"
    with pytest.raises(UsageError, match="no peer 'unet-large'; choose one of fcn, unet"):
        peer_from_name("unet-large")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("fcn", "torchvision.models.segmentation", "torchvision"),
        ("unet-small", "segmentation_models_pytorch", "segmentation-models-pytorch"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=rf"{package} is not installed; run: pip install 'kda-edge\[train\]'"):
        peer_from_name(name)


def library_model(name: str) -> tuple[nn.Module, dict[str, str]]:
    """The library's own model, and where the weights of its parts lie in ours."""
    if name == "fcn":
        model: Any = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=2)
        return model, {"backbone": "encoder", "classifier": "decoder"}
    if name == "unet-small":
        widths = (96, 64, 32, 16)
        model = smp.Unet("tu-resnet18", encoder_weights=None, classes=2, encoder_depth=4, decoder_channels=widths)
    elif name == "unet":
        model = smp.Unet("resnet50", encoder_weights=None, classes=2)
    elif name == "deeplabv3plus":
        model = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=2)
    else:
        model = smp.Segformer("mit_b2", encoder_weights=None, classes=2, decoder_segmentation_channels=768)
    for module in model.modules():
        if isinstance(module, nn.Upsample):
            module.align_corners = False  # the one thing that is meant to differ
    return model, {"encoder": "encoder", "decoder": "decoder.fuse", "segmentation_head": "decoder.head"}


def test_a_peer_from_a_library_answers_as_the_library_does(peer: Network) -> None:
    if peer.variant in ("mffenet", "segnext"):
        pytest.skip("no library that we use has it")
    model, places = library_model(peer.variant)
    for part, place in places.items():
        model.get_submodule(part).load_state_dict(dict(peer.get_submodule(place).state_dict()))
    image = noise(1, 3, 64, 96)
    with torch.inference_mode():
        answer = model.eval()(image)
        classes = answer["out"] if isinstance(answer, dict) else answer
        expected = classes[:, 1:] - classes[:, :1]
        torch.testing.assert_close(peer(image), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_the_pooled_context_is_the_same_everywhere_and_normed_as_in_evaluation_for_a_single_image() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    norm.running_mean, norm.running_var = torch.rand(5), torch.rand(5) + 0.5
    context = PooledContext(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 5, 1, bias=False), norm, nn.ReLU())
    image = noise(1, 3, 4, 6)
    weight = context[1].weight[:, :, 0, 0]
    pooled = weight @ image.mean(dim=(0, 2, 3))
    expected = ((pooled - norm.running_mean) / (norm.running_var + norm.eps).sqrt()).relu()
    for training in (False, True):
        found = context.train(training)(image)
        torch.testing.assert_close(found, expected.reshape(1, 5, 1, 1).expand(1, 5, 4, 6))
    two = context(noise(2, 3, 4, 6))  # now the batch's own mean and variance
    assert not torch.equal(two[:1], found)


def test_deeplab_is_resized_between_pixel_centres_and_between_nothing_else() -> None:
    decoder = deeplabv3plus_steps(smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=2).decoder)
    resizing = [module for module in decoder.modules() if isinstance(module, nn.Upsample)]
    assert [(module.mode, module.align_corners, module.scale_factor) for module in resizing] == [("bilinear", False, 4)]
