"""`auto` on a CPU: the faster engine that agrees, chosen once, and the same choice for all processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kda_edge.certificate import Budget, TileParity
from kda_edge.errors import ArtifactError, DeviceError, EngineError
from kda_edge.manifest import Manifest
from kda_edge.runtime.engines.cpu_choice import Comparison, budget_of, compared
from kda_edge.runtime.engines.cpu_engines import CpuEngines
from kda_edge.runtime.engines.remembered import remember, remembered
from kda_edge.runtime.opened_engine import OpenedEngine, open_engine


@dataclass
class FakeEngine:
    """Answers band 1 of the tile, off by a little, after some time of the machine's clock."""

    machine: Machine
    manifest: Manifest
    ms: float
    off: float
    max_batch: int | None = 1
    closed: bool = False
    off_without_data: float = 0.0  # more, where the left half of a tile is without data

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        self.machine.now_s += self.ms / 1000
        if self.machine.breaks and self.off:
            raise EngineError("no")
        half_px = tiles.shape[-1] // 2
        left, right = ((part == 0).all(axis=(1, 2, 3)) for part in (tiles[..., :half_px], tiles[..., half_px:]))
        off = np.where(left & ~right, self.off + self.off_without_data, self.off).astype(np.float32)
        return np.clip(tiles[:, :1] / 255 + off[:, None, None, None], 0, 1)

    def close(self) -> None:
        self.closed = True


@dataclass
class Machine:
    """Two engines of given speed, and what was opened."""

    root: Path
    cpu_ms: float = 100.0
    openvino_ms: float = 50.0
    off: float = 1e-6
    off_without_data: float = 0.0  # more, where the left half of a tile is without data
    version: str = "2026.1"
    missing: str = ""
    breaks: bool = False
    now_s: float = 0.0
    opened: list[tuple[str, FakeEngine]] = field(default_factory=list)

    def open_cpu(self, path: Path, manifest: Manifest, *, threads: int) -> FakeEngine:
        return self._opened("cpu", FakeEngine(self, manifest, self.cpu_ms, 0.0, None))

    def open_openvino(self, path: Path, manifest: Manifest, *, bfloat16: bool, threads: int) -> FakeEngine:
        if self.missing:
            raise ArtifactError(self.missing)
        engine = FakeEngine(self, manifest, self.openvino_ms, self.off, off_without_data=self.off_without_data)
        return self._opened("bf16" if bfloat16 else "openvino", engine)

    def _opened(self, name: str, engine: FakeEngine) -> FakeEngine:
        self.opened.append((name, engine))
        return engine

    def around(self) -> CpuEngines:
        return CpuEngines(self.open_cpu, self.open_openvino, lambda: self.version, self.root, lambda: self.now_s)

    def names(self) -> list[str]:
        """What was opened since the last time, in order; all but the engine in use are closed."""
        names = [name for name, _ in self.opened]
        self.opened.clear()
        return names


def comparison(*tiles: tuple[str, float, float], cpu_ms: float = 1.0, other_ms: float = 1.0) -> Comparison:
    """A comparison whose tiles have a name, a largest difference and a share of pixels that change class."""
    parities = [TileParity(name, "ab" * 32, far, far / 2, 1 - changed) for name, far, changed in tiles or [("a", 0, 0)]]
    return Comparison(tuple(parities), cpu_ms, other_ms)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "cache")


@pytest.fixture
def opened(make_model: Callable[..., Path], machine: Machine) -> Callable[..., OpenedEngine]:
    path = make_model(1 / 255, 0.0)

    def run(engine: str = "auto", **options: Any) -> OpenedEngine:
        return open_engine(path, engine=engine, on_cpu=machine.around(), **options)

    return run


@pytest.mark.parametrize(
    ("cpu_ms", "openvino_ms", "expected"),
    [(100, 50, "openvino"), (100, 89, "openvino"), (100, 91, "cpu"), (50, 100, "cpu"), (2, 1.5, "cpu")],
)
def test_openvino_is_taken_where_it_is_clearly_faster(
    machine: Machine, opened: Callable[..., OpenedEngine], cpu_ms: float, openvino_ms: float, expected: str
) -> None:
    machine.cpu_ms, machine.openvino_ms = cpu_ms, openvino_ms
    engine = opened()
    assert engine.name == expected
    assert {name: fake.closed for name, fake in machine.opened if name != expected} in (
        {"cpu": True},
        {"openvino": True},
        {},
    )
    assert not dict(machine.opened)[expected].closed
    assert engine.notes == ()


