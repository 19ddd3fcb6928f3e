"""Every peer computes what we compute: with the bundled student, each map agrees with ours."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from places import BUNDLED

from kda_edge.benchmarks.contest.map_agreement import agreement_of
from kda_edge.benchmarks.contestants import engine_alone as peer_engine_alone
from kda_edge.benchmarks.contestants.by_name import open_contestant
from kda_edge.benchmarks.contestants.pytorch import PublishedOrder, open_torch
from kda_edge.benchmarks.contestants.task import Lap, MappingTask
from kda_edge.errors import UsageError
from kda_edge.networks.by_name import network_from_name
from kda_edge.tiling.tile_answers import EngineFacts

TILE_PX, OVERLAP_PX = 256, 64
TASK = MappingTask(
    artifact=None,
    checkpoint=BUNDLED / "student_lite0.pt",
    bands=(1, 2, 3),
    overlap_px=OVERLAP_PX,
    threads=1,
    batch=2,
    engine="cpu",
)
NEEDS = {"monai": "monai", "openvino": "openvino"}


@pytest.fixture(scope="module")
def scene_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Part of the bundled example that has data, and then a corner without: 3 x 2 tiles, one wholly nodata."""
    path = tmp_path_factory.mktemp("peers") / "scene.tif"
    with rasterio.open(BUNDLED / "example_scene.tif") as example:
        valid = example.dataset_mask() > 0
        rows, cols = 640, 448
        row, col = max(
            ((r, c) for r in range(0, example.height - rows + 1, 32) for c in range(0, example.width - cols + 1, 32)),
            key=lambda corner: valid[corner[0] : corner[0] + rows, corner[1] : corner[1] + cols].sum(),
        )
        window = rasterio.windows.Window(col, row, cols, rows)
        pixels = np.maximum(example.read(window=window), 1)
        pixels[:, 384:, 192:] = 0
        profile = example.profile | {"height": rows, "width": cols}
        with rasterio.open(path, "w", **profile) as scene:
            scene.write(pixels)
    return path


@pytest.fixture(scope="module")
def ours(scene_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Lap:
    lap = open_contestant("kda-infer", TASK).run(scene_path, tmp_path_factory.mktemp("ours"))
    assert lap.seconds > 0
    assert lap.tiles == 5  # the sixth has no data
    return lap


# MONAI takes some ten seconds to import; torch.compile takes minutes to compile, and is replaced below.
@pytest.mark.parametrize("name", ["ort-loop", "openvino", "torch-eager", pytest.param("monai", marks=pytest.mark.slow)])
def test_a_peer_maps_with_the_same_network_on_the_same_tiles(
    name: str, scene_path: Path, ours: Lap, tmp_path: Path
) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    peer = open_contestant(name, TASK)
    lap = peer.run(scene_path, tmp_path)
    assert ours.map_path is not None
    assert lap.map_path is not None
    found = agreement_of(ours.map_path, lap.map_path, tile_px=TILE_PX, overlap_px=OVERLAP_PX)
    assert found.alone_px > 50_000
    assert found.is_same_network(), found
    assert found.mean_abs < 0.1  # blending, and above all that we fill nodata and peers don't, may differ by this much
    assert lap.tiles == (6 if name == "monai" else 5)  # MONAI has no notion of nodata
    assert 0 < lap.seconds < 60
    assert {"engine", "batch", "threads", "tile_px", "overlap_px", "writes"} <= set(peer.settings)


@pytest.mark.parametrize(("variant", "has_two"), [("nano", True), ("nano+fpn", False), ("resnet18+dcf", False)])
def test_the_published_order_is_that_of_a_student_with_its_own_decoder_and_any_other_has_one(
    variant: str, has_two: bool
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, image = network_from_name(variant).eval(), torch.randn(1, 3, 64, 64)
    published = PublishedOrder(network)
    assert ("published" in published.steps) == has_two
    with torch.inference_mode():
        found, expected = published(image), torch.sigmoid(network(image))
    assert torch.equal(found, expected) != has_two  # two orders round otherwise
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_compiled_network_is_given_shapes_that_it_was_compiled_for(scene_path: Path, tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = []

    def compiler(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(tiles: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(tiles.shape))
            return module(tiles)

        return run

    eager = open_torch(TASK, mode="eager").run(scene_path, tmp_path)
    assert eager.map_path is not None
    plain = eager.map_path.read_bytes()
    assert eager.tiles == 5  # two calls of two, and one that is half full
    compiled = open_torch(TASK, mode="compile", compiler=compiler).run(scene_path, tmp_path)
    assert compiled.tiles == 5
    assert set(shapes) == {(2, 3, TILE_PX, TILE_PX)}
    assert compiled.map_path is not None
    assert compiled.map_path.read_bytes() == plain


def test_the_engine_alone_computes_the_tiles_that_have_data_and_nothing_else(
    scene_path: Path, ours: Lap, tmp_path: Path
) -> None:
    peer = open_contestant("engine-alone", TASK)
    lap = peer.run(scene_path, tmp_path)
    assert lap.tiles == 5
    assert lap.map_path is None
    assert lap.seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_batch_a_peer_takes_the_fastest_and_says_what_it_tried() -> None:
    settings = open_contestant("ort-loop", replace(TASK, batch=None)).settings
    assert settings["batch"] in (1, 2, 4)
    assert "fastest of 1: " in str(settings["batch_choice"])


@pytest.mark.parametrize("name", [pytest.param("monai", marks=pytest.mark.slow), "torch-eager"])
def test_a_checkpoint_with_other_weights_is_refused(name: str, tmp_path: Path) -> None:
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    from untrained_students import write_student

    other = write_student(tmp_path / "other.pt")
    with pytest.raises(UsageError, match="other weights than the artifact"):
        open_contestant(name, replace(TASK, checkpoint=other))
    with pytest.raises(UsageError, match="--ckpt"):
        open_contestant(name, replace(TASK, checkpoint=None))


def test_an_unknown_contestant_is_refused() -> None:
    with pytest.raises(UsageError, match="engine-alone"):
        open_contestant("magic", TASK)


@pytest.mark.parametrize(("asked", "max_batch", "given"), [(1, 4, 4), (1, None, 1), (8, 4, 8)])
def test_the_engine_alone_gets_no_fewer_tiles_a_call_than_kda_infer_gives_it(
    monkeypatch: pytest.MonkeyPatch, asked: int, max_batch: int | None, given: int
) -> None:
    engine = SimpleNamespace(
        manifest=SimpleNamespace(tile_px=TILE_PX), facts=EngineFacts(name="cpu", max_batch=max_batch), name="cpu"
    )
    monkeypatch.setattr(peer_engine_alone, "open_engine", lambda *_, **__: engine)
    assert peer_engine_alone.EngineAlone(replace(TASK, batch=asked)).settings["batch"] == given
