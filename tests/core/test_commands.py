"""Whatever ends a command is a line on stderr and an exit code, and nothing more, at Python's exit either."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kda_edge.commands import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_USAGE, SubcommandParser, complain, ended
from kda_edge.errors import Cancelled, EngineError, MissingDependency, OutputError, UsageError, VideoError

# A command that does what its argument says, in a process of its own.
COMMAND = """
    import os, sys, time
    from kda_edge.commands import ended

    def talk():
        for number in range(20_000):
            print("line", number)

    def listen():
        print("ready", flush=True)
        time.sleep(60)

    def fail():
        print("some words")
        open("nowhere/file")

    def err():
        raise AssertionError("our own fault")

    sys.exit(ended("kda-talk", {"talk": talk, "listen": listen, "fail": fail, "err": err}[sys.argv[1]]))
"""

# As users have it: Python holds back what is printed to a file or pipe.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def command(word: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(COMMAND), word]


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("--tile 5: give 32 or more"), 2, "--tile 5: give 32 or more"),
        (EngineError("the engine failed; export again"), 1, "the engine failed; export again"),
        (OutputError("the map can't be written"), 1, "the map can't be written"),
        (VideoError("no camera"), 1, "no camera"),
        (MissingDependency("timm", extra="train"), 1, "timm is not installed; run: pip install 'kda-edge[train]'"),
        (Cancelled("stopped as asked"), 130, "stopped as asked"),
        (KeyboardInterrupt(), 130, "stopped; go on with --resume"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.toml"), 1, "a.toml: No such file"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "a file: No space left on device"),
        (OSError("a disk\nthat is gone"), 1, "a file: a disk"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_a_command_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("kda-try", lambda: raising(error), interrupted="stopped; go on with --resume") == code
    assert capsys.readouterr() == ("", f"kda-try: {line}\n")


def test_a_command_that_ends_well_says_nothing_and_keeps_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert [ended("kda-try", lambda code=code: code) for code in (0, None, 3)] == [0, 0, 3]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled("so")])
def test_the_code_after_a_stop_is_asked_for_when_it_has_come(error: BaseException) -> None:
    heard: list[int] = []

    def run() -> int:
        heard.append(signal.SIGTERM)
        raise error

    assert ended("kda-try", run, stopped=lambda: 128 + heard[0]) == 143


@pytest.mark.parametrize("error", [AssertionError("ours"), SystemExit(7), MemoryError()])
def test_faults_of_ours_and_an_exit_pass(error: BaseException) -> None:
    with pytest.raises(type(error)):
        ended("kda-try", lambda: raising(error))


def test_an_error_that_does_not_end_the_command_is_told_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("kda-try", UsageError("so")) == EXIT_USAGE
    assert complain("kda-try", EngineError("so")) == EXIT_ERROR
    assert capsys.readouterr().err == "kda-try: so\n" * 2


def test_after_ctrl_c_there_is_a_line_and_no_traceback() -> None:
    with subprocess.Popen(
        command("listen"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=BUFFERED
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
    assert (run.returncode, err) == (EXIT_INTERRUPTED, "kda-talk: interrupted\n")


def test_where_the_reader_of_the_output_has_gone_nothing_is_said() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command("talk"), stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=BUFFERED)
    os.close(writing)
    assert (done.returncode, done.stderr) == (EXIT_ERROR, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
@pytest.mark.parametrize("word", ["talk", "fail"])
def test_a_full_disk_behind_the_output_is_one_line(word: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(word), stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=BUFFERED)
    said = "a file: No space left on device" if word == "talk" else "nowhere/file: No such file or directory"
    assert (done.returncode, done.stderr) == (EXIT_ERROR, f"kda-talk: {said}\n")


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("word", "code"), [("talk", 0), ("fail", 1)])
def test_closed_streams_change_nothing_but_what_is_read(streams: str, word: str, code: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", *command(word)],
        capture_output=True,
        text=True,
        check=False,
        env=BUFFERED,
    )
    assert done.returncode == code
    assert "kda-talk" not in done.stdout
    assert done.stderr == ("kda-talk: nowhere/file: No such file or directory\n" if streams == ">&-" and code else "")


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    done = subprocess.run(command("err"), capture_output=True, text=True, check=False, env=BUFFERED)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "our own fault" in done.stderr


def test_what_was_printed_before_an_error_is_there() -> None:
    done = subprocess.run(command("fail"), capture_output=True, text=True, check=False, env=BUFFERED)
    assert done.stdout == "some words\n"


@pytest.mark.parametrize("words", [["judge", "--split", "val", "--bananas", "3"], ["judge", "stray"]])
def test_what_a_subcommand_does_not_know_is_told_under_its_own_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser(prog="kda-thing")
    judge = parser.add_subparsers(parser_class=SubcommandParser).add_parser("judge")
    judge.add_argument("--split")
    assert parser.parse_args(["judge", "--split", "val"]).split == "val"
    with pytest.raises(SystemExit) as end:
        parser.parse_args(words)
    assert end.value.code == 2
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: kda-thing judge [-h] [--split SPLIT]"
    unknown = " ".join(words[3:] or words[1:])
    assert error == f"kda-thing judge: error: unrecognized arguments: {unknown}"
