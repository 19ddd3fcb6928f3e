"""Peers leave PyTorch as the student does: one graph, verified, run by the same runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
import torch
from numpy.typing import NDArray

from kda_edge.export.config import ExportConfig
from kda_edge.export.graphs.to_onnx import onnx_from_student
from kda_edge.export.lint import rules as lint
from kda_edge.export.pipeline import ExportReport, export_checkpoint
from kda_edge.export.verifying.compared_engines import engine_from_graph, engine_from_student
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kda_edge.networks.network import Network
from kda_edge.networks.peers import PEERS, peer_from_name
from kda_edge.runtime import Segmenter
from kda_edge.tiling.predict import predict_array

TILE_PX = 64
RandomTiles = Callable[..., NDArray[np.float32]]


@pytest.fixture(scope="module")
def make_settled(contract: InputContract, random_tiles: RandomTiles) -> Callable[..., Network]:
    """Peers whose norms have seen such tiles, and whose probabilities spread over 0..1; fresh ones saturate.

    The norms see them once, at their usual momentum. With random weights and the tiles' statistics alone, the deep
    ones blow rounding up: PyTorch's float32 itself is then 5e-4 away from its float64.
    """
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (contract.mean, contract.std))
    tiles = (torch.from_numpy(random_tiles(4, seed=9)) - mean) / std

    def make(name: str, change: Callable[[Network], None] | None = None) -> Network:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            peer = peer_from_name(name).train()
            if change is not None:
                change(peer)
            classifier = [module for module in peer.decoder.modules() if isinstance(module, torch.nn.Conv2d)][-1]
            torch.nn.init.zeros_(classifier.bias)
            peer(tiles)
            logit = peer.eval()(tiles)
            classifier.weight.div_(logit.std())
            classifier.bias[1] = -logit.mean() / logit.std()
        return peer

    return make


def shorten(peer: Network) -> None:
    """Leave one block of a kind: tracing takes its time by the block, and the others are of the same operators."""
    encoder: Any = peer.encoder
    for stage, blocks in (("layer1", 2), ("layer2", 2), ("layer3", 2), *((f"block{k}", 1) for k in (1, 2, 3, 4))):
        if hasattr(encoder, stage):
            setattr(encoder, stage, getattr(encoder, stage)[:blocks])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "mffenet" else ()) for name in PEERS]
)
def test_the_graph_of_a_peer_is_clean_and_answers_as_pytorch_does(
    name: str,
    make_settled: Callable[..., Network],
    contract: InputContract,
    random_tiles: RandomTiles,
) -> None:
    peer = make_settled(name, shorten)
    graph = onnx_from_student(peer, contract, TILE_PX)
    assert lint.findings(graph.model) == []
    tiles = random_tiles(3)
    expected = engine_from_student(peer, contract)(tiles)
    assert expected.std() > 0.02  # else any constant would do
    np.testing.assert_allclose(engine_from_graph(graph.model)(tiles), expected, atol=1e-5)


@pytest.fixture(scope="module")
def small_unet(
    tmp_path_factory: pytest.TempPathFactory,
    make_settled: Callable[..., Network],
    contract: InputContract,
    training: TrainingRecord,
) -> Path:
    path = tmp_path_factory.mktemp("peer") / "unet-small.pt"
    write_checkpoint(path, Checkpoint(make_settled("unet-small"), contract, 0.5, training, TILE_PX))
    return path


@pytest.fixture(scope="module")
def artifact(small_unet: Path) -> ExportReport:
    return export_checkpoint(ExportConfig(checkpoint=small_unet))


def test_a_checkpoint_of_a_peer_comes_back_whole(small_unet: Path, make_settled: Callable[..., Network]) -> None:
    again, before = read_checkpoint(small_unet).student, make_settled("unet-small")
    assert (again.variant, again.training) == ("unet-small", False)
    assert again.state_dict().keys() == before.state_dict().keys()
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in again.state_dict().items())


def test_the_artifact_of_a_peer_says_which_one_it_is_and_holds_its_parity(artifact: ExportReport) -> None:
    assert artifact.manifest.variant == "unet-small"
    assert artifact.manifest.parameters == 3380642
    assert artifact.certificate.holds
    assert {node.op_type for node in onnx.load(artifact.artifact).graph.node} & {"Resize", "Shape"} == {"Resize"}


def test_the_runtime_maps_a_scene_with_a_peer(
    artifact: ExportReport, small_unet: Path, contract: InputContract, tmp_path: Path
) -> None:
    image = np.random.default_rng(5).integers(0, 10001, (70, 150, 3), np.uint16)
    profile = {"driver": "GTiff", "height": 70, "width": 150, "count": 3, "dtype": "uint16", "crs": "EPSG:32647"}
    at = rasterio.Affine(0.5, 0.0, 469205.0, 0.0, -0.5, 3446192.0)
    with rasterio.open(tmp_path / "scene.tif", "w", transform=at, **profile) as dataset:
        dataset.write(image.transpose(2, 0, 1))
    with Segmenter.open(artifact.artifact) as segmenter:
        result = segmenter.predict_scene(tmp_path / "scene.tif", tmp_path / "out")
    expected, _ = predict_array(image, None, engine_from_student(read_checkpoint(small_unet).student, contract), 64, 16)
    with rasterio.open(result.map_path) as written:
        landslide = written.read(1) == 1
    clear = np.abs(expected - 0.5) > 1e-4
    assert 0.05 < (expected >= 0.5).mean() < 0.95  # else any constant would do
    assert np.array_equal(landslide[clear], (expected >= 0.5)[clear])
