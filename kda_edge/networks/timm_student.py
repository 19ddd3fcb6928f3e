"""Students on a backbone of timm: any that has maps at strides 4, 8, 16 and 32, under DCF or another head."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from kda_edge.decoders.by_name import HEADS
from kda_edge.decoders.dcf import DcfDecoder
from kda_edge.errors import MissingDependency, UsageError
from kda_edge.networks.network import Network
from kda_edge.networks.pvt import require_supported_size

DCF: Final = "dcf"
DCF_WIDTH: Final = 48  # unmeasured choice; DCF's gates need a multiple of 16
STRIDES: Final = (4, 8, 16, 32)


class TimmStudent(Network):
    """A landslide segmentation student on a backbone of timm, such as `tf_efficientnet_lite0+fpn`.

    Args:
        variant: `<backbone>+<head>`, with timm's name of the backbone and `dcf` or a key of `HEADS`.

    Attributes:
        backbone: timm's name of the encoder.
        channels: of its four maps, finest first.

    Raises:
        UsageError: timm has no such backbone, it lacks a stride, or there is no such head.
        MissingDependency: timm is not installed.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        require_head(variant)
        self.backbone, _, head = variant.partition("+")
        self.variant = variant
        self.encoder, self.channels = _encoder(self.backbone)
        self.decoder = DcfOnAnyMaps(self.channels) if head == DCF else HEADS[head](self.channels)

    def forward(self, image: Tensor) -> Tensor:
        """Return the landslide logit (landslide minus background), (B, 1, H, W).

        Args:
            image: normalised, (B, 3, H, W), both sides multiples of 32.

        Raises:
            UnsupportedSize: a side is no multiple of 32.
        """
        require_supported_size(*image.shape[2:])
        logit: Tensor = self.decoder(self.encoder(image))
        return logit


class DcfOnAnyMaps(nn.Module):
    """DCF below a 1 x 1 convolution that brings the finest map to DCF's width; DCF does so with the others itself.

    Args:
        in_channels: channels of the four maps, finest first.
    """

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.finest = nn.Sequential(nn.Conv2d(in_channels[0], DCF_WIDTH, 1), nn.GELU())
        self.fuse = DcfDecoder((DCF_WIDTH, *in_channels[1:]), DCF_WIDTH)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the landslide logit, (B, 1, H, W), from maps at strides 4, 8, 16 and 32."""
        logit: Tensor = self.fuse([self.finest(maps[0]), *maps[1:]])
        return logit


def require_head(variant: str) -> None:
    """Raise `UsageError` unless a variant ends in a head that there is."""
    head = variant.partition("+")[2]
    if head != DCF and head not in HEADS:
        raise UsageError(f"there is no head {head!r}; choose one of {', '.join((DCF, *HEADS))}")


def is_timm_backbone(name: str) -> bool:
    """Whether the installed timm has a network of a name."""
    try:
        return bool(_timm().is_model(name))
    except MissingDependency:
        return False


def keys_in_encoder(backbone: str, encoder: nn.Module) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return, for the state dict of a whole network of timm, each key's name in the encoder, and the keys beside it.

    timm names the stages of some encoders anew (`stages.0` becomes `stages_0`) and leaves the classifier out.
    """
    with torch.device("meta"):
        whole = _create(backbone)
    parts = {name.replace(".", "_"): name for name, _ in whole.named_modules()}
    prefixes = {f"{parts[child]}.": f"{child}." for child, _ in encoder.named_children() if child in parts}
    expected, renamed, beside = set(encoder.state_dict()), {}, []
    for key in whole.state_dict():
        old, new = next((item for item in prefixes.items() if key.startswith(item[0])), ("", ""))
        inside = key if key in expected else f"{new}{key.removeprefix(old)}"
        if inside in expected:
            renamed[key] = inside
        else:
            beside.append(key)
    return renamed, tuple(beside)


def _encoder(backbone: str) -> tuple[nn.Module, list[int]]:
    """Return the part of a network of timm that makes the four maps, with fresh weights, and their channels."""
    if not _timm().is_model(backbone):
        raise UsageError(f"timm {_timm().__version__} has no network {backbone!r}; see timm.list_models()")
    try:
        with torch.device("meta"):
            known = _create(backbone, features_only=True).feature_info
        strides = dict(zip(known.out_indices, known.reduction(), strict=True))
        last = {stride: index for index, stride in strides.items()}  # of several maps of a stride, the deepest
        encoder = _create(backbone, features_only=True, out_indices=[last[stride] for stride in STRIDES])
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError) as error:  # each network fails in its way
        raise UsageError(
            f"{backbone} has no maps at strides {', '.join(map(str, STRIDES))}, which a head needs; "
            "choose a network of timm that has, such as tf_efficientnet_lite0"
        ) from error
    return encoder, list(encoder.feature_info.channels())


def _create(backbone: str, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that timm has changed, which it still knows
        return _timm().create_model(backbone, pretrained=False, **options)


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise MissingDependency("timm", extra="train") from error
    return timm
