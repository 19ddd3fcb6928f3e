"""A kit is installed whole or refused in one line, goes on after a stop, and leaves the machine's packages alone."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from full_disks import room_for
from kit_runs import GROUPS, complaint, flip, installed, run_assemble
from made_wheels import PYTHON, made_kit, made_wheel

from kda_edge.benchmarks.kit import assemble
from kda_edge.benchmarks.kit.kit_file import HEADER_BYTES, KIT_JSON, Kit
from kda_edge.benchmarks.kit.parts import part_name


def test_all_is_installed_from_a_program_that_needs_neither_the_project_nor_any_package(
    tmp_path: Path, kit: Kit
) -> None:
    command = [sys.executable, "-I", "-S", str(tmp_path / "parts" / "assemble.pyz"), str(tmp_path / "parts")]
    done = subprocess.run(
        [*command, "--into", str(tmp_path / "kit"), "--no-check"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f". {tmp_path / 'kit' / 'env.sh'}" in done.stdout
    assert (tmp_path / "kit" / "data" / "a.webp").read_bytes() == b"image"
    program = "import kitted_two.deep, kitted_one; print(kitted_one.__file__)"
    asked = f". {tmp_path / 'kit' / 'env.sh'}; {sys.executable} -c '{program}'"
    told = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    assert told == str(tmp_path / "kit" / "site" / "kitted_one" / "__init__.py")
    assert kit.part_count > 6


def test_the_first_groups_can_be_installed_before_the_last_parts_have_come(tmp_path: Path, kit: Kit) -> None:
    needed = {number for file in kit.files if file.group in ("lean", "gpu") for number in kit.numbers_of(file)}
    for number in set(range(1, kit.part_count + 1)) - needed:
        (tmp_path / "parts" / part_name(number)).rename(tmp_path / part_name(number))
    assert needed == set(range(1, max(needed) + 1)) != set(range(1, kit.part_count + 1))
    assert run_assemble(tmp_path, "--groups", "lean,gpu") == 0
    assert not (tmp_path / "kit" / "data").exists()
    for path in tmp_path.glob("kit.part*"):
        path.rename(tmp_path / "parts" / path.name)
    (tmp_path / "parts" / part_name(1)).unlink()  # what it held is installed
    assert run_assemble(tmp_path) == 0
    assert (tmp_path / "kit" / "site" / "kitted_big" / "lib.so").stat().st_size == 3000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"python": "3.99"}, rf"^the kit is for Python 3\.99 and this is {PYTHON.replace('.', chr(92) + '.')}; "),
        ({"glibc": "2.99"}, r"^the kit wants glibc 2\.99 and this is 2\.\d+; "),
    ],
)
def test_a_kit_for_another_python_or_an_older_system_is_refused(
    changes: dict[str, str], said: str, tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parts" / KIT_JSON).write_text(replace(kit, **changes).to_json())  # type: ignore[arg-type]  # of strings
    assert re.search(said, complaint(tmp_path, capsys))


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_files(tmp_path: Path, kit: Kit) -> None:
    assert run_assemble(tmp_path) == 0
    whole = installed(tmp_path)
    (tmp_path / "kit").rename(tmp_path / "undisturbed")
    command = [sys.executable, str(tmp_path / "parts" / "assemble.pyz"), str(tmp_path / "parts"), "--no-check"]
    process = subprocess.Popen([*command, "--into", str(tmp_path / "kit")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("3/"):
        time.sleep(0)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run_assemble(tmp_path) == 0
    strange = str(tmp_path / "undisturbed").encode(), str(tmp_path / "kit").encode()
    assert {name: data.replace(*strange) for name, data in installed(tmp_path).items()} == whole


def test_what_a_stopped_run_left_half_done_gets_into_nothing(tmp_path: Path, kit: Kit) -> None:
    assert run_assemble(tmp_path, "--groups", "lean") == 0
    (tmp_path / "kit" / ".unpacking" / "data").mkdir(parents=True)
    (tmp_path / "kit" / ".unpacking" / "data" / "b.webp").write_bytes(b"half")
    assert run_assemble(tmp_path) == 0
    assert sorted(path.name for path in (tmp_path / "kit" / "data").iterdir()) == ["a.webp"]
    assert not (tmp_path / "kit" / ".unpacking").exists()


def test_a_file_that_has_changed_since_is_installed_again(tmp_path: Path, kit: Kit) -> None:
    assert run_assemble(tmp_path) == 0
    whole = installed(tmp_path)
    flip(tmp_path / "kit" / "site" / "kitted_big" / "lib.so", 1000)
    assert run_assemble(tmp_path) == 0
    assert installed(tmp_path) == whole


@pytest.mark.parametrize("harm", ["kitted_one/__init__.py", "kitted_one-1.1.dist-info/RECORD"])
def test_what_an_installation_lost_since_is_installed_again(harm: str, tmp_path: Path, kit: Kit) -> None:
    assert run_assemble(tmp_path) == 0
    whole = installed(tmp_path)
    (tmp_path / "kit" / "site" / harm).unlink()
    assert run_assemble(tmp_path) == 0
    assert installed(tmp_path) == whole


def test_a_full_disk_is_told_in_one_line_and_the_same_command_then_goes_on(
    tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    with room_for(9000):
        assert run_assemble(tmp_path, "--groups", "lean,gpu") == 0
    capsys.readouterr()
    with room_for(2500):
        line = complaint(tmp_path, capsys)
    assert line.startswith("kitted_big-1.0-py3-none-any.whl can't be installed in ")
    assert line.endswith("(File too large); then the same again")
    assert not (tmp_path / "kit" / "site" / "kitted_big-1.0.dist-info").exists()
    assert run_assemble(tmp_path) == 0


def test_a_disk_that_is_too_small_is_found_before_anything_is_written(
    tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = tuple(replace(file, installed_bytes=10**15) for file in kit.files)
    made = replace(kit, files=huge)
    for part in kit.parts:
        path = tmp_path / "parts" / part_name(part.number)
        path.write_bytes(made.header(part.number) + path.read_bytes()[HEADER_BYTES:])
    digests = [(tmp_path / "parts" / part_name(part.number)).read_bytes() for part in kit.parts]
    parts = [replace(part, sha256=hashlib.sha256(d).hexdigest()) for part, d in zip(kit.parts, digests, strict=True)]
    (tmp_path / "parts" / KIT_JSON).write_text(replace(made, parts=tuple(parts)).to_json())
    assert "GB free and " in complaint(tmp_path, capsys)


def test_a_folder_that_holds_something_else_is_left_alone(
    tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "notes.txt").write_text("mine")
    assert run_assemble(tmp_path) == 2
    assert "is not empty and no kit is installed in it" in capsys.readouterr().err
    assert installed(tmp_path) == {"notes.txt": b"mine"}
    assert assemble.main([str(tmp_path / "parts"), "--into", str(tmp_path / "parts")]) == 2
    assert "is not empty and no kit is installed in it" in capsys.readouterr().err
    made_kit(tmp_path / "others", [("lean", made_wheel(tmp_path / "v", "kitted_one", "2.0"))], imports=GROUPS)
    assert assemble.main([str(tmp_path / "others"), "--into", str(tmp_path / "other"), "--no-check"]) == 0
    assert assemble.main([str(tmp_path / "parts"), "--into", str(tmp_path / "other")]) == 2
    assert "another kit is installed in" in capsys.readouterr().err
    assert run_assemble(tmp_path, "--groups", "lean,none") == 2


def test_a_wheel_that_would_write_outside_of_its_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = made_wheel(tmp_path / "w", "kitted_bad", files={"../../evil.py": b"1"})
    made_kit(tmp_path / "parts", [("lean", wheel)], imports={"lean": ()})
    assert "outside of its folder" in complaint(tmp_path, capsys)
    assert not list(tmp_path.rglob("evil.py"))
