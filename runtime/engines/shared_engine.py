"""One engine for all threads of a program: one call at a time, and closed when nobody uses it any more."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from kda_edge.errors import UsageError
from kda_edge.opening_process import OpeningProcess
from kda_edge.tiling.tile_answers import Engine


class SharedEngine:
    """An engine that any number of threads may use; not every engine takes more than one at once, so each waits."""

    def __init__(self, engine: Engine, close: Callable[[], None] | None = None) -> None:
        """Share an engine.

        Args:
            engine: that is shared.
            close: ends it; None: nothing is to be done.
        """
        self._engine: Engine | None = engine
        self._close = close
        self._process = OpeningProcess(self)
        self._one_at_a_time = threading.Lock()
        self._changed = threading.Condition()
        self._users: Counter[int] = Counter()  # uses by thread

    @contextmanager
    def used(self) -> Iterator[Engine]:
        """Yield the engine, which stays open until the block ends.

        Raises:
            UsageError: it is closed, or about to be, or this is a fork of the process that it was opened in.
        """
        self.require_opening_process()
        me = threading.get_ident()
        with self._changed:
            if self._engine is None:
                raise UsageError("the segmenter is closed; open it again with Segmenter.open")
            engine = self._engine
            self._users[me] += 1

        def one_at_a_time(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            with self._one_at_a_time:
                return engine(tiles)

        try:
            yield one_at_a_time
        finally:
            with self._changed:
                self._users[me] -= 1
                self._users += Counter()  # forgets threads that use it no more
                self._changed.notify_all()

    def require_opening_process(self) -> None:
        """Raise `UsageError` in a fork of the process that it was opened in, before any lock is asked for."""
        self._process.require("the segmenter")

    def __reduce__(self) -> NoReturn:
        raise UsageError("a segmenter can't be sent to another process; open it in each worker with Segmenter.open")

    def close(self) -> None:
        """Refuse new uses, wait for those that go on, close the engine. Closing twice is no error.

        In a fork of the process that it was opened in this does nothing: there is nothing there that could be closed.

        Raises:
            UsageError: this thread is using it, and would wait for itself.
        """
        if not self._process.is_this:
            return
        with self._changed:
            if self._users[threading.get_ident()]:
                raise UsageError("a segmenter can't be closed from inside its own call; close it when the call is over")
            self._engine = None
            self._changed.wait_for(lambda: not self._users)
            close, self._close = self._close, None
        if close is not None:
            close()
