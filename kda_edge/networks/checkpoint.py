"""Checkpoints: one file holds a student and all that export must know about it.

Two kinds are read, both with `weights_only=True`, so that no file can run code:

- ours: a dict with the keys of `Checkpoint` and the marker `format`;
- a published KDA state dict, bare or under `state_dict` or `model`; its variant is recognised from the shapes, and
  its input is taken to be 8-bit RGB with ImageNet statistics, since the file says nothing about it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from kda_edge.errors import CheckpointError, ManifestError, UsageError, one_line
from kda_edge.manifest import STRIDE_PX, InputContract, TrainingRecord, from_plain
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.network import Network
from kda_edge.networks.student import VARIANTS
from kda_edge.paths import is_file
from kda_edge.whole_files import staged

FORMAT: Final = "kda-edge checkpoint"
FORMAT_VERSION: Final = 1
PUBLISHED_TILE_PX: Final = 512  # of the CAS tiles that the published models are for
BACKBONE_FORMAT: Final = "kda-edge backbone"
DISTILLATION_FORMAT: Final = "kda-edge distillation"
# What else kda-train writes, what it is and what to do with it.
OTHER_FORMATS: Final = {
    BACKBONE_FORMAT: "phase 1 only, a distilled backbone; run kda-train segment with it as --backbone",
    DISTILLATION_FORMAT: "phase 1 only; run kda-train segment with the distilled.pt beside it as --backbone",
}
REMEDY: Final = "give a checkpoint of kda-train or a published KDA state dict"


@dataclass(frozen=True)
class Checkpoint:
    """A student and what it was trained on.

    Attributes:
        student: the network, in eval mode, on the CPU.
        input: the pixels that it may be given.
        threshold: landslide probability from which a pixel counts as landslide.
        training: how it came to be.
        tile_px: side of the crops that it was trained on.
        declared: whether the file itself says all this; False for a bare published state dict.
        compute: memory format and precision that it was trained in, such as `channels_last fp32`; empty: not recorded.
    """

    student: Network
    input: InputContract
    threshold: float
    training: TrainingRecord
    tile_px: int
    declared: bool = True
    compute: str = ""


def load_student(path: str | Path) -> Network:
    """Return the student of a checkpoint or published state dict, in eval mode, on the CPU.

    Raises:
        CheckpointError: missing, truncated, foreign, or of no known variant.
    """
    return read_checkpoint(path).student


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ours or a published state dict.

    Raises:
        CheckpointError: missing, truncated, foreign, or of no known variant.
    """
    return checkpoint_from_content(read_content(path), Path(path).name)


