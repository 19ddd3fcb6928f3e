"""The value range of a scene mapped onto the model's: declared by manifest and user, never guessed from pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kda_edge.manifest import InputContract
from kda_edge.tiling.tile_answers import Engine

from ..scene_options import require_value_range


@dataclass(frozen=True)
class ValueMap:
    """A fixed linear map of pixel values, clipped to the range that the model was trained on.

    Attributes:
        scene: least and largest value that the scene can hold, as the user declared it; None where they are the
            model's own.
        model: least and largest value that the model's imagery can hold.
    """

    scene: tuple[float, float] | None
    model: tuple[float, float]

    def __post_init__(self) -> None:
        if self.scene is not None:
            require_value_range(self.scene)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values as the model knows them, same shape."""
        low, high = self.model
        if self.scene is not None and self.scene != self.model:
            scale = (high - low) / (self.scene[1] - self.scene[0])
            clipped = np.clip(values, *self.scene)  # first, lest the product overflow
            values = (clipped - np.float32(self.scene[0])) * np.float32(scale) + np.float32(low)
        return np.clip(values, np.float32(low), np.float32(high))


def with_values_mapped(engine: Engine, contract: InputContract, value_range: tuple[float, float] | None) -> Engine:
    """Return the engine behind the value map that manifest and user declare; itself where that changes no pixel.

    Raises:
        UsageError: an empty or infinite value_range.
    """
    value_map = ValueMap(value_range, contract.value_range)
    if value_range is None and _holds_all(contract):
        return engine

    def mapped(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return engine(value_map(tiles))

    return mapped


def _holds_all(contract: InputContract) -> bool:
    """Whether every value of the model's pixel type lies in the range that it was trained on."""
    kind = np.dtype(contract.pixel_type)
    low, high = contract.value_range
    return kind.kind in "iu" and low <= np.iinfo(kind).min and np.iinfo(kind).max <= high
