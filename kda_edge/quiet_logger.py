"""A logger that says nothing but errors for a while, as libraries should while we speak for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Keep a logger, and those below it that have no level of their own, from logging anything but errors.

    Args:
        name: of the logger, such as `huggingface_hub`; its level is put back in the end.
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