def test_what_was_found_out_is_not_asked_again_and_the_choice_stays(
    machine: Machine, opened: Callable[..., OpenedEngine]
) -> None:
    assert opened().name == "openvino"
    assert machine.names() == ["cpu", "openvino"]
    machine.openvino_ms = 500.0  # a busy minute
    assert opened().name == "openvino"
    assert machine.names() == ["openvino"]
    machine.version = "2027.1"
    assert opened().name == "cpu"
    assert opened(threads=1).name == "cpu"
    assert machine.names() == ["cpu", "openvino", "cpu", "openvino"]


def test_an_engine_that_saves_nothing_worth_while_is_not_even_loaded(
    machine: Machine, opened: Callable[..., OpenedEngine]
) -> None:
    machine.cpu_ms = 0.5
    assert opened().name == "cpu"
    assert machine.names() == ["cpu"]


def test_without_openvino_nothing_is_compared(machine: Machine, opened: Callable[..., OpenedEngine]) -> None:
    machine.version = ""
    assert opened().name == "cpu"
    assert machine.names() == ["cpu"]
    assert machine.now_s == 0


@pytest.mark.parametrize("fault", ["answers otherwise", "does not open", "breaks", "answers with NaN"])
def test_an_openvino_that_is_not_to_be_trusted_is_left_alone_and_the_log_says_why(
    machine: Machine, opened: Callable[..., OpenedEngine], caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    machine.off = {"answers otherwise": 2e-4, "answers with NaN": np.nan}.get(fault, 1e-6)
    machine.missing = "no such operator" if fault == "does not open" else ""
    machine.breaks = fault == "breaks"
    for _ in range(2):
        assert opened().name == "cpu"
    assert any("OpenVINO is installed and not used" in line for line in caplog.messages)
    machine.opened.clear()
    with pytest.raises((DeviceError, ArtifactError, EngineError)) as caught:
        opened("openvino")
    assert "\n" not in str(caught.value)
    assert all(engine.closed for name, engine in machine.opened if fault == "answers otherwise")


def test_openvino_by_name_is_compared_once_too(machine: Machine, opened: Callable[..., OpenedEngine]) -> None:
    machine.openvino_ms = 500.0  # slower, but asked for
    for expected in (["openvino", "cpu"], ["openvino"]):
        engine = opened("openvino")
        assert (engine.name, engine.notes) == ("openvino", ())
        assert (engine.facts.max_batch, engine.facts.batch_invariant) == (1, True)
        assert machine.names() == expected


def test_bfloat16_says_how_far_it_is_off_and_has_a_budget_of_its_own(
    machine: Machine, opened: Callable[..., OpenedEngine]
) -> None:
    machine.off = 0.001
    (note,) = opened("openvino-bf16").notes
    assert "on the worst of 14 tiles tried here the probability differed by up to 0.001" in note
    assert "0.05 and 0.5% are allowed" in note
    assert machine.names() == ["bf16", "cpu"]
    machine.version, machine.off = "2027.1", 0.06
    with pytest.raises(
        DeviceError, match=r"openvino-bf16: on the tile '.*' the probability differs by 0\.06, 0\.05 is"
    ):
        opened("openvino-bf16")


def test_an_engine_that_is_right_on_most_kinds_of_tiles_and_wrong_on_one_is_not_let_in(
    machine: Machine, opened: Callable[..., OpenedEngine], caplog: pytest.LogCaptureFixture
) -> None:
    """One tile of waves and noise would have let it in: the tile that shows it is half without data."""
    machine.off_without_data = 0.1
    assert opened().name == "cpu"
    assert "on the tile 'terrain, one half nodata' the probability differs by 0.1" in caplog.text
    for name, allowed in (("openvino", "0.0001"), ("openvino-bf16", "0.05")):
        with pytest.raises(DeviceError, match=f"'terrain, one half nodata' .* differs by 0.1, {allowed} is allowed"):
            opened(name)


def test_what_an_earlier_version_found_out_on_one_tile_is_found_out_again(
    machine: Machine, opened: Callable[..., OpenedEngine]
) -> None:
    opened()
    (path,) = (machine.root / "engine_choice").iterdir()
    record = json.loads(path.read_text())
    assert record["format"] == 2
    assert len(record["comparison"]["tiles"]) > 13
    old = {"max_abs": 0.0, "changed": 0.0, "cpu_ms": 100.0, "other_ms": 1.0}
    for format_number in (1, 2):
        path.write_text(json.dumps({**record, "format": format_number, "comparison": old}))
        machine.names()
        assert opened().name == "openvino"
        assert machine.names() == ["cpu", "openvino"]


@pytest.mark.parametrize("damage", ["", "{}", '{"format": 2, "key": {}, "comparison": {"tiles": []}}', "another key"])
def test_a_record_that_cannot_be_believed_is_made_again(
    machine: Machine, opened: Callable[..., OpenedEngine], damage: str
) -> None:
    opened()
    (path,) = (machine.root / "engine_choice").iterdir()
    whole = json.loads(path.read_text())
    path.write_text(
        json.dumps({**whole, "key": {**whole["key"], "threads": "9"}}) if damage == "another key" else damage
    )
    machine.names()
    assert opened().name == "openvino"
    assert machine.names() == ["cpu", "openvino"]
    assert json.loads(path.read_text())["key"] == whole["key"]


def test_a_cache_that_cannot_be_written_costs_time_alone(
    machine: Machine, opened: Callable[..., OpenedEngine], caplog: pytest.LogCaptureFixture
) -> None:
    machine.root.write_text("a file where the folder should be")
    for _ in range(2):
        assert opened().name == "openvino"
        assert machine.names() == ["cpu", "openvino"]
    assert any("set KDA_EDGE_CACHE" in line for line in caplog.messages)


def test_of_many_that_find_out_at_once_all_believe_the_first(tmp_path: Path) -> None:
    believed: list[Comparison] = []
    ready = threading.Barrier(8)

    def find_out(cpu_ms: float) -> None:
        ready.wait()
        believed.append(remember({"a": "b"}, comparison(cpu_ms=cpu_ms, other_ms=50.0), root=tmp_path))

    threads = [threading.Thread(target=find_out, args=(40.0 + 5 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(believed)) == 1
    assert remembered({"a": "b"}, root=tmp_path) == believed[0]
    assert remembered({"a": "c"}, root=tmp_path) is None
    assert [path.suffix for path in (tmp_path / "engine_choice").iterdir()] == [".json"]


def test_the_budget_is_the_certificates(make_manifest: Callable[..., Manifest]) -> None:
    manifest = make_manifest()
    assert manifest.certificate is not None
    assert budget_of(manifest, "openvino") == manifest.certificate.budget
    assert budget_of(make_manifest(certificate=None), "openvino").max_abs == 1e-4
    assert budget_of(make_manifest(certificate=None, precision="fp16"), "openvino").iou_points == 0.5
    assert comparison(("a", 0.3, 0.004)).beyond(Budget(iou_points=0.5)) == ""
    assert "0.60% of the pixels" in comparison(("a", 0.3, 0.006)).beyond(Budget(iou_points=0.5))


def test_the_worst_tile_of_each_kind_of_difference_decides_and_is_named() -> None:
    found = comparison(("smooth", 0.001, 0.0), ("half nodata", 0.4, 0.001), ("flat", 0.01, 0.02))
    assert found.beyond(Budget(max_abs=0.05)) == (
        "on the tile 'half nodata' the probability differs by 0.4, 0.05 is allowed"
    )
    assert found.beyond(Budget(iou_points=0.5)) == (
        "on the tile 'flat' 2.00% of the pixels change class, 0.5% are allowed"
    )
    assert found.beyond(Budget(max_abs=0.4, iou_points=2.1)) == ""


def test_each_engine_is_timed_with_as_many_tiles_a_call_as_in_a_scene(
    machine: Machine, make_manifest: Callable[..., Manifest]
) -> None:
    manifest = make_manifest()
    cpu, other = FakeEngine(machine, manifest, 20.0, 0.0, None), FakeEngine(machine, manifest, 50.0, 0.0, 4)
    found = compared(cpu, other, manifest, clock=lambda: machine.now_s)
    assert (found.cpu_ms, found.other_ms) == (pytest.approx(20.0), pytest.approx(12.5))  # a tile; 50 ms for four
