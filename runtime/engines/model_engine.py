"""What every engine of a model offers: answers, the model's manifest, the batch that suits it, and a way to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import Manifest

# Tiles to their answers, and what copying in, computing and copying out took: `copy_in`, `compute`, `copy_out`, ms.
Timed: TypeAlias = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], Mapping[str, float]]]


class BatchedEngine(Protocol):
    """An engine that says how many tiles a call it is fastest with."""

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability (N, 1, T, T), 0..1, of raw tiles (N, 3, T, T)."""
        ...

    @property
    def max_batch(self) -> int | None:
        """Most tiles a call that bring anything; None: any number is taken, and one is as good."""
        ...


class ModelEngine(BatchedEngine, Protocol):
    """A model file in the library that runs it."""

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself; where an INT8 model gave way to another, that of the other."""
        ...

    def close(self) -> None:
        """Give back the model and what it holds on a device; closing twice is no error."""
        ...
