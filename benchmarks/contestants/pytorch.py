"""The peers that run the checkpoint in PyTorch: eager, or compiled; in the folded order, or in the published one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract, Manifest
from kda_edge.networks.checkpoint import read_checkpoint, weights_digest
from kda_edge.networks.network import Network
from kda_edge.networks.student import Student

from .batch_choice import candidates_on
from .task import MappingTask
from .tile_loop import LoopPeer

MODES: Final = ("eager", "compile")
TYPES: Final = MappingProxyType({"fp16": torch.float16, "bf16": torch.bfloat16})  # float32 needs no autocast


def network_of(task: MappingTask) -> Network:
    """Return the network of the task's checkpoint for the artifact's tile, and let PyTorch use the task's threads.

    Raises:
        UsageError: there is no checkpoint, or it holds other weights than the artifact.
        CheckpointError: the file is no checkpoint.
    """
    manifest = task.model().manifest
    network = network_with_same_weights(task.checkpoint, manifest)
    torch.set_num_threads(task.threads)
    without_tf32()
    return network.at_size(manifest.tile_px, manifest.tile_px).eval()


def network_with_same_weights(checkpoint: Path | None, manifest: Manifest) -> Network:
    """Return the checkpoint's network where its weights are those that the artifact was exported from.

    Raises:
        UsageError: there is no checkpoint, or it holds other weights.
        CheckpointError: the file is no checkpoint.
    """
    if checkpoint is None:
        raise UsageError("this peer runs PyTorch and needs the artifact's checkpoint; give it with --ckpt student.pt")
    network = read_checkpoint(checkpoint).student
    if weights_digest(network) != manifest.checkpoint_sha256:
        raise UsageError(
            f"{checkpoint} holds other weights than the artifact, so the two do not compare; "
            "give the checkpoint that it was exported from"
        )
    return network


class FoldedOrder(nn.Module):
    """Raw pixels (N, 3, T, T) to landslide probability (N, 1, T, T), as the exported graph computes it."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, contract: InputContract) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(contract.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(contract.std).reshape(1, 3, 1, 1))

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the probability."""
        return torch.sigmoid(self.network((tiles - self.mean) / self.std))


class PublishedOrder(nn.Module):
    """Normalised pixels (N, 3, T, T) to landslide probability (N, 1, T, T), the head after the last sampling.

    The steps of DCF alone have two orders; any other network answers in the one that it has.

    Attributes:
        steps: which order it is, for a contestant's settings.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.student = network
        self.has_two = isinstance(network, Student) and "+" not in network.variant
        self.steps = "published order of steps" if self.has_two else "the order of steps of the exported graph"

    def forward(self, image: Tensor) -> Tensor:
        """Return the probability."""
        if isinstance(self.student, Student) and self.has_two:
            return torch.softmax(self.student.forward_plain(image), dim=1)[:, 1:]
        return torch.sigmoid(self.student(image))


def without_tf32() -> None:
    """Have float32 computed in float32 on cards, as the artifacts' engines do: by itself cuDNN takes TF32."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def computing_in(module: Callable[[Tensor], Tensor], precision: str, device: str) -> Callable[[Tensor], Tensor]:
    """Return a module's answer in inference mode, under autocast unless it computes in float32.

    Args:
        module: on the device.
        precision: `fp32`, `fp16` or `bf16`.
        device: `cpu` or `cuda`.
    """

    def answer(tiles: Tensor) -> Tensor:
        narrow = torch.autocast(device, TYPES[precision]) if precision in TYPES else nullcontext()
        with torch.inference_mode(), narrow:
            return module(tiles)

    return answer


def where_and_how(task: MappingTask) -> str:
    """Return what a contestant's settings say of where and in which precision it computes."""
    names = {"fp32": "float32", "fp16": "FP16 by autocast", "bf16": "bfloat16 by autocast"}
    return names[task.precision] + (f" on {torch.cuda.get_device_name()}" if task.device == "cuda" else "")


Compiler: TypeAlias = Callable[[nn.Module], Callable[[Tensor], Tensor]]


def _compiled(module: nn.Module) -> Callable[[Tensor], Tensor]:
    compiled: Callable[[Tensor], Tensor] = torch.compile(module, dynamic=False)
    return compiled


def open_torch(task: MappingTask, *, mode: str, compiler: Compiler = _compiled) -> LoopPeer:
    """Open the checkpoint in PyTorch, driven by a straightforward rasterio loop.

    Args:
        task: what to do.
        mode: one of `MODES`. `compile` is `torch.compile` with its defaults, for fixed shapes: a last batch that is not
            full is filled up, so that nothing is compiled while the clock runs.
        compiler: what stands for `torch.compile`.

    Raises:
        UsageError, CheckpointError: see `network_of`.
    """
    folded = FoldedOrder(network_of(task), task.model().manifest.input).eval().to(task.device)
    module = computing_in(compiler(folded) if mode == "compile" else folded, task.precision, task.device)
    sizes = candidates_on(task.device) if task.batch is None else (task.batch,)

    def answer(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        asked = len(tiles)
        if mode == "compile":
            missing = next(size for size in sizes if size >= asked) - asked
            tiles = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]), np.float32)])
        return np.asarray(module(torch.from_numpy(tiles).to(task.device)).float().cpu().numpy()[:asked])

    engine = f"PyTorch {torch.__version__}, {mode}, {where_and_how(task)}, inference mode, folded head"
    return LoopPeer(task, answer, {"engine": engine}, sizes)
