"""Each part is held to its digest, and what is missing, damaged, doubled or foreign is refused and named."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kit_runs import GROUPS, complaint, flip, installed, run_assemble
from made_wheels import made_kit, made_wheel

from kda_edge.benchmarks.kit.kit_file import HEADER_BYTES, KIT_JSON, Kit
from kda_edge.benchmarks.kit.parts import part_name


def flip_digest(path: Path) -> None:
    flip(path, path.read_bytes().rindex(b'"sha256": "') + len(b'"sha256": "'))


def double(parts: Path) -> None:
    (parts / "kit.part02 (1)").write_bytes((parts / part_name(2)).read_bytes())


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda parts: (parts / part_name(2)).unlink(), r"^kit\.part02 of \d+ is missing; "),
    "flipped": (lambda parts: flip(parts / part_name(3), 200), r"^kit\.part03 is damaged \(other bytes than "),
    "flipped in the header": (lambda parts: flip(parts / part_name(3), HEADER_BYTES - 2), r"^kit\.part03 is damaged"),
    "flipped at the start": (
        lambda parts: flip(parts / part_name(1), 3),
        r"^kit\.part01 is damaged: it does not begin",
    ),
    "cut": (
        lambda parts: os.truncate(parts / part_name(3), 250),
        r"^kit\.part03 is damaged \(250 bytes instead of 428\)",
    ),
    "empty": (lambda parts: os.truncate(parts / part_name(3), 0), r"^kit\.part03 is damaged: it does not begin"),
    "doubled": (double, r"^kit\.part02 and kit\.part02 \(1\) are both part 2; remove one$"),
    "no list": (lambda parts: (parts / KIT_JSON).unlink(), r"holds no kit\.json; bring it beside the parts$"),
    "list flipped": (lambda parts: flip(parts / KIT_JSON, 300), r"^kit\.json is damaged"),
    "list flipped in a digest": (lambda parts: flip_digest(parts / KIT_JSON), r"^kit\.json is damaged: its digest is "),
    "list cut": (lambda parts: os.truncate(parts / KIT_JSON, 300), r"^kit\.json is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_in_one_line_that_names_it_before_anything_is_installed(
    damage: str, tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    harm, expected = DAMAGES[damage]
    harm(tmp_path / "parts")
    line = complaint(tmp_path, capsys)
    assert re.search(expected, line), line
    assert [name for name in installed(tmp_path) if name.startswith(("site", "data"))] == []


def test_every_byte_of_a_part_is_held_to_its_digest(
    tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "parts" / part_name(kit.part_count)
    for at in np.random.default_rng(2).integers(0, path.stat().st_size, 40):
        flip(path, int(at))
        assert path.name in complaint(tmp_path, capsys)
        flip(path, int(at))
    assert run_assemble(tmp_path) == 0


def test_a_part_of_another_kit_is_named(tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    other = made_kit(tmp_path / "others", [("lean", made_wheel(tmp_path / "v", "kitted_one", "2.0"))], imports=GROUPS)
    assert other.kit_id != kit.kit_id
    (tmp_path / "parts" / part_name(2)).write_bytes((tmp_path / "others" / part_name(2)).read_bytes())
    line = complaint(tmp_path, capsys)
    assert line == "kit.part02 is of another kit than kit.json; remove it, or bring its own kit.json"


def test_the_list_says_in_which_parts_each_file_lies(tmp_path: Path, kit: Kit) -> None:
    told = json.loads((tmp_path / "parts" / KIT_JSON).read_text())
    stream = b"".join(
        (tmp_path / "parts" / part_name(part["number"])).read_bytes()[HEADER_BYTES:] for part in told["parts"]
    )
    for row in told["files"]:
        piece = stream[row["offset_bytes"] : row["offset_bytes"] + row["packed_bytes"]]
        assert piece.startswith(b"\xfd7zXZ")
        begin = row["offset_bytes"] // 300 + 1
        end = (row["offset_bytes"] + row["packed_bytes"] - 1) // 300 + 1
        assert row["parts"] == list(range(begin, end + 1))
    assert {part["bytes"] for part in told["parts"][:-1]} == {300 + HEADER_BYTES}
