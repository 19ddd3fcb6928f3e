"""A search keeps out what a lower precision damages, as little as that takes, and returns only what it measured."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx_graphs import parsed

from kda_edge.export.graphs.graph_view import is_within
from kda_edge.export.graphs.to_onnx import ExportedGraph
from kda_edge.export.precision.fp16 import half_graph
from kda_edge.export.precision.half_plan import half_plan
from kda_edge.export.precision.sensitivity import Found, groups_of, search
from kda_edge.export.verifying.compared_engines import engine_from_graph
from kda_edge.export.verifying.half_rounding import rounded_engine

GROUPS = tuple(f"g{number:02}" for number in range(24))


class World:
    """Graphs that only say what is kept out of them, and a damage that is a function of that."""

    def __init__(self, damage_of: Callable[[Collection[str]], float]) -> None:
        self.damage_of = damage_of
        self.measured: dict[frozenset[str], float] = {}
        self.lines: list[str] = []

    def build(self, kept_out: frozenset[str]) -> onnx.ModelProto:
        return onnx.ModelProto(doc_string=",".join(sorted(kept_out)))

    def damage(self, graph: onnx.ModelProto) -> float:
        kept_out = frozenset(filter(None, graph.doc_string.split(",")))
        assert kept_out not in self.measured, "measured twice"
        self.measured[kept_out] = self.damage_of(kept_out)
        return self.measured[kept_out]

    def search(self, allowed: float = 1.0, groups: Collection[str] = GROUPS) -> Found:
        found = search(self.build, tuple(groups), self.damage, allowed=allowed, log=self.lines.append)
        kept_out = frozenset(found.kept_out)
        assert found.graph == self.build(kept_out)
        assert found.evaluations == len(self.measured) == len(self.lines)
        if not np.isnan(self.measured[kept_out]):
            assert found.damage == self.measured[kept_out]
        assert found.holds == (found.damage <= allowed)
        return found


def summed(**of_group: float) -> World:
    """Damages that add up."""
    return World(lambda kept_out: sum(damage for group, damage in of_group.items() if group not in kept_out))


def test_nothing_is_kept_out_where_nothing_does_damage() -> None:
    found = summed(g03=0.4, g09=0.6).search()
    assert (found.kept_out, found.ranking, found.evaluations, found.holds) == ((), (), 1, True)


@pytest.mark.parametrize("bad", [0, 11, 23])
def test_the_one_bad_group_is_kept_out_alone(bad: int) -> None:
    found = summed(**{GROUPS[bad]: 7.0, "g05" if bad else "g06": 0.5}).search()
    assert (found.kept_out, found.damage) == ((GROUPS[bad],), 0.5)
    assert found.ranking[0] == (GROUPS[bad], 7.0)
    # All low, each alone, all kept out, the worst kept out.
    assert found.evaluations <= 1 + 24 + 2


@pytest.mark.parametrize("count", range(1, 25))
def test_as_many_as_are_bad_are_kept_out_the_worst_first_in_few_evaluations(count: int) -> None:
    bad = np.random.default_rng(count).permutation(GROUPS)[:count]
    world = summed(**{group: 2.0 + place for place, group in enumerate(bad)})
    found = world.search()
    assert found.kept_out == tuple(bad[::-1])
    assert [group for group, _ in found.ranking[:count]] == list(found.kept_out)
    assert len(found.ranking) == 24
    assert found.evaluations <= 1 + 24 + 2 * 5 + 1


def test_damage_that_only_adds_up_is_found_too() -> None:
    """Each of them holds alone, all of them together do not."""
    found = summed(**dict.fromkeys(GROUPS, 0.11)).search()
    assert len(found.kept_out) == 24 - 9
    assert found.kept_out == GROUPS[:15]  # equal ones in the order of the graph


@pytest.mark.parametrize("seed", range(30))
def test_what_is_returned_was_measured_to_hold_though_damage_jumps_about(seed: int) -> None:
    random = np.random.default_rng(seed)
    world = World(lambda kept_out: float(random.uniform(0.5, 1.5)) if kept_out else 9.0)
    found = world.search()
    holding = [len(kept_out) for kept_out, damage in world.measured.items() if damage <= 1.0]
    assert found.holds
    assert world.measured[frozenset(found.kept_out)] <= 1.0
    assert len(found.kept_out) == min(holding)


def test_a_hopeless_case_says_so_and_names_the_worst() -> None:
    world = World(lambda kept_out: 5.0 - 0.1 * len(kept_out) + 3.0 * ("g07" not in kept_out))
    found = world.search()
    assert not found.holds
    assert found.damage == pytest.approx(2.6)
    assert set(found.kept_out) == set(GROUPS)
    assert found.ranking[0][0] == "g07"


def test_no_number_is_worse_than_any_number() -> None:
    world = World(lambda kept_out: float("nan") if "g02" not in kept_out else 0.1)
    found = world.search()
    assert (found.kept_out, found.damage) == (("g02",), 0.1)
    assert found.ranking[0] == ("g02", float("inf"))


def test_without_groups_the_answer_is_the_only_graph_there_is() -> None:
    found = summed(g00=3.0).search(groups=())
    assert (found.kept_out, found.damage, found.holds, found.evaluations) == ((), 3.0, False, 1)


def test_groups_are_parts_of_blocks_and_each_candidate_is_in_one() -> None:
    model = parsed(
        """
        # encoder.patch_embed1.proj
        a = Relu(x)
        # encoder
        b = Relu(a)
        # encoder.block1.0.attn.q
        c = Relu(b)
        # encoder.block1.0.attn
        d = Relu(c)
        # encoder.block1.0
        e = Relu(d)
        # encoder.block1.0.mlp.fc1
        f = Relu(e)
        # encoder.block1.10.mlp.fc1
        g = Relu(f)
        # decoder.CG2.0
        h = Relu(g)
        # decoder.CG2.1
        i = Relu(h)
        # decoder.CG2.1
        j = Neg(i)
        #
        y = Relu(j)
        """,
        given="float[2] x",
        made="float[2] y",
    )
    groups = groups_of(model, lambda node: node.op_type == "Relu")
    assert groups == (
        "encoder.patch_embed1",
        "encoder/",
        "encoder.block1.0.attn",
        "encoder.block1.0/",
        "encoder.block1.0.mlp",
        "encoder.block1.10.mlp",
        "decoder.CG2",
        "/",
    )
    for node in model.graph.node:
        assert sum(is_within(node, group) for group in groups) == 1
    assert groups_of(model, lambda node: node.op_type == "Neg") == ("decoder.CG2",)


def test_a_student_has_some_dozens_of_groups_that_cover_it_once(graph: ExportedGraph) -> None:
    names = set(half_plan(graph.model).half_nodes)
    groups = groups_of(graph.model, lambda node: node.name in names)
    assert 20 <= len(groups) <= 60
    assert {"encoder.block1.0.attn", "encoder.block3.1.mlp", "encoder.patch_embed2", "decoder.CG3"} <= set(groups)
    for node in graph.model.graph.node:
        if node.name in names:
            assert sum(is_within(node, group) for group in groups) == 1
    assert not half_plan(graph.model, islands=groups).half_nodes


@pytest.fixture(scope="module")
def poisoned(graph: ExportedGraph) -> onnx.ModelProto:
    """The student with queries as large as weights in half let them be, and keys as much smaller: the same answer."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    attention = "encoder.block2.1.attn"
    taken = {node.name: set(node.input) for node in model.graph.node if node.name.startswith(attention)}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def constants(layer: str) -> dict[str, NDArray[np.float32]]:
        inputs = set().union(*(names for node, names in taken.items() if node.startswith(f"{attention}.{layer}/")))
        return {name: onnx.numpy_helper.to_array(tensors[name]).copy() for name in sorted(inputs & tensors.keys())}

    queries, keys_values = constants("q"), constants("kv")
    times = 2.0 ** np.floor(np.log2(6e4 / max(np.abs(value).max() for value in queries.values())))
    for value in queries.values():
        np.multiply(value, times, out=value)
    for value in keys_values.values():
        value[..., : value.shape[-1] // 2] /= times  # keys first, then values
    for name, value in (queries | keys_values).items():
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(value, name))
    return model


def test_a_student_with_one_poisoned_layer_has_this_layer_kept_out(
    poisoned: onnx.ModelProto, graph: ExportedGraph, random_tiles: Callable[..., NDArray[np.float32]]
) -> None:
    tile = random_tiles(1)
    expected = engine_from_graph(graph.model)(tile)
    np.testing.assert_allclose(engine_from_graph(poisoned)(tile), expected, rtol=0, atol=1e-5)
    names = set(half_plan(poisoned).half_nodes)
    groups = [g for g in groups_of(poisoned, lambda node: node.name in names) if "block2" in g]
    assert len(groups) == 6

    found = search(
        lambda kept_out: half_graph(poisoned, islands=kept_out),
        groups,
        lambda half: float(np.abs(rounded_engine(half)(tile) - expected).max()),
        allowed=0.01,
    )
    assert (found.kept_out, found.holds) == (("encoder.block2.1.attn",), True)
    assert found.ranking[0][1] > 0.05
    assert found.ranking[1][1] < 0.01
    assert found.evaluations == 1 + 6 + 2
