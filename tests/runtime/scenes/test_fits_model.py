"""Values that contradict what was declared are noted, and never made anything of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kda_edge.manifest import InputContract
from kda_edge.runtime.scenes.fits_model import value_note

U8 = InputContract()
U16 = InputContract(pixel_type="uint16", value_range=(0, 4000))
F32 = InputContract(pixel_type="float32", value_range=(0, 1))


def spread(low: float, high: float, dtype: str) -> np.ndarray:
    return np.linspace(low, high, 3000).astype(dtype).reshape(1000, 3)


@pytest.mark.parametrize(
    ("values", "contract", "declared", "words"),
    [
        (spread(0, 255, "uint8"), U8, None, None),
        (spread(0, 16, "uint8"), U8, None, None),
        (spread(0, 15, "uint8"), U8, None, "largest sampled value is 15"),
        (spread(0, 1, "uint8"), U8, None, "dark or in other units"),
        (spread(0, 3500, "uint16"), U16, None, None),
        (spread(0, 255, "uint16"), U16, None, "8-bit pixels"),
        (spread(0, 200, "uint16"), U16, None, "dark"),
        (spread(3000, 60000, "uint16"), U16, None, "are clipped"),
        (spread(0, 7900, "uint16"), U16, None, None),
        (spread(0, 1, "float32"), F32, None, None),
        (spread(0, 255, "float32"), F32, None, "are clipped"),
        (spread(0, 3000, "uint16"), U8, (0, 3000), None),
        (spread(0, 100, "uint16"), U8, (0, 3000), "--value-range says"),
        (spread(0, 255, "uint16"), U8, (0, 255), None),
        (spread(-3000, -10, "int16"), U8, (0, 3000), "are clipped"),
        (np.zeros((0, 3), "uint8"), U8, None, None),
    ],
)
def test_sampled_values_that_can_not_be_what_was_declared_are_noted(
    values: np.ndarray, contract: InputContract, declared: tuple[float, float] | None, words: str | None
) -> None:
    kind: np.dtype[Any] = values.dtype
    note = value_note(values.astype(np.float32), kind, contract, declared)
    if words is None:
        assert note is None
    else:
        assert note is not None
        assert words in note
        assert "--value-range LO HI" in note
        assert "\n" not in note
