"""Students with other heads and backbones leave PyTorch as the student does: a clean graph with the same answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kda_edge.decoders.by_name import HEADS
from kda_edge.export.graphs.to_onnx import onnx_from_student
from kda_edge.export.lint import rules as lint
from kda_edge.export.verifying.compared_engines import engine_from_graph, engine_from_student
from kda_edge.manifest import InputContract
from kda_edge.networks.by_name import network_from_name

TILE_PX = 64


VARIANTS = [*(f"nano+{head}" for head in HEADS), *(f"tf_efficientnet_lite0+{head}" for head in ("dcf", "fpn"))]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_is_clean_and_answers_as_pytorch_does(
    variant: str, contract: InputContract, random_tiles: Callable[..., NDArray[np.float32]]
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = network_from_name(variant).train()
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (contract.mean, contract.std))
        with torch.no_grad():
            student((torch.from_numpy(random_tiles(4, seed=9)) - mean) / std)  # the norms see such tiles once
    graph = onnx_from_student(student.eval(), contract, TILE_PX)
    assert lint.findings(graph.model) == []
    assert not [node.name for node in graph.model.graph.node if node.op_type == "BatchNormalization"], "not folded"
    engine, reference = engine_from_graph(graph.model), engine_from_student(student, contract)
    for count in (1, 3):
        tiles = random_tiles(count, seed=count)
        probability = reference(tiles)
        assert probability.shape == (count, 1, TILE_PX, TILE_PX)
        assert float(np.ptp(probability)) > 1e-4, "a constant answer proves nothing"
        np.testing.assert_allclose(engine(tiles), probability, rtol=0, atol=1e-5)
