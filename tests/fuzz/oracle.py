"""What may come of a damaged file: an error of ours that is one line; anything else is a finding."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from kda_edge.errors import KdaEdgeError

MOST_CHARS = 1000  # of a message; more is somebody else's dump


class Target(Protocol):
    """A kind of file, how it is damaged, and what must hold then.

    Attributes:
        name: of the kind.
    """

    name: str

    def make(self, rng: np.random.Generator) -> tuple[str, bytes]:
        """Return the suffix and the content of a case."""
        ...

    def check(self, suffix: str, content: bytes) -> str:
        """Return in a word what came of a case; raises whatever is wrong."""
        ...


@contextmanager
def one_line_error() -> Iterator[list[KdaEdgeError]]:
    """Take an error of ours that the block raises into the list that is yielded; its message must be one line."""
    refused: list[KdaEdgeError] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield refused
        except KdaEdgeError as error:
            refused.append(error)
    for error in refused:
        said = str(error)
        assert said.strip(), "an error without a word"
        assert len(said) <= MOST_CHARS, f"a message of {len(said)} characters"
        assert said.isprintable(), f"a message that is not one printable line: {said!r}"
