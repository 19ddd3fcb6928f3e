"""ImageNet weights reach the encoder whole or not at all, and a hub that can't be reached costs one line."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from kda_edge.errors import TrainingError, UsageError
from kda_edge.networks.imagenet_weights import IMAGENET_WEIGHTS, ImageNetWeights, load_encoder_weights
from kda_edge.networks.network import Network
from kda_edge.networks.peers import PEERS, peer_from_name
from kda_edge.networks.student import Student

State = dict[str, Tensor]


@pytest.fixture
def peer() -> Network:
    torch.manual_seed(0)
    return peer_from_name("unet-small")


@pytest.fixture(scope="module")
def published() -> State:
    """A classifier as timm has it, with stages and a head that the small UNet does not use."""
    torch.manual_seed(1)
    model = timm.create_model("resnet18", pretrained=False)
    for buffer in model.buffers():
        buffer.add_(1)
    return dict(model.state_dict())


def copied(state: Mapping[str, Tensor]) -> State:
    return {key: value.clone() for key, value in state.items()}


def as_it_is(state: State, path: Path) -> Path:
    torch.save(state, path / "weights.pth")
    return path / "weights.pth"


def as_safetensors(state: State, path: Path) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, path / "model.safetensors")
    return path / "model.safetensors"


def as_backbone_of_a_run(state: State, path: Path) -> Path:
    inside = {f"module.backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    torch.save({"epoch": 3, "state_dict": {**inside, "module.head.weight": torch.zeros(2)}}, path / "run.pt")
    return path / "run.pt"


@pytest.mark.parametrize("written", [as_it_is, as_safetensors, as_backbone_of_a_run])
def test_a_file_fills_the_encoder_and_leaves_the_decoder(
    peer: Network, published: State, tmp_path: Path, written: Callable[[State, Path], Path]
) -> None:
    decoder = copied(peer.decoder.state_dict())
    load_encoder_weights(peer, written(published, tmp_path))
    for key, value in peer.encoder.state_dict().items():
        assert torch.equal(value, published[key.removeprefix("model.")]), key
    assert all(torch.equal(value, decoder[key]) for key, value in peer.decoder.state_dict().items())


def test_a_file_without_the_counters_of_the_norms_is_taken(peer: Network, published: State, tmp_path: Path) -> None:
    old = {key: value for key, value in published.items() if not key.endswith("num_batches_tracked")}
    load_encoder_weights(peer, as_it_is(old, tmp_path))
    assert torch.equal(peer.encoder.state_dict()["model.conv1.weight"], published["conv1.weight"])


def test_a_published_name_is_fetched(peer: Network, published: State) -> None:
    fetched = dataclasses.replace(IMAGENET_WEIGHTS["unet-small"], fetch=lambda: published)
    load_encoder_weights(peer, "imagenet", imagenet=fetched)
    assert torch.equal(peer.encoder.state_dict()["model.conv1.weight"], published["conv1.weight"])


def test_a_hub_that_cannot_be_reached_costs_one_line_that_names_the_file(
    peer: Network, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable() -> Mapping[str, Tensor]:
        logging.getLogger("huggingface_hub.utils").warning("retrying")
        raise ConnectionError("no route to the hub\n  and a page of explanations")

    away = ImageNetWeights(fetch=unreachable, file=lambda: "model.safetensors of the hub", beside=())
    with pytest.raises(TrainingError) as caught:
        load_encoder_weights(peer, "imagenet", imagenet=away)
    assert str(caught.value) == (
        "the ImageNet weights for unet-small can't be fetched (no route to the hub); download model.safetensors of the "
        "hub on another machine and give the file with --encoder-weights"
    )
    assert caplog.messages == []


def test_every_peer_says_which_file_its_weights_are_in() -> None:
    assert IMAGENET_WEIGHTS.keys() == PEERS.keys()
    for known in IMAGENET_WEIGHTS.values():
        assert "https://" in known.file()
        assert ".pth" in known.file() or "model.safetensors" in known.file()


@pytest.mark.parametrize(
    ("name", "network"),
    [("fcn", "resnet50"), ("unet", "resnet50"), ("deeplabv3plus", "resnet50"), ("mffenet", "resnet101")],
)
def test_a_residual_encoder_has_the_names_and_shapes_of_torchvisions(name: str, network: str) -> None:
    with torch.device("meta"):
        encoder = peer_from_name(name).encoder
        classifier: Any = getattr(torchvision.models, network)(weights=None)
    ours = {key: value.shape for key, value in encoder.state_dict().items()}
    theirs = {key: value.shape for key, value in classifier.state_dict().items()}
    assert ours == {key: shape for key, shape in theirs.items() if not key.startswith(IMAGENET_WEIGHTS[name].beside)}


def without(state: State, key: str) -> State:
    return {other: value for other, value in state.items() if other != key}


WRONG: Mapping[str, tuple[Callable[[State], object], str]] = {
    "a weight is missing": (lambda s: without(s, "layer1.0.conv1.weight"), "lacks model.layer1.0.conv1.weight"),
    "a weight is unknown": (lambda s: {**s, "extra.weight": torch.ones(1)}, "unknown entry model.extra.weight"),
    "another width": (
        lambda s: {**s, "conv1.weight": torch.ones(8, 3, 7, 7)},
        r"conv1.weight has shape \(8, 3, 7, 7\) where the encoder of unet-small has \(64, 3, 7, 7\)",
    ),
    "not finite": (lambda s: {**s, "bn1.weight": torch.full((64,), torch.nan)}, "not finite"),
    "a list": (lambda s: list(s.values()), "holds list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_weights_of_another_encoder_are_refused_in_one_line_and_change_nothing(
    peer: Network, published: State, tmp_path: Path, name: str
) -> None:
    spoil, words = WRONG[name]
    torch.save(spoil(published), tmp_path / "weights.pth")
    before = copied(peer.state_dict())
    with pytest.raises(TrainingError, match=words) as caught:
        load_encoder_weights(peer, tmp_path / "weights.pth")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in peer.state_dict().items())


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_foreign_bytes_and_a_missing_file_are_named(peer: Network, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(TrainingError, match="there is no weights file"):
        load_encoder_weights(peer, path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(TrainingError, match=f"{name} is no state dict, or is damaged"):
        load_encoder_weights(peer, path)


def test_a_file_that_would_run_code_is_refused(peer: Network, tmp_path: Path) -> None:
    torch.save({"conv1.weight": Path("anything")}, tmp_path / "weights.pt")
    with pytest.raises(TrainingError, match="holds more than tensors"):
        load_encoder_weights(peer, tmp_path / "weights.pt")


def test_a_student_takes_no_encoder_weights() -> None:
    with pytest.raises(UsageError, match="nano takes no encoder weights; choose fcn"):
        load_encoder_weights(Student("nano"), "imagenet")
