"""Engines on disk: used while nothing that they depend on differs, and built again with one sentence when it does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_builds import Builder, engine_files, warnings

from kda_edge.runtime.hardware.gpu_probe import Device
from kda_edge.runtime.tensorrt.build import BuildOptions, Built
from kda_edge.runtime.tensorrt.engine_cache import Cached, cached_engine, record
from kda_edge.runtime.tensorrt.engine_key import EngineKey, engine_key
from kda_edge.runtime.tensorrt.precision_proof import LayerCounts

ORIN = Device(0, "Orin (nvgpu)", (8, 7), "12.6", 8 * 2**30)
KEY = engine_key("ab" * 32, ORIN, "10.3.0", BuildOptions(2, 4))
OTHER = {
    "graph_sha256": ("ab" * 31 + "cd", "of the graph"),
    "device_name": ("Orin nvgpu", "on Orin nvgpu"),
    "compute_capability": ((8, 6), "for compute capability 8.6"),
    "driver_version": ("12.2", "with a driver for CUDA 12.2"),
    "tensorrt_version": ("10.13.3", "with TensorRT 10.13.3"),
    "opt_batch": (1, "tuned for 1 tiles"),
    "max_batch": (8, "for up to 8 tiles"),
    "dla_core": (1, "for DLA core 1"),
}


@pytest.fixture
def build() -> Builder:
    return Builder()


def test_an_engine_is_built_once(tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture) -> None:
    first = cached_engine(KEY, build, root=tmp_path)
    second = cached_engine(KEY, build, root=tmp_path)
    assert build.builds == 1
    assert first == Cached(b"plan 1" * 1000, LayerCounts(half=7, int8=1), 61.5, False, tmp_path / KEY.folder_name)
    assert second == dataclasses.replace(first, from_cache=True)
    assert engine_files(tmp_path) == ["engine.json", "engine.plan"]
    facts = json.loads((tmp_path / KEY.folder_name / "engine.json").read_text())
    assert facts["plan_sha256"] == hashlib.sha256(first.plan).hexdigest()
    assert warnings(caplog) == []


def test_the_key_holds_what_an_engine_depends_on_and_not_what_it_does_not() -> None:
    assert EngineKey("ab" * 32, "Orin (nvgpu)", (8, 7), "12.6", "10.3.0", 2, 4, None) == KEY
    roomy = BuildOptions(2, 4, workspace_bytes=2**30, timing_cache=Path("timings"))
    assert engine_key("ab" * 32, dataclasses.replace(ORIN, index=1, memory_bytes=1), "10.3.0", roomy) == KEY
    assert {field.name for field in dataclasses.fields(EngineKey)} == set(OTHER)


@pytest.mark.parametrize("field", sorted(OTHER))
def test_an_engine_of_any_other_key_is_never_used(tmp_path: Path, build: Builder, field: str) -> None:
    cached_engine(KEY, build, root=tmp_path)
    other = dataclasses.replace(KEY, **{field: OTHER[field][0]})
    assert not cached_engine(other, build, root=tmp_path).from_cache
    assert build.builds == 2


@pytest.mark.parametrize("field", sorted(OTHER))
def test_an_engine_whose_record_tells_another_key_is_built_again_with_what_differs(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    cached_engine(KEY, build, root=tmp_path)
    path = tmp_path / KEY.folder_name / "engine.json"
    facts = json.loads(path.read_text())
    facts["key"][field] = OTHER[field][0]
    path.write_text(json.dumps(facts))
    assert not cached_engine(KEY, build, root=tmp_path).from_cache
    (message,) = warnings(caplog)
    assert f"was built {OTHER[field][1]}" in message
    assert message.endswith(": building again")
    assert cached_engine(KEY, build, root=tmp_path).plan == b"plan 2" * 1000
    assert build.builds == 2


def test_after_an_upgrade_one_sentence_names_both_versions_and_the_old_engine_goes(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    cached_engine(KEY, build, root=tmp_path)
    newer = dataclasses.replace(KEY, tensorrt_version="10.13.3", driver_version="13.0")
    cached_engine(newer, build, root=tmp_path)
    assert warnings(caplog) == [
        f"the engine in {tmp_path / KEY.folder_name} was built with a driver for CUDA 12.6, with TensorRT 10.3.0 "
        "and this is with a driver for CUDA 13.0, with TensorRT 10.13.3: building again"
    ]
    assert len(engine_files(tmp_path)) == 2


def changed(**facts: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "engine.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))

    return change


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "plan cut": (lambda folder: os.truncate(folder / "engine.plan", 100), "damaged"),
    "plan changed": (lambda folder: (folder / "engine.plan").write_bytes(b"plan X" * 1000), "damaged"),
    "plan gone": (lambda folder: (folder / "engine.plan").unlink(), "incomplete"),
    "record gone": (lambda folder: (folder / "engine.json").unlink(), "incomplete"),
    "record cut": (lambda folder: os.truncate(folder / "engine.json", 50), "can't be read"),
    "record of another kind": (lambda folder: (folder / "engine.json").write_text("[1]"), "can't be read"),
    "record of another format": (changed(format=2), "another version of kda-edge"),
    "layers of another kind": (changed(layers={"int4": 1}), "can't be read"),
    "a key with more": (changed(key={"graph_sha256": "x"}), "can't be read"),
    "digest of another kind": (changed(plan_sha256=None), "damaged"),
    "plan that anybody may write": (lambda folder: (folder / "engine.plan").chmod(0o666), "not to be trusted"),
    "record that a group may write": (lambda folder: (folder / "engine.json").chmod(0o664), "not to be trusted"),
}


@pytest.mark.parametrize("how", sorted(SPOILED))
def test_a_spoiled_entry_is_built_again_with_one_sentence(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    folder = tmp_path / KEY.folder_name
    cached_engine(KEY, build, root=tmp_path)
    spoil, said = SPOILED[how]
    spoil(folder)
    assert cached_engine(KEY, build, root=tmp_path).plan == b"plan 2" * 1000
    (message,) = warnings(caplog)
    assert said in message
    assert cached_engine(KEY, build, root=tmp_path).from_cache
    assert build.builds == 2


def test_an_engine_is_trusted_whatever_rights_new_files_get(tmp_path: Path, build: Builder) -> None:
    """Where a group shares its files by default (umask 2, or none), ours are still for us alone to write."""
    before = os.umask(0)
    try:
        cached_engine(KEY, build, root=tmp_path)
    finally:
        os.umask(before)
    assert cached_engine(KEY, build, root=tmp_path).from_cache


def test_an_engine_of_another_user_is_not_trusted(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    cached_engine(KEY, build, root=tmp_path)
    os.chown(tmp_path / KEY.folder_name / "engine.plan", 12345, -1)
    assert not cached_engine(KEY, build, root=tmp_path).from_cache
    assert "not to be trusted (others than you may write engine.plan)" in warnings(caplog)[0]


def test_a_build_that_fails_leaves_nothing_and_the_lock_free(tmp_path: Path, build: Builder) -> None:
    def fail() -> Built:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cached_engine(KEY, fail, root=tmp_path)
    assert engine_files(tmp_path) == []
    assert not cached_engine(KEY, build, root=tmp_path).from_cache


def test_where_nothing_can_be_kept_the_engine_is_used_and_a_line_says_so(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    engine = cached_engine(KEY, build, root=tmp_path / "file" / "cache")
    assert (engine.plan, engine.folder) == (b"plan 1" * 1000, None)
    (message,) = warnings(caplog)
    assert "can't be kept" in message
    assert "KDA_EDGE_CACHE" in message
    record(KEY, latency={"fp16": 3.0}, root=tmp_path / "file" / "cache")
    assert len(warnings(caplog)) == 1


def test_a_cache_that_can_not_be_written_is_read_still(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a read-only disk; a folder in the lock's place refuses to be opened, for root too."""
    cached_engine(KEY, build, root=tmp_path)
    lock = tmp_path / KEY.folder_name / ".lock"
    lock.unlink()
    lock.mkdir()
    assert cached_engine(KEY, build, root=tmp_path).from_cache
    assert warnings(caplog) == []


