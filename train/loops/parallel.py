"""Training in one process or many: the same command alone and under `torchrun`, with the same result.

    torchrun --nproc-per-node 4 -m kda_edge.train segment --data slides --out runs/base

A batch is the batch of all processes together. Each takes every n-th item of it, and the loss is that of the whole
batch, so the number of processes changes neither rates nor weights beyond rounding (batch norm on the CPU excepted:
PyTorch synchronises it on GPUs only; the student has none).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import torch
from torch import Tensor, nn

from kda_edge.errors import MissingDependency
from kda_edge.networks.pvt import DropPath
from kda_edge.quiet_logger import quiet

from .devices import resolve_device

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FABRIC_PRECISIONS: Final = {"fp32": "32-true", "bf16": "bf16-mixed"}

_T = TypeVar("_T")


def open_fabric(device_name: str, precision: str = "fp32") -> Fabric:
    """Return a launched Fabric of this process: alone, or one of those that `torchrun` has started.

    A process may open a second one, once the precision is known: both belong to the same group of processes.

    Args:
        device_name: `auto`, `cpu`, `cuda` or `cuda:1`.
        precision: `fp32`, or `bf16` for mixed precision.

    Raises:
        MissingDependency: lightning-fabric is not installed.
        UsageError: no such device.
    """
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError as error:
        raise MissingDependency("lightning-fabric", extra="train") from error
    device = resolve_device(device_name)
    settings: dict[str, Any] = {"accelerator": device.type, "precision": FABRIC_PRECISIONS[precision]}
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        settings.update(devices=here, num_nodes=world // here, strategy="ddp")
    else:
        settings.update(devices=[device.index] if ":" in device_name else 1)
    with quiet("lightning_fabric"):  # about precision and processes, twice where two are opened
        fabric = Fabric(**settings)
        fabric.launch()
    return fabric


def share_of(batch: Sequence[_T], fabric: Fabric) -> list[_T]:
    """Return this process's items of a batch; none where there are more processes than items."""
    return list(batch[fabric.global_rank :: fabric.world_size])


def set_share(network: nn.Module, total: int, fabric: Fabric) -> None:
    """Tell stochastic depth which rows of a batch of `total` this process holds: all then drop what one would."""
    rows = slice(fabric.global_rank, total, fabric.world_size)
    share = (total, rows) if fabric.global_rank < total else None
    for module in network.modules():
        if isinstance(module, DropPath):
            module.share = share


def summed(fabric: Fabric, sums: Tensor) -> Tensor:
    """Return sums over all processes.

    The gradient reaches this process's part only, times the number of processes: gradients are then averaged over
    them, so that any function of the result has the gradient of the whole batch.
    """
    if fabric.world_size == 1:
        return sums
    everywhere = fabric.all_reduce(sums.detach().clone(), reduce_op="sum")
    if not isinstance(everywhere, Tensor):
        raise TypeError("a tensor was reduced and none came back")
    weighted = sums * fabric.world_size
    return weighted + (everywhere - weighted).detach()


def wrapped(fabric: Fabric, network: nn.Module) -> Any:
    """Return a network for use under Fabric: gradients averaged over processes, batch norm synchronised on GPUs."""
    if fabric.world_size > 1:
        # In channels_last the folded head's kernel gets a gradient of other strides: no convolution uses it as it is.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
        network = convert(network)
    return fabric.setup_module(network)


def mean_everywhere(fabric: Fabric, values: Sequence[float]) -> list[float]:
    """Return the means of some figures over all processes."""
    if fabric.world_size == 1:
        return list(values)
    reduced = fabric.all_reduce(torch.tensor(values, dtype=torch.float64, device=fabric.device), reduce_op="mean")
    if not isinstance(reduced, Tensor):
        raise TypeError("a tensor was reduced and none came back")
    return [float(value) for value in reduced]
