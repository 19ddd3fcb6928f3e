"""The networks that Table II compares with KDA, and a small UNet for small machines.

Each is a `Network` like the student: it trains, is evaluated, exports and runs the same way. Those that kept libraries
have come from there; MFFENet and SegNeXt are built here. All weights are fresh: `imagenet_weights` puts ImageNet's
into an encoder.

The paper names its peers and gives no sizes. These are the sizes that each is usually meant in, with the residual
networks on one backbone, ResNet-50, so that their rows tell the decoders apart; MFFENet has its authors' ResNet-101.
Parameters: fcn 32.9 M, unet 32.5 M, deeplabv3plus 26.7 M, mffenet 71.4 M, segformer 27.3 M, segnext 27.6 M,
unet-small 3.4 M.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from kda_edge.decoders.decoder_layers import CLASSES, landslide_minus_background, upsample
from kda_edge.decoders.library_decoders import SegformerSteps, UnetSteps, deeplabv3plus_steps
from kda_edge.decoders.light_hamburger import DECODER_WIDTHS, LightHamburger
from kda_edge.decoders.mffenet import MffenetDecoder, with_multi_grid
from kda_edge.errors import MissingDependency, UsageError
from kda_edge.networks.imagenet_weights import load_encoder_weights
from kda_edge.networks.mscan import MSCANS, Mscan
from kda_edge.networks.network import Network
from kda_edge.networks.pvt import require_supported_size

__all__ = ["PEERS", "Peer", "load_encoder_weights", "peer_from_name"]

SEGFORMER_WIDTH: Final = 768  # of the MLP decoder of SegFormer-B2 (arXiv:2105.15203, table 6); the library has 256


class Peer(Network):
    """A network of another origin.

    Args:
        variant: a key of `PEERS`.
        encoder: image -> whatever `decoder` takes.
        decoder: -> class logits, (B, 2, H / s, W / s), for any whole s.
    """

    def __init__(self, variant: str, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.variant, self.encoder, self.decoder = variant, encoder, decoder

    def forward(self, image: Tensor) -> Tensor:
        """Return the landslide logit (landslide minus background), (B, 1, H, W).

        Args:
            image: normalised, (B, 3, H, W), both sides multiples of 32.

        Raises:
            UnsupportedSize: a side is no multiple of 32.
        """
        require_supported_size(*image.shape[2:])
        logit = landslide_minus_background(self.decoder(self.encoder(image)))
        stride_px = image.shape[2] // logit.shape[2]
        return upsample(logit, stride_px) if stride_px > 1 else logit


def _smp() -> Any:
    try:
        import segmentation_models_pytorch as smp
    except ModuleNotFoundError as error:
        raise MissingDependency("segmentation-models-pytorch", extra="train") from error
    return smp


def _fcn() -> Peer:
    try:
        from torchvision.models.segmentation import fcn_resnet50
    except ModuleNotFoundError as error:
        raise MissingDependency("torchvision", extra="train") from error
    model = fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False)
    return Peer("fcn", nn.Sequential(OrderedDict(model.backbone.named_children())), model.classifier)


def _unet() -> Peer:
    model = _smp().Unet("resnet50", encoder_weights=None, classes=CLASSES)
    return Peer("unet", model.encoder, _steps(UnetSteps(model.decoder), model.segmentation_head))


def _unet_small() -> Peer:
    """ResNet-18 without its last stage, and a narrow decoder: 3.38 M parameters, where `nano` has 3.31 M."""
    model = _smp().Unet(
        "tu-resnet18", encoder_depth=4, encoder_weights=None, decoder_channels=(96, 64, 32, 16), classes=CLASSES
    )
    return Peer("unet-small", model.encoder, _steps(UnetSteps(model.decoder), model.segmentation_head))


def _deeplabv3plus() -> Peer:
    model = _smp().DeepLabV3Plus("resnet50", encoder_weights=None, classes=CLASSES, upsampling=1)
    return Peer("deeplabv3plus", model.encoder, _steps(deeplabv3plus_steps(model.decoder), model.segmentation_head))


def _segformer() -> Peer:
    model = _smp().Segformer(
        "mit_b2", encoder_weights=None, decoder_segmentation_channels=SEGFORMER_WIDTH, classes=CLASSES, upsampling=1
    )
    return Peer("segformer", model.encoder, _steps(SegformerSteps(model.decoder), model.segmentation_head))


def _mffenet() -> Peer:
    encoder = _smp().encoders.get_encoder("resnet101", weights=None, output_stride=16)
    channels = [encoder.out_channels[k] for k in (1, 2, 3, 5)]
    return Peer("mffenet", with_multi_grid(encoder), MffenetDecoder(channels))


def _segnext() -> Peer:
    encoder = Mscan(MSCANS["base"])
    return Peer("segnext", encoder, LightHamburger(encoder.dims, DECODER_WIDTHS["base"]))


def _steps(fuse: nn.Module, head: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(fuse=fuse, head=head))


PEERS: Final[MappingProxyType[str, Callable[[], Network]]] = MappingProxyType(
    {
        "fcn": _fcn,
        "unet": _unet,
        "deeplabv3plus": _deeplabv3plus,
        "mffenet": _mffenet,
        "segformer": _segformer,
        "segnext": _segnext,
        "unet-small": _unet_small,
    }
)


def peer_from_name(name: str) -> Network:
    """Return a peer with fresh weights.

    Raises:
        UsageError: no such peer.
        MissingDependency: the library that it comes from is not installed.
    """
    if name not in PEERS:
        raise UsageError(f"there is no peer {name!r}; choose one of {', '.join(PEERS)}")
    return PEERS[name]()
