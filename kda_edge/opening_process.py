"""The process that opened something: forks of it have the memory, and neither the threads nor the devices behind it.

`multiprocessing` forks on Linux up to Python 3.13 unless it is told otherwise. In a fork a lock that another thread
held stays locked for ever, and what waits for threads as it is used, closed or freed waits for ever: ONNX Runtime,
OpenVINO, decoders of video and CUDA do. So what holds them is left alone there, by those who use it and by Python.
What a fork does share is open files: a lock on one would last for as long as any fork lives, so that forks close it.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from kda_edge.errors import UsageError

_owners: Final[weakref.WeakSet[object]] = weakref.WeakSet()
_closing: Final[set[Callable[[], None]]] = set()


class OpeningProcess:
    """The process in which an object was made, and in which alone it can be used."""

    def __init__(self, owner: object) -> None:
        """Bind an object to this process; a fork never frees it, nor what it holds.

        Args:
            owner: the object, which takes weak references and is hashed by identity.
        """
        self._pid = os.getpid()
        _owners.add(owner)

    @property
    def is_this(self) -> bool:
        """Whether the process that asks is the one in which the object was made."""
        return os.getpid() == self._pid

    def require(self, what: str) -> None:
        """Raise `UsageError` in any other process; `what` names the object."""
        if not self.is_this:
            raise UsageError(
                f"{what} was opened in another process, whose threads a fork does not have; open it in each worker"
            )


def call_in_forks(renew: Callable[[], None]) -> None:
    """Have something called in each process that is forked from this one, before anything else runs there."""
    if hasattr(os, "register_at_fork"):  # not where there are no forks
        os.register_at_fork(after_in_child=renew)


@contextmanager
def closed_in_forks(close: Callable[[], None]) -> Iterator[None]:
    """Have each fork that is made while the block runs close a file, so that this process alone holds its lock.

    Args:
        close: closes the file, unbuffered; it may be called in a fork as well as here.
    """
    _closing.add(close)
    try:
        yield
    finally:
        _closing.discard(close)


def _leave_to_the_parent() -> None:
    for owner in list(_owners):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))  # a reference that nobody gives back
    while _closing:
        with suppress(OSError):
            _closing.pop()()


call_in_forks(_leave_to_the_parent)
