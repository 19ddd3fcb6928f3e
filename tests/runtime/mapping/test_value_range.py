from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.runtime.mapping.value_range import ValueMap, with_values_mapped


def test_without_a_declared_range_values_pass_unchanged_and_outliers_are_clipped() -> None:
    values = np.array([-5, 0, 0.25, 254.5, 255, 300, np.inf, -np.inf], np.float32)
    mapped = ValueMap(None, (0, 255))(values)
    np.testing.assert_array_equal(mapped, np.array([0, 0, 0.25, 254.5, 255, 255, 255, 0], np.float32))
    assert mapped.dtype == np.float32


@given(
    st.tuples(st.integers(-20000, 20000), st.integers(1, 65535)),
    st.lists(st.integers(-32768, 65535), min_size=1, max_size=20),
)
def test_a_declared_range_maps_linearly_onto_the_models_and_clips(
    low_and_span: tuple[int, int], raw: list[int]
) -> None:
    low, high = low_and_span[0], sum(low_and_span)
    mapped = ValueMap((low, high), (10, 210))(np.array(raw, np.float32))
    expected = [10 + 200 * (min(max(value, low), high) - low) / (high - low) for value in raw]
    np.testing.assert_allclose(mapped, expected, rtol=1e-6, atol=2e-3)
    assert mapped.dtype == np.float32


def test_values_far_outside_a_declared_range_are_clipped_without_overflow() -> None:
    values = np.array([3e38, -3e38, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(ValueMap((0, 1e-3), (0, 255))(values), np.array([255, 0, 255, 0], np.float32))


def test_a_pixel_maps_the_same_whatever_surrounds_it() -> None:
    """Tiling rule 8."""
    value_map = ValueMap((0, 10000), (0, 255))
    dark, bright = np.zeros((1, 3, 4, 4), np.float32), np.full((1, 3, 4, 4), 9999, np.float32)
    dark[0, :, 1, 1] = bright[0, :, 1, 1] = 1234
    assert value_map(dark)[0, 0, 1, 1] == value_map(bright)[0, 0, 1, 1]


@pytest.mark.parametrize("value_range", [(1, 1), (5, 2), (0, float("inf")), (float("nan"), 1), (0, 1e300)], ids=str)
def test_an_empty_or_endless_range_is_refused(value_range: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="value range"):
        with_values_mapped(lambda tiles: tiles, InputContract(), value_range)


def test_the_engine_behind_a_map_sees_mapped_tiles() -> None:
    engine = with_values_mapped(lambda tiles: tiles + 1, InputContract(value_range=(0, 100)), (0, 50))
    np.testing.assert_array_equal(engine(np.full((1, 3, 2, 2), 10, np.float32)), np.full((1, 3, 2, 2), 21, np.float32))


@pytest.mark.parametrize(
    ("pixel_type", "value_range", "passes"),
    [("uint8", (0, 255), True), ("uint8", (0, 254), False), ("uint16", (0, 65535), True), ("float32", (0, 1), False)],
)
def test_tiles_whose_every_value_the_model_knows_are_not_copied(
    pixel_type: str, value_range: tuple[float, float], passes: bool
) -> None:
    def engine(tiles: np.ndarray) -> np.ndarray:
        return tiles

    contract = InputContract(pixel_type=pixel_type, value_range=value_range)
    tiles = np.full((1, 3, 2, 2), value_range[1], np.float32)
    mapped = with_values_mapped(engine, contract, None)
    assert (mapped(tiles) is tiles) == passes
    np.testing.assert_array_equal(mapped(tiles + 1000), tiles + 1000 if passes else tiles)
