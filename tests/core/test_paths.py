"""Questions about paths never raise, and answer as `Path` does where that answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kda_edge.paths import cache_folder, exists, is_dir, is_file, is_utf8, resolved, same_file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file, a folder, links to both, a link to nothing, a circle of links."""
    (tmp_path / "file").write_text("words")
    (tmp_path / "folder").mkdir()
    for link, target in (("to_file", "file"), ("to_folder", "folder"), ("dangling", "nowhere"), ("loop", "loop")):
        (tmp_path / link).symlink_to(target)
    return tmp_path


NAMES = ("file", "folder", "to_file", "to_folder", "to_folder/x", "dangling", "nowhere", "file/below", ".")


@pytest.mark.parametrize("name", NAMES)
def test_the_answers_are_those_of_path_where_it_has_any(place: Path, name: str) -> None:
    path = place / name
    assert (exists(path), is_file(path), is_dir(path)) == (path.exists(), path.is_file(), path.is_dir())
    assert resolved(path) == path.resolve()
    for other in NAMES:
        there = path.exists() and (place / other).exists()
        assert same_file(path, place / other) == (there and path.samefile(place / other))


@pytest.mark.parametrize(
    "name", ["loop", "loop/below", "x" * 300, "x/" * 3000, "nul\0", os.fsdecode(b"bad\xff\0")], ids=lambda n: n[:4]
)
def test_what_can_be_no_path_is_not_there(place: Path, name: str) -> None:
    path = place / name
    assert (exists(path), is_file(path), is_dir(path), same_file(path, place)) == (False, False, False, False)
    assert resolved(path).is_absolute()
    assert resolved(path).name == path.name


def test_names_that_are_not_utf8_are_known() -> None:
    names = (b"\xc3\xbc.tif", b"\xfc.tif", b"\xff/a.tif")
    assert [is_utf8(Path(os.fsdecode(name))) for name in names] == [True, False, False]


def test_the_folder_follows_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KDA_EDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "kda-edge"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "kda-edge"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "kda-edge"
    monkeypatch.setenv("KDA_EDGE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
