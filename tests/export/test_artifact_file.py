from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import onnx
import pytest
from full_disks import room_for
from onnx import helper

from kda_edge.errors import OutputError
from kda_edge.export.artifact_file import bytes_from_graph, require_writable, staged_file
from kda_edge.manifest import METADATA_KEY, Manifest


class StopHereError(Exception):
    pass


def test_a_file_takes_its_name_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"older")
    with path.open("rb") as reader:  # of somebody who runs the older model just now
        with staged_file(path, b"newer") as hidden:
            assert path.read_bytes() == b"older"
            assert hidden.read_bytes() == b"newer"
            assert hidden.name.startswith(".")
        assert reader.read() == b"older"
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"older")
    with pytest.raises(StopHereError), staged_file(path, b"newer"):
        raise StopHereError
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_whoever_looks_at_it_is_not_taken_for_one_of_writing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="labels"), staged_file(tmp_path / "student.onnx", b"newer"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "labels.png")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_before_anybody_looks_and_the_older_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "student.onnx"
    path.write_bytes(b"older")
    with room_for(1000), pytest.raises(OutputError, match="free some space"), staged_file(path, b"newer" * 1000):
        pytest.fail("nothing was staged")
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    former = os.umask(0o022)
    try:
        with staged_file(tmp_path / "student.onnx", b"model"):
            pass
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "student.onnx").stat().st_mode) == 0o644


def test_a_name_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / ("s" * 250 + ".onnx")
    with pytest.raises(OutputError, match="can't be written") as caught, staged_file(path, b"model"):
        pytest.fail("nothing was staged")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"), staged_file(tmp_path, b"model"):
        pytest.fail("nothing was staged")


def test_a_missing_folder_is_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        require_writable(tmp_path / "nowhere" / "student.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="does not exist"):
        require_writable(tmp_path / "file" / "student.onnx")
    require_writable(tmp_path / "student.onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_found_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="not writable"):
            require_writable(tmp_path / "student.onnx")
    finally:
        tmp_path.chmod(0o700)


def test_the_manifest_lies_in_the_bytes_and_not_in_the_graph_that_was_given() -> None:
    graph = helper.make_model(helper.make_graph([], "empty", [], []))
    before = graph.SerializeToString()
    manifest = Manifest("nano", 1, "ab" * 32, 64, "0.1.0")
    written = onnx.load_from_string(bytes_from_graph(graph, manifest))
    assert {entry.key: Manifest.from_json(entry.value) for entry in written.metadata_props} == {METADATA_KEY: manifest}
    assert graph.SerializeToString() == before
