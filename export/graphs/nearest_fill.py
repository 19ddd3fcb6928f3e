"""Missing pixels filled from the nearest known one within a graph: what `kda_edge.tiling.fill_nodata` does, in ONNX.

A jump flood (Rong and Tan 2006): each pixel keeps the place of the nearest known pixel that it has heard of, and looks
at what pixels half a tile away keep, then a quarter, down to its neighbours; here up, down, left and right, one after
the other, and around the tile's borders. Near is as OpenCV's 5 x 5 distance transform measures. Of two pixels equally
near the other one may be taken, and now and then one that is not the very nearest. Known pixels come through bit for
bit.

All operators are among those of exported graphs (`export/lint/rules.py`), shapes are constants, values float32.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

MOST_PX: Final = 4096  # side of a tile: float32 counts its pixels exactly
# What a diagonal step and a knight's move cost in OpenCV's transform where one along an axis costs 1.
DIAGONAL: Final = 1.4
KNIGHT: Final = 2.1969
_STEEP: Final = 1e30  # makes 1 or more of whatever is above 0
_ROWS, _COLUMNS = 2, 3  # axes


class NearestFill:
    """The nodes and constants that fill an image of one tile.

    Attributes:
        nodes: in order.
        constants: their initializers.
        known: name of their tensor that is 1 where a pixel is known and 0 where it is missing, (1, 1, T, T).
        filled: name of their tensor of the filled image, (1, 3, T, T).
    """

    def __init__(self, image: str, tile_px: int, prefix: str) -> None:
        """Write the nodes.

        Args:
            image: name of a float32 tensor (1, 3, T, T), values 0 and above; 0 in all three channels is missing.
            tile_px: T, at most `MOST_PX`. A tile without a known pixel stays as it is.
            prefix: of all names.
        """
        assert 0 < tile_px <= MOST_PX
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix, self._tile_px = prefix, tile_px
        self._channels = self._constant("channels", np.array([1]))
        self._grid = self._constant("grid", np.indices((tile_px, tile_px), np.float32)[None])
        largest = self._make("ReduceMax", "largest", [image, self._channels], keepdims=1)
        self.known = self._as_truth("known", largest)
        self.filled = self._read(image, self._flooded())

    def _flooded(self) -> str:
        """Return rows and columns, (1, 2, T, T), of the nearest known pixel of each; below 0 where none is known."""
        here = self._make("Mul", "here", [self._grid, self.known])
        missing = self._make("Sub", "missing", [self.known, self._number("one", 1.0)])
        far_away = self._make("Mul", "far_away", [missing, self._number("far", 4.0 * self._tile_px)])
        place = self._make("Add", "place", [here, far_away])
        distance = self._distance("place", place)
        step_px = 2 ** (self._tile_px - 1).bit_length() // 2  # the largest power of two below a side
        while step_px:
            for axis in (_ROWS, _COLUMNS):
                for shift_px in sorted({step_px, self._tile_px - step_px}):
                    place, distance = self._nearer(f"axis{axis}by{shift_px}", place, distance, axis, shift_px)
            step_px //= 2
        return place

    def _nearer(self, step: str, place: str, distance: str, axis: int, shift_px: int) -> tuple[str, str]:
        """Take the place that the pixel so far on keeps, where that is nearer."""
        of_axis = self._constant(f"axis{axis}", np.array([axis]))
        first, cut, end = (self._constant(f"at{at}", np.array([at])) for at in (0, shift_px, self._tile_px))
        behind = self._make("Slice", f"{step}.behind", [place, cut, end, of_axis])
        before = self._make("Slice", f"{step}.before", [place, first, cut, of_axis])
        other = self._make("Concat", f"{step}.other", [behind, before], axis=axis)
        its_distance = self._distance(f"{step}.other", other)
        gain = self._make("Sub", f"{step}.gain", [distance, its_distance])
        nearer = self._as_truth(f"{step}.nearer", gain)
        change = self._make("Sub", f"{step}.change", [other, place])
        taken = self._make("Mul", f"{step}.taken", [change, nearer])
        return (
            self._make("Add", f"{step}.place", [place, taken]),
            self._make("Min", f"{step}.distance", [distance, its_distance]),
        )

    def _distance(self, step: str, place: str) -> str:
        """Return how far each pixel is from a place: the dearer of two ways to count moves, (1, 1, T, T)."""
        offset = self._make("Sub", f"{step}.offset", [place, self._grid])
        back = self._make("Mul", f"{step}.back", [offset, self._number("minus", -1.0)])
        apart = self._make("Max", f"{step}.apart", [offset, back])
        first, second, end = (self._constant(f"at{at}", np.array([at])) for at in (0, 1, 2))
        rows = self._make("Slice", f"{step}.rows", [apart, first, second, self._channels])
        columns = self._make("Slice", f"{step}.columns", [apart, second, end, self._channels])
        longer = self._make("Max", f"{step}.longer", [rows, columns])
        shorter = self._make("Min", f"{step}.shorter", [rows, columns])
        aside = self._make("Mul", f"{step}.aside", [shorter, self._number("aside", KNIGHT - 2.0)])
        straight = self._make("Add", f"{step}.straight", [longer, aside])
        ahead = self._make("Mul", f"{step}.ahead", [longer, self._number("ahead", KNIGHT - DIAGONAL)])
        across = self._make("Mul", f"{step}.across", [shorter, self._number("across", 2.0 * DIAGONAL - KNIGHT)])
        slanting = self._make("Add", f"{step}.slanting", [ahead, across])
        return self._make("Max", f"{step}.far", [straight, slanting])

    def _read(self, image: str, place: str) -> str:
        """Return the image's pixels at places."""
        tile_px = self._tile_px
        inside = self._make("Max", "inside", [place, self._number("zero", 0.0)])
        strides = self._constant("strides", np.array([tile_px, 1], np.float32).reshape(1, 2, 1, 1))
        along = self._make("Mul", "along", [inside, strides])
        number = self._make("ReduceSum", "number", [along, self._channels], keepdims=1)
        line = self._make("Reshape", "line", [number, self._constant("pixels", np.array([tile_px**2]))])
        index = self._make("Cast", "index", [line], to=TensorProto.INT32)
        flat = self._make("Reshape", "flat", [image, self._constant("flat_shape", np.array([1, 3, tile_px**2]))])
        read = self._make("Gather", "read", [flat, index], axis=2)
        return self._make("Reshape", "filled", [read, self._constant("shape", np.array([1, 3, tile_px, tile_px]))])

    def _as_truth(self, step: str, value: str) -> str:
        """Return 1 where a value is above 0, and 0 elsewhere."""
        steep = self._make("Mul", f"{step}.steep", [value, self._number("steep", _STEEP)])
        positive = self._make("Relu", f"{step}.positive", [steep])
        return self._make("Min", step, [positive, self._number("one", 1.0)])

    def _make(self, operator: str, step: str, inputs: list[str], **settings: Any) -> str:
        made = f"{self._prefix}.{step}"
        self.nodes.append(helper.make_node(operator, inputs, [made], name=made, **settings))
        return made

    def _number(self, name: str, value: float) -> str:
        return self._constant(f"number_{name}", np.float32(value))

    def _constant(self, name: str, value: ArrayLike) -> str:
        full = f"{self._prefix}.{name}"
        if all(tensor.name != full for tensor in self.constants):
            self.constants.append(numpy_helper.from_array(np.asarray(value), full))
        return full
