"""ImageNet weights for the encoders of peers and of students on timm's backbones: fetched by name, or from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

from kda_edge.errors import MissingDependency, TrainingError, UsageError, one_line
from kda_edge.networks.network import Network
from kda_edge.networks.timm_student import TimmStudent, keys_in_encoder
from kda_edge.networks.weights_file import HUB, read_weights
from kda_edge.quiet_logger import quiet

IMAGENET: Final = "imagenet"
MSCAN_URL: Final = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segnext/mscan_b_20230227-3ab7d230.pth"
SMALL_UNET_NAME: Final = "resnet18.a1_in1k"


@dataclass(frozen=True)
class ImageNetWeights:
    """Where the ImageNet weights of an encoder come from.

    Attributes:
        fetch: has the encoder's library fetch them, and returns them.
        file: says which file it fetches.
        beside: key prefixes of what they hold and the encoder does not: a classifier, or stages that are not used.
        renamed: keys that the encoder calls otherwise.
    """

    fetch: Callable[[], Mapping[str, Tensor]]
    file: Callable[[], str]
    beside: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)


def load_encoder_weights(peer: Network, source: str | Path, *, imagenet: ImageNetWeights | None = None) -> None:
    """Put weights into the encoder of a network; either all of them fit, or it stays as it was.

    Args:
        peer: of `kda_edge.networks.peers`, or a student on a backbone of timm; its decoder is left alone.
        source: `imagenet`, which needs the internet, or a state dict (`.safetensors`, `.pt`, `.pth`) of the encoder,
            with or without a classifier, bare or as the `encoder` or `backbone` of a whole network.
        imagenet: where the weights of that name come from; None: from where the peer's library has them.

    Raises:
        UsageError: the network has no encoder of another origin.
        MissingDependency: the encoder's library is not installed.
        TrainingError: the weights can't be fetched or read, or are another encoder's.
    """
    known = imagenet or IMAGENET_WEIGHTS.get(peer.variant) or _of_student(peer)
    if known is None:
        raise UsageError(
            f"{peer.variant} takes no encoder weights; choose {', '.join(IMAGENET_WEIGHTS)}, or a backbone of timm "
            "with a head, such as tf_efficientnet_lite0+dcf"
        )
    if str(source) == IMAGENET:
        state, name = _fetched(peer, known), "the ImageNet file"
    else:
        state, name = _encoder_part(read_weights(Path(source))), Path(source).name
    kept = {key: value for key, value in state.items() if not key.startswith(known.beside)}
    state = {known.renamed.get(key, key): value for key, value in kept.items()}
    _load(peer, state, name)


def _fetched(peer: Network, known: ImageNetWeights) -> Mapping[str, Tensor]:
    try:
        with quiet(HUB):  # it logs each of its tries; what came of them is said once, by us
            return known.fetch()
    except MissingDependency:
        raise
    # Each hub fails in its own ways, offline and online; all of them mean the same.
    except Exception as error:
        raise TrainingError(
            f"the ImageNet weights for {peer.variant} can't be fetched ({one_line(error)}); download {known.file()} on "
            "another machine and give the file with --encoder-weights"
        ) from error


def _encoder_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the encoder, their keys without what wraps them."""
    for prefix in ("encoder.", "backbone."):
        inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if inside:
            return inside
    return dict(state)


def _load(peer: Network, state: Mapping[str, Tensor], name: str) -> None:
    expected = peer.encoder.state_dict()
    # timm's features are wrapped once more in segmentation-models-pytorch.
    if all(key.startswith("model.") for key in expected) and not any(key.startswith("model.") for key in state):
        state = {f"model.{key}": value for key, value in state.items()}
    # A counter that older files lack; it weighs nothing.
    missing = sorted(key for key in expected.keys() - state.keys() if not key.endswith("num_batches_tracked"))
    unknown = sorted(state.keys() - expected.keys())
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has an unknown entry {unknown[0]}"
        raise TrainingError(
            f"{name} does not fit the encoder of {peer.variant}: it {what}; give that encoder's weights"
        )
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise TrainingError(
                f"{name}: {key} has shape {tuple(value.shape)} where the encoder of {peer.variant} has "
                f"{tuple(expected[key].shape)}; give that encoder's weights"
            )
        if not torch.isfinite(value).all():
            raise TrainingError(f"{name}: {key} holds values that are not finite; fetch the file again")
    peer.encoder.load_state_dict({**expected, **state})


def _torchvision_weights() -> Any:
    try:
        from torchvision.models import ResNet50_Weights
    except ModuleNotFoundError as error:
        raise MissingDependency("torchvision", extra="train") from error
    return ResNet50_Weights.IMAGENET1K_V1  # the ones that torchvision itself starts its FCN from


def _of_torchvision() -> ImageNetWeights:
    return ImageNetWeights(
        fetch=lambda: _torchvision_weights().get_state_dict(progress=False, check_hash=True),
        file=lambda: str(_torchvision_weights().url),
        beside=("fc.",),
    )


def _smp_encoders() -> Any:
    try:
        import segmentation_models_pytorch as smp
    except ModuleNotFoundError as error:
        raise MissingDependency("segmentation-models-pytorch", extra="train") from error
    return smp.encoders


def _of_smp(encoder: str, beside: tuple[str, ...]) -> ImageNetWeights:
    def fetch() -> Mapping[str, Tensor]:
        state: Mapping[str, Tensor] = _smp_encoders().get_encoder(encoder, weights=IMAGENET).state_dict()
        return state

    def file() -> str:
        settings = _smp_encoders().encoders[encoder]["pretrained_settings"][IMAGENET]
        return f"model.safetensors of https://huggingface.co/{settings['repo_id']}"

    return ImageNetWeights(fetch, file, beside)


def _of_timm(name: str, beside: tuple[str, ...]) -> ImageNetWeights:
    def fetch() -> Mapping[str, Tensor]:
        try:
            import timm
        except ModuleNotFoundError as error:
            raise MissingDependency("timm", extra="train") from error
        state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
        return state

    return ImageNetWeights(fetch, lambda: f"model.safetensors of https://huggingface.co/timm/{name}", beside)


def _of_student(network: Network) -> ImageNetWeights | None:
    if not isinstance(network, TimmStudent):
        return None
    renamed, beside = keys_in_encoder(network.backbone, network.encoder)
    return dataclasses.replace(_of_timm(network.backbone, beside), renamed=renamed)


def _fetched_mscan() -> Mapping[str, Tensor]:
    content = torch.hub.load_state_dict_from_url(MSCAN_URL, map_location="cpu", progress=False, weights_only=True)
    return _encoder_part(content)


# By the name of the peer.
IMAGENET_WEIGHTS: Final = MappingProxyType(
    {
        "fcn": _of_torchvision(),
        "unet": _of_smp("resnet50", beside=("fc.",)),
        "deeplabv3plus": _of_smp("resnet50", beside=("fc.",)),
        "mffenet": _of_smp("resnet101", beside=("fc.",)),
        "segformer": _of_smp("mit_b2", beside=("head.",)),
        "segnext": ImageNetWeights(_fetched_mscan, lambda: MSCAN_URL, beside=("head.", "norm1.")),
        "unet-small": _of_timm(SMALL_UNET_NAME, beside=("fc.", "layer4.")),
    }
)
