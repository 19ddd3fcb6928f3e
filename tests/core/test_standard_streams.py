"""Standard streams that are closed, full or of a small alphabet: the work is done, the exit code tells of losses."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from kda_edge.standard_streams import SteadyStream, with_steady_streams

COMMANDS = ("runtime", "train", "export", "benchmarks")
# Says something, works, says something again, works again; a traceback would be lost with standard error.
TALKING = """
    import os, sys
    from pathlib import Path
    from kda_edge.standard_streams import with_steady_streams

    @with_steady_streams
    def main():
        for name in ("first", "second"):
            print(f"{name} \\u00fc \\udcff", flush=True)
            print(f"{name} said", file=sys.stderr, flush=True)
            with Path(name).open("w") as work:
                os.system("echo from a library >&2")
                work.write(f"{name} {work.fileno() > 2} {sys.stdout.isatty()} {sys.stderr.isatty()}")
        return 0

    sys.exit(main())
"""


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=os.environ | environment, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        ("", 0),
        (">&-", 1),
        ("2>&-", 1),
        (">/dev/full", 1),
        ("2>/dev/full", 1),
        (">/dev/full 2>&1", 1),
        (">&- 2>&- <&-", 1),
        ("<&-", 0),
        (">/dev/null 2>/dev/null", 0),
        ("> >(true)", 1),
    ],
)
def test_the_work_is_done_whatever_becomes_of_the_report(redirected: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "talking.py").write_text(textwrap.dedent(TALKING))
    run = shell(f"{sys.executable} talking.py {redirected}", tmp_path)
    assert [(tmp_path / name).read_text() for name in ("first", "second")] == [
        "first True False False",
        "second True False False",
    ]
    assert run.returncode == code
    assert b"Traceback" not in run.stderr
    assert b"Exception" not in run.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"first \\xfc \\udcff\nsecond \\xfc \\udcff\n"),
        ({"PYTHONIOENCODING": "latin-1"}, b"first \xfc \\udcff\nsecond \xfc \\udcff\n"),
        ({"LC_ALL": "C.UTF-8"}, "first ü \\udcff\nsecond ü \\udcff\n".encode()),
    ],
    ids=str,
)
def test_what_a_stream_cannot_encode_is_escaped(environment: dict[str, str], said: bytes, tmp_path: Path) -> None:
    (tmp_path / "talking.py").write_text(textwrap.dedent(TALKING))
    run = shell(f"{sys.executable} talking.py", tmp_path, PYTHONUTF8="0", **environment)
    assert run.returncode == 0
    if b"\\udcff" in run.stdout:
        assert run.stdout == said
    else:  # the system's own way of giving back a byte that is no UTF-8
        assert run.stdout == said.replace(b"\\udcff", b"\xff")


@pytest.mark.parametrize("area", COMMANDS)
@pytest.mark.parametrize(
    ("word", "redirected", "code"),
    [("--help", ">/dev/full", 1), ("--version", ">&-", 1), ("--nonsense", "2>&-", 2), ("--nonsense", "2>/dev/full", 2)],
)
def test_help_version_and_usage_of_each_command_that_nobody_can_read_end_without_a_traceback(
    area: str, word: str, redirected: str, code: int, tmp_path: Path
) -> None:
    script = f"import sys; from kda_edge.{area}.cli import main; sys.exit(main(sys.argv[1:]))"
    run = shell(f'{sys.executable} -c "{script}" {word} {redirected}', tmp_path)
    assert run.returncode == code
    assert b"Traceback" not in run.stderr
    assert b"Exception" not in run.stderr


def test_a_stream_is_itself_in_all_that_it_is_not_asked_to_bear() -> None:
    inner = io.StringIO()
    stream: Any = SteadyStream(inner)
    assert stream.write("word") == 4
    stream.writelines(["a", "b"])
    stream.flush()
    assert (inner.getvalue(), stream.lost) == ("wordab", False)
    assert stream.seekable()
    with pytest.raises(AttributeError):
        stream.no_such_thing  # noqa: B018 -- asking is the test


def test_streams_of_the_program_that_calls_are_its_own_again_afterwards() -> None:
    before = sys.stdout, sys.stderr

    @with_steady_streams
    def inside() -> int:
        assert isinstance(sys.stdout, SteadyStream)
        assert isinstance(sys.stderr, SteadyStream)
        raise KeyError("one of ours")

    with pytest.raises(KeyError):
        inside()
    assert (sys.stdout, sys.stderr) == before
