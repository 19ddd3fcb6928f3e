"""Timings of a build, kept for the next one and for no other device or version."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_tensorrt import FakeTensorRT, World, importer
from student_graphs import student_graph

from kda_edge.runtime.hardware.gpu_probe import Device
from kda_edge.runtime.tensorrt.build import BuildOptions, Built, build_engine
from kda_edge.runtime.tensorrt.library import Library, open_library

ORIN = Device(0, "Orin", (8, 7), "12.6", 8 * 2**30)


@pytest.fixture(params=["10.3.0", "11.4.0"])
def open_fake(request: pytest.FixtureRequest) -> Callable[..., Library]:
    def open_it(world: World) -> Library:
        return open_library(ORIN, import_module=importer(FakeTensorRT(request.param, world)))

    return open_it


def build(library: Library, timing_cache: Path) -> Built:
    return build_engine(student_graph(), device=ORIN, options=BuildOptions(timing_cache=timing_cache), library=library)


def test_timings_are_kept_and_given_to_the_next_build(open_fake: Callable[..., Library], tmp_path: Path) -> None:
    world, path = World(), tmp_path / "below" / "timings"
    library = open_fake(world)
    build(library, timing_cache=path)
    build(library, timing_cache=path)
    assert world.config._timings._content.count(b"measured") == 2
    assert [name.name for name in path.parent.iterdir()] == ["timings"]


def spoiled(content: bytes) -> dict[str, bytes]:
    return {
        "cut": content[:-3],
        "changed": content[:-3] + b"xyz",
        "foreign": b"some other file\n{}\nstuff",
        "not json": content.replace(b'{"owner"', b"owner"),
        "of another version": content.replace(b"TensorRT 1", b"TensorRT 9"),
        "of another device": content.replace(b"on Orin", b"on a Tesla T4"),
        "empty": b"",
    }


@pytest.mark.parametrize("how", sorted(spoiled(b"")))
def test_timings_of_anything_else_are_left_with_a_line_in_the_log(
    open_fake: Callable[..., Library], tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    world, path = World(), tmp_path / "timings"
    library = open_fake(world)
    build(library, timing_cache=path)
    whole = path.read_bytes()
    path.write_bytes(spoiled(whole)[how])
    build(library, timing_cache=path)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "measuring anew" in warnings[0].getMessage()
    assert world.config._timings._content.count(b"measured") == 1
    assert path.read_bytes() == whole  # written anew


def test_timings_that_tensorrt_does_not_take_or_that_can_not_be_kept_cost_a_line_each(
    open_fake: Callable[..., Library], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world, path = World(), tmp_path / "timings"
    library = open_fake(world)
    library.trt._timing_header += b" of another device"
    build(library, timing_cache=path)
    build(library, timing_cache=path)
    assert "TensorRT does not take the timings" in caplog.text
    assert world.config._timings._content.count(b"measured") == 1  # an empty one in its place
    caplog.clear()
    (tmp_path / "file").write_text("")
    assert build(library, timing_cache=tmp_path / "file" / "timings").plan
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 2
