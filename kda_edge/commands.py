"""Exit codes of every command, and how one ends: what stopped it as a line on stderr, never as a traceback."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from kda_edge.errors import Cancelled, KdaEdgeError, UsageError, one_line

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130  # as a shell says it: 128 and the number of SIGINT


class SubcommandParser(argparse.ArgumentParser):
    """A parser of a subcommand's words; an option that it does not know is told under its usage, not the program's."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse words; what nobody knows ends the program, with the exit code of wrong usage."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


def ended(
    program: str,
    run: Callable[[], int | None],
    *,
    interrupted: str = "interrupted",
    stopped: Callable[[], int] = lambda: EXIT_INTERRUPTED,
) -> int:
    """Run a command and return its exit code, also where an error or the user ends it.

    Other errors than those below are faults of ours and pass, with their traceback.

    Args:
        program: whose name the line on stderr begins with.
        run: the command; returns its exit code, 0 or None where all went well.
        interrupted: what is said after Ctrl-C.
        stopped: asked for the exit code after Ctrl-C and after `Cancelled`.

    Returns:
        What `run` returned; 2 after `UsageError`; 1 after another error of ours or of the system (`OSError`, by the
        name of its file), and, without a word, where whoever read our output has gone.
    """
    try:
        code = run() or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk behind it is told here, not by Python at its exit
        return code
    except Cancelled as error:
        complain(program, error)
        return stopped()
    except KdaEdgeError as error:
        return complain(program, error)
    except KeyboardInterrupt:
        _say(program, interrupted)
        return stopped()
    except BrokenPipeError:
        _settle_stdout()
        return EXIT_ERROR
    except OSError as error:
        _say(program, f"{error.filename or 'a file'}: {one_line(error)}")
        _settle_stdout()
        return EXIT_ERROR


def complain(program: str, error: KdaEdgeError) -> int:
    """Print an error of ours as a line on stderr; return the exit code that belongs to it."""
    _say(program, str(error))
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR


def _say(program: str, words: str) -> None:
    if sys.stderr is not None:  # else print takes stdout
        with suppress(OSError, ValueError):  # closed or full: there is nobody to tell
            print(f"{program}: {words}", file=sys.stderr, flush=True)


def _settle_stdout() -> None:
    """Print what waits; where that is not possible, have it go nowhere, lest Python complains of it at its exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
