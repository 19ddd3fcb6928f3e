"""Students with other heads and backbones leave PyTorch as the student does: a clean graph with the same answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kda_edge.decoders.by_name import HEADS
from kda_edge.export.config import BudgetConfig, ExportConfig
from kda_edge.export.graphs.to_onnx import onnx_from_student
from kda_edge.export.lint import rules as lint
from kda_edge.export.pipeline import export_checkpoint
from kda_edge.export.verifying.compared_engines import engine_from_graph, engine_from_student
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.by_name import network_from_name
from kda_edge.networks.checkpoint import Checkpoint, write_checkpoint
from kda_edge.networks.network import Network
from kda_edge.runtime.engines.cpu_engines import openvino_version
from kda_edge.runtime.opened_engine import open_engine

TILE_PX = 64


VARIANTS = [*(f"nano+{head}" for head in HEADS), *(f"tf_efficientnet_lite0+{head}" for head in ("dcf", "fpn"))]


def settled(variant: str, images: torch.Tensor) -> Network:
    """A student with weights of a seed whose norms have seen these normalised images once."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = network_from_name(variant).train()
        with torch.no_grad():
            student(images)
    return student.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_is_clean_and_answers_as_pytorch_does(
    variant: str, contract: InputContract, random_tiles: Callable[..., NDArray[np.float32]]
) -> None:
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (contract.mean, contract.std))
    student = settled(variant, (torch.from_numpy(random_tiles(4, seed=9)) - mean) / std)
    graph = onnx_from_student(student, contract, TILE_PX)
    assert lint.findings(graph.model) == []
    assert not [node.name for node in graph.model.graph.node if node.op_type == "BatchNormalization"], "not folded"
    engine, reference = engine_from_graph(graph.model), engine_from_student(student, contract)
    for count in (1, 3):
        tiles = random_tiles(count, seed=count)
        probability = reference(tiles)
        assert probability.shape == (count, 1, TILE_PX, TILE_PX)
        assert float(np.ptp(probability)) > 1e-4, "a constant answer proves nothing"
        np.testing.assert_allclose(engine(tiles), probability, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def artifact_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Artifacts of students for tiles as large as the bundled student's: what threads share out must be much."""
    contract, training = InputContract(), TrainingRecord((), (), "none", 0, 0)

    @cache
    def artifact(variant: str) -> Path:
        folder = tmp_path_factory.mktemp("same_bytes")
        noise = torch.randn((2, 3, 256, 256), generator=torch.Generator().manual_seed(0))
        write_checkpoint(folder / "s.pt", Checkpoint(settled(variant, noise), contract, 0.5, training, 256))
        config = ExportConfig(folder / "s.pt", budget=BudgetConfig(max_abs=1.0))  # rounding is another test's
        return export_checkpoint(config).artifact

    return artifact


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["cpu", "openvino"])
@pytest.mark.parametrize("variant", ["tf_efficientnet_lite0+dcf", "tf_efficientnet_lite0+fpn", "resnet18+segformer"])
def test_bytes_are_the_same_on_any_number_of_threads_and_in_any_batch(
    variant: str, engine: str, artifact_of: Callable[[str], Path]
) -> None:
    """DCF of 48 channels sums 12 of them: in ONNX Runtime's own sum 8 threads answered otherwise."""
    if engine == "openvino" and not openvino_version():
        pytest.skip("OpenVINO has no wheel for this platform")
    tiles, found = np.random.default_rng(0).integers(0, 256, (3, 3, 256, 256)).astype(np.float32), set[bytes]()
    for threads in (1, 2, 8):
        with open_engine(artifact_of(variant), engine=engine, threads=threads) as opened:
            assert float(np.ptp(opened(tiles))) > 1e-4, "a constant answer proves nothing"
            found |= {np.concatenate([opened(tiles[k : k + n]) for k in range(0, 3, n)]).tobytes() for n in (1, 3)}
    assert len(found) == 1
