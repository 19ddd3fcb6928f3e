"""Something done in a forked child, whose end is waited for no longer than a while."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

HANGS_S = 30.0  # far more than any use takes; all of them together stay below the limit of the test that waits


def in_a_fork(use: Callable[[], object], *, leave: Callable[[int], object] = sys.exit) -> str:
    """Return what a use says in a forked child: `done`, its error, or that it, or the child's end, hangs.

    Args:
        use: called in the child.
        leave: how the child ends: by default as Python does, by freeing all that it has; inside of pytest `os._exit`.
    """
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(use() or "done")
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writes, said.encode())
        os.close(writes)
        leave(0)
    os.close(writes)
    with closing(os.fdopen(reads, "rb")) as pipe:
        said = pipe.read().decode() if select.select([pipe], [], [], HANGS_S)[0] else "hangs"
    statuses: list[int] = []
    ended = threading.Thread(target=lambda: statuses.append(os.waitpid(pid, 0)[1]))
    ended.start()
    ended.join(HANGS_S)
    if ended.is_alive():
        os.kill(pid, signal.SIGKILL)
        ended.join()
        return f"{said}, hangs at its end"
    return said if statuses == [0] else f"{said}, crashes at its end"


@contextmanager
def idle_fork() -> Iterator[None]:
    """Have a forked child that does nothing live for as long as the block runs."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writes)
        os.read(reads, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(writes)
        os.close(reads)
        os.waitpid(pid, 0)