def test_latencies_are_kept_beside_the_engine_and_gone_with_it(
    tmp_path: Path, build: Builder, caplog: pytest.LogCaptureFixture
) -> None:
    record(KEY, latency={"fp16": 4.5}, root=tmp_path)
    assert "there is no engine" in warnings(caplog)[0]
    cached_engine(KEY, build, root=tmp_path)
    record(KEY, latency={"fp16": 4.5, "int8": 9.0}, root=tmp_path)
    record(KEY, latency={"int8": 3.25}, root=tmp_path)
    kept = cached_engine(KEY, build, root=tmp_path)
    assert kept.latency_ms == {"fp16": 4.5, "int8": 3.25}
    assert kept.plan == b"plan 1" * 1000
    newer = dataclasses.replace(KEY, tensorrt_version="11.4.0")
    record(newer, latency={"int8": 1.0}, root=tmp_path)  # measured of an engine that is not this one
    assert cached_engine(KEY, build, root=tmp_path).latency_ms == {"fp16": 4.5, "int8": 3.25}
    cached_engine(newer, build, root=tmp_path)
    assert cached_engine(newer, build, root=tmp_path).latency_ms == {}


@pytest.mark.parametrize("latency_ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_latency_is_a_time(tmp_path: Path, latency_ms: float) -> None:
    with pytest.raises(ValueError, match="latency of fp16"):
        record(KEY, latency={"fp16": latency_ms}, root=tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"graph_sha256": "ab"}, {"device_name": ""}, {"tensorrt_version": ""}, {"max_batch": -1}, {"dla_core": "0"}],
    ids=str,
)
def test_a_key_checks_itself(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not an engine's key"):
        dataclasses.replace(KEY, **wrong)
