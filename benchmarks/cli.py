"""Measure the runtime as it ships: latency, whole scenes, energy, and whether anything became slower.

Examples:
    kda-bench latency student.onnx --batch 1,2,4 --json new.json
    kda-bench check new.json old.json

Each subcommand prints a table for people; --json ends it with one line of JSON, --json FILE.json keeps that in a file.
How to measure on each device: docs/benchmarking.md.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final

from kda_edge import __version__
from kda_edge.commands import SubcommandParser, ended
from kda_edge.standard_streams import with_steady_streams

PROGRAM: Final = "kda-bench"
# Name: module of this package and its line in the help. The module has `add_arguments(parser)` and `run(options) ->
# int`, the exit code; it is imported when it is asked for, so that --help and the others need none of its packages.
COMMANDS: Final = {
    "latency": ("commands.latency", "percentiles of a call's time, throughput, phases, memory"),
    "soak": ("commands.soak", "minutes of load: throttling, memory growth, tail latency, energy"),
    "roofline": ("commands.roofline", "how far from the machine's own limits; estimates for devices that are not here"),
    "scene": ("commands.scene", "a whole scene from file to map: Mpx/s, km2/h, phases, memory, energy"),
    "compare": ("commands.compare", "artifacts and peers in turns: tiles, or whole scenes"),
    "sweep": ("commands.sweep", "precision x engine x tile x batch: what nobody beats, and one recommendation"),
    "seams": ("commands.seams", "how much a map depends on where its tiles lie, by overlap and blend weights"),
    "check": ("commands.check", "fail where a new result is worse than an old one, beyond noise"),
}


@with_steady_streams
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 an error or a regression, 2 wrong usage, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)

    def run() -> int:
        options = _parser(words).parse_args(words)
        command: Any = importlib.import_module(f".{COMMANDS[options.command][0]}", __package__)
        code: int = command.run(options)
        return code

    return ended(PROGRAM, run, interrupted="interrupted; nothing was written")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command", parser_class=SubcommandParser)
    for name, (module, line) in COMMANDS.items():
        if name not in words[:1]:
            commands.add_parser(name, help=line)
            continue
        chosen: Any = importlib.import_module(f".{module}", __package__)
        chosen.add_arguments(
            commands.add_parser(
                name, help=line, description=chosen.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
            )
        )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
