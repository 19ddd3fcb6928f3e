"""A quiet logger lets errors through alone, and is afterwards as loud as it was."""

from __future__ import annotations

import logging

import pytest

from kda_edge.quiet_logger import quiet


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.CRITICAL])
def test_only_errors_are_heard_and_the_level_is_put_back(level: int, caplog: pytest.LogCaptureFixture) -> None:
    logger, below = logging.getLogger("loud"), logging.getLogger("loud.still")
    logger.setLevel(level)
    with quiet("loud"):
        below.warning("a try")
        below.error("the outcome")
    assert caplog.messages == ["the outcome"]
    assert logger.level == level


def test_the_level_is_put_back_after_an_error_too() -> None:
    def fail() -> None:
        raise RuntimeError

    logging.getLogger("loud").setLevel(logging.INFO)
    with pytest.raises(RuntimeError), quiet("loud"):
        fail()
    assert logging.getLogger("loud").level == logging.INFO
