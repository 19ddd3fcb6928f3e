"""A packed wheel is the same wheel, packed imagery the same files, and both are the same bytes each time."""

from __future__ import annotations

import io
import lzma
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made_wheels import made_wheel

from kda_edge.benchmarks.kit.packing import packed_folder, packed_wheel
from kda_edge.benchmarks.kit.wheel import wheel_at
from kda_edge.errors import KitError


def contents(wheel: zipfile.ZipFile) -> dict[str, tuple[bytes, int]]:
    return {info.filename: (wheel.read(info), info.external_attr) for info in wheel.infolist()}


def test_a_packed_wheel_holds_the_same_members_and_is_smaller(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    files = {"a/one.so": noise, "a/two.so": noise[::-1], "a/again.so": noise}  # deflate does not see that far
    wheel = made_wheel(tmp_path, "a", files=files)
    packed = packed_wheel(wheel_at(wheel), tmp_path)
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(io.BytesIO(lzma.open(packed).read())) as after:
        assert contents(after) == contents(before)
        assert {info.compress_type for info in after.infolist()} == {zipfile.ZIP_STORED}
    assert packed.stat().st_size < 0.7 * wheel.stat().st_size


def test_the_same_files_give_the_same_bytes_whenever_they_are_packed(tmp_path: Path) -> None:
    made = []
    for turn in ("first", "second"):
        (tmp_path / turn / "images").mkdir(parents=True)
        (tmp_path / turn / "cache").mkdir()
        for name in ("b.webp", "a.png") if turn == "first" else ("a.png", "b.webp"):
            (tmp_path / turn / "images" / name).write_bytes(name.encode())
        wheel = made_wheel(tmp_path / turn, "a")
        cache = tmp_path / turn / "cache"
        made.append(
            [
                packed_wheel(wheel_at(wheel), cache).read_bytes(),
                packed_folder(tmp_path / turn / "images", cache).read_bytes(),
            ]
        )
        time.sleep(2.1 if turn == "first" else 0)  # dates in a zip are of two seconds
    assert made[0] == made[1]


def test_a_wheel_that_was_packed_before_is_taken_from_the_cache_and_another_one_is_not(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    first = packed_wheel(wheel_at(made_wheel(tmp_path / "x", "a")), cache)
    changed = first.stat().st_mtime_ns
    with zipfile.ZipFile(tmp_path / "x" / "a-1.0-py3-none-any.whl") as older:
        entries = [(info.filename, older.read(info)) for info in older.infolist()]
    with zipfile.ZipFile(tmp_path / "x" / "a-1.0-py3-none-any.whl", "w") as newer:
        for name, content in entries:
            newer.writestr(zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6)), content)
    again = packed_wheel(wheel_at(tmp_path / "x" / "a-1.0-py3-none-any.whl"), cache)
    assert (again, again.stat().st_mtime_ns) == (first, changed)
    other = packed_wheel(wheel_at(made_wheel(tmp_path / "y", "a", files={"a/more.py": b"1"})), cache)
    assert other != first


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    wheel = made_wheel(tmp_path, "a", files={"a/text.py": b"x" * 5000})
    content = bytearray(wheel.read_bytes())
    content[content.index(b"a/text.py") + 12] ^= 0x40
    wheel.write_bytes(content)
    with pytest.raises(KitError, match=r"^a-1\.0-py3-none-any\.whl is damaged .*; download it again$"):
        packed_wheel(wheel_at(wheel), tmp_path)
    assert [path for path in tmp_path.iterdir() if path != wheel] == []


def test_imagery_keeps_its_names_and_bytes(tmp_path: Path) -> None:
    folder, files = tmp_path / "images", {"a/b/c.webp": b"c", "a/d.png": b"", "e \u5c71.tif": b"eee"}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with tarfile.open(packed_folder(folder, tmp_path), "r:xz") as archive:
        held = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # files
    assert held == files


def test_imagery_with_a_link_and_a_folder_without_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(KitError, match="there is no file in"):
        packed_folder(tmp_path / "images", tmp_path)
    (tmp_path / "images" / "here").symlink_to(tmp_path)
    with pytest.raises(KitError, match="here is a link or no file"):
        packed_folder(tmp_path / "images", tmp_path)