def read_content(path: str | Path) -> Mapping[str, Any]:
    """Return the dict that a checkpoint file holds; nothing in the file can run code.

    Raises:
        CheckpointError: missing, truncated, or not a dict.
    """
    path = Path(path)
    if not is_file(path):
        raise CheckpointError(f"there is no checkpoint {path}; check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # Foreign bytes make the unpickler and the zip reader fail in every way there is; all of them mean the same.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise CheckpointError(f"{path} can't be read: {one_line(error)}") from error
        raise CheckpointError(
            f"{path.name} is not a checkpoint, or is damaged, or holds more than tensors and plain values; {REMEDY}"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path.name} holds {type(content).__name__} and no state dict; {REMEDY}")
    return content


def checkpoint_from_content(content: Mapping[str, Any], name: str) -> Checkpoint:
    """Build a `Checkpoint` from the dict that its file holds; `name` is for messages.

    Raises:
        CheckpointError: no student is in it, or it contradicts itself.
    """
    if content.get("format") in OTHER_FORMATS:
        raise CheckpointError(f"{name} holds {OTHER_FORMATS[content['format']]}")
    if content.get("format") != FORMAT:
        state = _published_state(content, name)
        student = network_from_state(_variant_from_shapes(state, name), state, name)
        return Checkpoint(student, InputContract(), 0.5, TrainingRecord(), PUBLISHED_TILE_PX, declared=False)
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{name} has format version {version}, this kda-edge reads {FORMAT_VERSION}; upgrade it")
    try:
        input_contract = from_plain(InputContract, content.get("input"), where="input")
        training = from_plain(TrainingRecord, content.get("training"), where="training")
    except ManifestError as error:
        raise CheckpointError(f"{name}: {error}") from error
    threshold, tile_px = content.get("threshold"), content.get("tile_px")
    if not isinstance(threshold, float) or not 0 < threshold < 1:
        raise CheckpointError(f"{name}: the threshold must lie between 0 and 1, not {threshold!r}")
    if not isinstance(tile_px, int) or tile_px < STRIDE_PX or tile_px % STRIDE_PX:
        raise CheckpointError(f"{name}: tile_px must be a multiple of {STRIDE_PX}, not {tile_px!r}")
    variant = content.get("variant")
    if not isinstance(variant, str):
        raise CheckpointError(f"{name} does not say which network it holds; {REMEDY}")
    student = network_from_state(variant, _tensors(content.get("state_dict"), name), name)
    return Checkpoint(student, input_contract, threshold, training, tile_px, compute=str(content.get("compute", "")))


def content_from_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the plain dict that `write_content` stores for a checkpoint."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "variant": checkpoint.student.variant,
        "state_dict": {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in checkpoint.student.state_dict().items()
        },
        "input": dataclasses.asdict(checkpoint.input),
        "threshold": float(checkpoint.threshold),
        "training": dataclasses.asdict(checkpoint.training),
        "tile_px": int(checkpoint.tile_px),
        "compute": checkpoint.compute,
    }


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: afterwards `path` holds either all of it or what it held before."""
    write_content(path, content_from_checkpoint(checkpoint))


def write_content(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a dict of tensors and plain values atomically and durably.

    Raises:
        OSError: the folder is missing, not writable or full.
    """
    with staged(Path(path)) as hidden, hidden.open("wb") as file:
        try:
            torch.save(dict(content), file)
        except RuntimeError as error:  # of torch, about a position in the file, on top of what the system said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def weights_digest(student: Network) -> str:
    """Return the SHA-256 of the student's variant and weights: equal for equal students, wherever they are stored."""
    digest = hashlib.sha256(student.variant.encode())
    for key, value in sorted(student.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def network_from_state(variant: str, state: Mapping[str, Tensor], name: str) -> Network:
    """Build the network `variant` with the weights of a state dict, in eval mode.

    Raises:
        CheckpointError: no such network, other keys or shapes than it has, or a weight is not finite.
    """
    try:
        student = network_from_name(variant)
    except UsageError as error:
        raise CheckpointError(f"{name}: {error}") from error
    expected = student.state_dict()
    # `init_pos` is a constant of the architecture: a state dict may leave it out, and may not change it.
    missing = sorted(key for key in expected.keys() - state.keys() if not key.endswith("init_pos"))
    unknown = sorted(state.keys() - expected.keys())
    if missing or unknown:
        what = f"lacks {missing[0]}" if missing else f"has an unknown entry {unknown[0]}"
        raise CheckpointError(f"{name} does not fit the network {variant!r}: it {what}; {REMEDY}")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise CheckpointError(
                f"{name}: {key} has shape {tuple(value.shape)} where {variant!r} has {tuple(expected[key].shape)}; "
                f"{REMEDY}"
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{name}: {key} holds values that are not finite; the training run has diverged")
        if key.endswith("init_pos") and not torch.allclose(value.float(), expected[key], atol=1e-6):
            raise CheckpointError(f"{name}: {key} differs from the architecture's constant; {REMEDY}")
    student.load_state_dict(dict(state), strict=False)
    return student.eval()


def _published_state(content: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            return _tensors(content[key], name)
    return _tensors(content, name)


def _tensors(state: object, name: str) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{name} holds no state dict of tensors; {REMEDY}")
    # DataParallel and DistributedDataParallel put `module.` before every key.
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _variant_from_shapes(state: Mapping[str, Tensor], name: str) -> str:
    try:
        dims = tuple(state[f"encoder.patch_embed{k}.proj.weight"].shape[0] for k in (1, 2, 3, 4))
        width = state["decoder.head.weight"].shape[1]
    except (KeyError, IndexError):
        raise CheckpointError(f"{name} is a state dict of another architecture, not PVT + DCF; {REMEDY}") from None
    depths = tuple(
        len({key.split(".")[2] for key in state if key.startswith(f"encoder.block{k}.")}) for k in (1, 2, 3, 4)
    )
    for variant, spec in VARIANTS.items():
        if (spec.dims, spec.depths, spec.decoder_width) == (dims, depths, width):
            return variant
    raise CheckpointError(
        f"{name} has dims {dims}, depths {depths} and decoder width {width}, which no student has; {REMEDY}"
    )
