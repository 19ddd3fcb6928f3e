"""A readers-writer lock: many at once who read, or one alone who writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadersWriterLock:
    """Lets many threads in that share, or one alone; who waits to be alone goes before those that come later."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Let nobody be in: for a fork, which has none of the threads that were."""
        self._changed = threading.Condition()
        self._sharing, self._waiting, self._taken = 0, 0, False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be one of many; not to be asked for again by the same thread."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._taken or self._waiting))
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one; not to be asked for again by the same thread."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not (self._taken or self._sharing))
                self._taken = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()
