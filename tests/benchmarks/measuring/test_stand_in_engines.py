"""A stand-in answers as an engine does and can't be taken for one."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from kda_edge.benchmarks.measuring.stand_in_engines import (
    BATCH,
    engine_or_stand_in,
    is_stand_in,
    probability_field,
    stand_in,
)
from kda_edge.runtime.engines.engine_names import ENGINES
from kda_edge.tiling.tile_answers import answers_of


def test_every_tile_gets_the_same_field_of_probability_with_landslides_in_it() -> None:
    engine = stand_in("instant", 64)
    answers = answers_of(engine, np.zeros((3, 3, 64, 64), np.float32))
    field = probability_field(64)
    assert [np.array_equal(answer, field) for answer in answers] == [True] * 3
    assert np.array_equal(field, probability_field(64))
    assert 0.3 < (probability_field(256) >= 0.5).mean() < 0.8


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
