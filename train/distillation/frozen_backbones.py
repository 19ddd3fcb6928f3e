"""Frozen vision models from timm: what teaches the student, and what the discriminator looks through.

A frozen backbone has its own normalisation and its own idea of image sizes, is always in eval mode, and none of its
parameters ever changes. It is not run under `no_grad` here: the discriminator's must hand gradients through to the
student, and who wants none (the teacher's side) says so at the call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kda_edge.errors import KdaEdgeError, MissingDependency, TrainingError, UsageError, one_line
from kda_edge.manifest import InputContract
from kda_edge.networks.checkpoint import read_checkpoint
from kda_edge.networks.pvt import STRIDES_PX, PyramidVisionTransformer
from kda_edge.networks.weights_file import reachable_hub, read_weights

from .feature_maps import LEVELS, StudentFeatures, TimmFeatures, level_indices

STUDENT: Final = "student"  # as a teacher's name: a checkpoint of ours


class FrozenBackbone(nn.Module):
    """A frozen network: image 0..1, (B, 3, H, W) -> feature maps (B, C_k, h_k, w_k), coarsest or deepest last.

    Args:
        backbone: gives its feature maps as a list when it is called.
        name: for records and messages.
        mean: of its normalisation, per band, for pixels of 0..1.
        std: of its normalisation.
        multiple_px: image sides are resized up to the next multiple of this.
        fixed_px: the only image side that it takes; 0: any multiple.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        multiple_px: int,
        fixed_px: int = 0,
    ) -> None:
        super().__init__()
        self.backbone, self.name, self.multiple_px, self.fixed_px = backbone, name, multiple_px, fixed_px
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenBackbone:
        """Stay in eval mode, whatever is asked for."""
        del mode
        super().train(False)
        return self

    def input_px(self, crop_px: int) -> int:
        """Return the side that a crop is resized to for this network: at a patch of 14, 224 -> 224 and 512 -> 518."""
        return self.fixed_px or _next_multiple(crop_px, self.multiple_px)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) of 0..1 -> its feature maps; H and W are resized (bilinear) where it can't take them."""
        size_hw = (self.input_px(image.shape[2]), self.input_px(image.shape[3]))
        if size_hw != tuple(image.shape[2:]):
            # In float: PyTorch's CPU has no antialiasing in bfloat16, which a pseudo-image is in under autocast.
            image = F.interpolate(image.float(), size=size_hw, mode="bilinear", align_corners=False, antialias=True)
        maps: list[Tensor] = self.backbone((image - self.mean) / self.std)
        return maps

    @torch.no_grad()
    def shapes(self, crop_px: int) -> list[tuple[int, int, int]]:
        """Return (C, h, w) of its feature maps for a square crop."""
        image = torch.zeros(1, 3, crop_px, crop_px, device=self.mean.device)
        return [(int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in self(image)]

    def digest(self) -> str:
        """Return the SHA-256 of its weights and normalisation: equal before and after training."""
        digest = hashlib.sha256(self.name.encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(f"{key}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def open_backbone(
    name: str,
    *,
    weights: Path | None,
    levels: str = "last",
    input_px: int = 0,
    pretrained: bool = True,
    option: str = "--teacher-weights",
) -> FrozenBackbone:
    """Open a timm model, or a student of ours, as a frozen backbone.

    Args:
        name: of timm, such as `vit_large_patch14_dinov2.lvd142m` or `convnext_large.fb_in22k`; or `student`.
        weights: state dict (`.safetensors`, `.pth`, `.pt`); None: timm fetches the weights of that name.
            For `student`: a checkpoint of kda-train.
        levels: `last`: the last map alone; `stages`: the deepest map of each stride 4 to 32, or of four evenly
            spaced blocks where all have one stride (ViT).
        input_px: side that every crop is resized to, up to the next one that the model takes; 0: the crop's own.
        pretrained: False gives random weights, for tests.
        option: of the command line that takes a weights file, for messages.

    Raises:
        MissingDependency: timm is not installed.
        UsageError: timm knows no such model, or it yields no feature maps.
        TrainingError: the weights can't be fetched or don't fit.
    """
    if levels not in LEVELS:
        raise UsageError(f"levels must be one of {', '.join(LEVELS)}, not {levels!r}")
    if name == STUDENT:
        return _open_student(weights, levels, input_px)
    try:
        import timm
        import timm.data
    except ModuleNotFoundError as error:
        raise MissingDependency("timm", extra="train") from error
    if name.split(".", maxsplit=1)[0] not in timm.list_models():
        near = timm.list_models(f"*{name.split('.', maxsplit=1)[0][:8]}*")[:5]
        raise UsageError(
            f"timm {timm.__version__} has no model {name!r}" + (f"; it has {', '.join(near)}" if near else "")
        )
    model = _timm_model(name, weights, pretrained=pretrained, option=option)
    resolve: Any = getattr(timm.data, "resolve_model_data_config")  # noqa: B009  # timm does not export it by type
    config = resolve(model)
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    dynamic = bool(getattr(getattr(model, "patch_embed", None), "dynamic_img_pad", False)) or hasattr(
        model, "dynamic_img_size"
    )
    fixed_px = 0 if dynamic or patch is None else int(config["input_size"][-1])
    info = getattr(model, "feature_info", None)
    if info is None or not hasattr(model, "forward_intermediates"):
        raise UsageError(f"{name} yields no feature maps; choose a model with forward_intermediates in timm")
    strides = [int(entry["reduction"]) for entry in (info if isinstance(info, list) else info.info)]
    multiple_px = int(patch[0]) if patch is not None and dynamic else STRIDES_PX[-1]
    return FrozenBackbone(
        TimmFeatures(model, level_indices(strides, levels)),
        name=name,
        mean=config["mean"],
        std=config["std"],
        multiple_px=multiple_px,
        fixed_px=fixed_px or _next_multiple(input_px, multiple_px),
    )


def _next_multiple(side_px: int, multiple_px: int) -> int:
    return -(-side_px // multiple_px) * multiple_px


def _timm_model(name: str, weights: Path | None, *, pretrained: bool, option: str) -> Any:
    import timm

    overlay = None if weights is None else {"state_dict": read_weights(weights)}
    arguments: dict[str, Any] = {"pretrained": pretrained or weights is not None, "pretrained_cfg_overlay": overlay}
    if "vit" in name or "eva" in name or "beit" in name:
        arguments["dynamic_img_size"] = True  # position embeddings are resized to the image's grid
    try:
        with reachable_hub():
            try:
                return timm.create_model(name, **arguments)
            except TypeError:  # a model without that option
                arguments.pop("dynamic_img_size", None)
                return timm.create_model(name, **arguments)
    # Hubs and unpicklers fail in every way there is: no route, no name, no such key, other shapes.
    except Exception as error:
        first = one_line(error).split(". ")[0]
        if weights is not None:
            raise TrainingError(f"{weights} does not hold the weights of {name}: {first}") from error
        raise TrainingError(_how_to_fetch(name, first, option)) from error


def _how_to_fetch(name: str, reason: str, option: str) -> str:
    import timm

    pretrained = timm.get_pretrained_cfg(name)
    hub = getattr(pretrained, "hf_hub_id", None) if pretrained else None
    url = getattr(pretrained, "url", None) if pretrained else None
    if hub:
        place = f"model.safetensors of https://huggingface.co/{hub}"
    elif url:
        place = str(url)
    else:
        return f"timm has no weights of its own for {name}; give a state dict with {option}"
    return f"the weights of {name} can't be fetched ({reason}); download {place} elsewhere and give it with {option}"


def _open_student(weights: Path | None, levels: str, input_px: int) -> FrozenBackbone:
    if weights is None:
        raise UsageError("the teacher 'student' needs a checkpoint of kda-train as its weights file")
    try:
        checkpoint = read_checkpoint(weights)
    except KdaEdgeError as error:
        raise TrainingError(str(error)) from error
    encoder = checkpoint.student.encoder
    if not isinstance(encoder, PyramidVisionTransformer):
        raise UsageError(f"{weights} holds {checkpoint.student.variant!r}, which is no student; give one of kda-train")
    features = StudentFeatures(encoder, [3] if levels == "last" else [0, 1, 2, 3])
    name = f"{STUDENT}:{checkpoint.student.variant}"
    return frozen_encoder(features, checkpoint.input, name=name, fixed_px=_next_multiple(input_px, STRIDES_PX[-1]))


def frozen_encoder(features: nn.Module, contract: InputContract, *, name: str, fixed_px: int = 0) -> FrozenBackbone:
    """Return an encoder of ours as a frozen backbone.

    Args:
        features: gives the encoder's maps as a list when it is called.
        contract: the pixels that it was trained on, with mean and std in their own units.
        name: for records and messages.
        fixed_px: the only image side that it takes; 0: any multiple of its coarsest stride.
    """
    low, high = contract.value_range
    return FrozenBackbone(
        features,
        name=name,
        mean=[(value - low) / (high - low) for value in contract.mean],
        std=[value / (high - low) for value in contract.std],
        multiple_px=STRIDES_PX[-1],
        fixed_px=fixed_px,
    )
