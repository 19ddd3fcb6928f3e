"""A stand-in answers as an engine does and can't be taken for one."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from kda_edge.benchmarks.measuring.stand_in_engines import (
    BATCH,
    FIELDS,
    engine_or_stand_in,
    is_stand_in,
    probability_field,
    stand_in,
)
from kda_edge.runtime.engines.engine_names import ENGINES
from kda_edge.tiling.tile_answers import answers_of


def test_tiles_get_fields_of_probability_with_landslides_in_them_and_the_same_ones_again() -> None:
    engine = stand_in("instant", 256)
    fields = [probability_field(256, seed) for seed in range(FIELDS)]
    shares = [(field >= 0.5).mean() for field in fields]
    assert 0 < min(shares) < max(shares) < 1
    assert 0.3 < np.mean(shares) < 0.7
    assert all(field.min() >= 0 and field.max() <= 1 for field in fields)
    tiles = np.random.default_rng(0).integers(0, 256, (BATCH, 3, 256, 256)).astype(np.float32)
    chosen = set()
    for count in (0, 1, 2, BATCH):
        answers = answers_of(engine, tiles[:count])
        assert len(answers) == count
        for answer in answers:
            (at,) = [at for at, field in enumerate(fields) if np.array_equal(answer, field)]
            chosen.add(at)
        np.testing.assert_array_equal(answers, answers_of(engine, tiles[:count]))
    assert len(chosen) == BATCH


def test_a_simulated_engine_takes_its_milliseconds_for_4_mpx_of_tiles() -> None:
    slept: list[float] = []
    engine = stand_in("simulated:20", 256)
    waits = type(engine)(engine.name, engine.answers, engine.mpx_a_second, slept.append)
    for _ in range(4):
        waits(np.zeros((BATCH, 3, 256, 256), np.float32))
    assert sum(slept) == pytest.approx(0.020 * (4 * BATCH * 256**2) / 4e6)


def test_a_stand_in_says_that_there_is_no_model() -> None:
    assert stand_in("instant", 32).facts.name == "instant: no model"
    assert stand_in("simulated:10", 32).facts.name == "simulated:10: no model"


def test_only_stand_ins_and_engines_are_names() -> None:
    for name in (*ENGINES, "instant", "simulated:10", "simulated:2.5"):
        assert engine_or_stand_in(name) == name
        assert is_stand_in(name) == (name not in ENGINES)
    for name in ("simulated", "simulated:", "simulated:0", "simulated:nan", "instant:3", "gpu", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="is no engine; give one of auto"):
            engine_or_stand_in(name)
