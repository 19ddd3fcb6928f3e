"""The bytes of an ONNX file are read as the onnx package reads them, and told apart from their metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from kda_edge.artifact_bytes import graph_digest, metadata_of
from kda_edge.errors import ArtifactError


def model(bias: float = 1.0, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    constant = helper.make_tensor("b", TensorProto.FLOAT, [1], [bias])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "b"], ["y"])],
        "tiny",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [constant],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9, producer_name="test")
    made.model_version = 3
    if metadata:
        helper.set_model_props(made, metadata)
    return made


def test_the_digest_is_that_of_the_same_model_without_metadata() -> None:
    plain = model().SerializeToString(deterministic=True)
    assert graph_digest(plain) == hashlib.sha256(plain).hexdigest()
    assert graph_digest(
        model(metadata={"a": "b", "c": "d" * 1000}).SerializeToString(deterministic=True)
    ) == graph_digest(plain)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=5))
@settings(max_examples=50, deadline=None)
def test_metadata_is_what_the_onnx_package_reads(metadata: dict[str, str]) -> None:
    content = model(metadata=metadata).SerializeToString()
    read = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    assert metadata_of(content) == read == metadata


def test_every_other_byte_of_the_file_counts() -> None:
    content = model().SerializeToString(deterministic=True)
    digests = {graph_digest(content)}
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        try:
            digests.add(graph_digest(bytes(changed)))
        except ArtifactError:  # a length or a tag that leads nowhere
            digests.add(f"refused {at}")
    assert len(digests) == len(content) + 1


def test_another_weight_is_another_digest() -> None:
    assert graph_digest(model(1.0).SerializeToString()) != graph_digest(model(2.0).SerializeToString())


def test_a_model_written_by_another_tool_in_two_parts_reads_the_last_value() -> None:
    first = model(metadata={"a": "old"}).SerializeToString()
    second = onnx.ModelProto()
    helper.set_model_props(second, {"a": "new"})
    assert metadata_of(first + second.SerializeToString()) == {"a": "new"}


@pytest.mark.parametrize(
    "content", [b"hello world", b"\x72\xff\x01short", b"\x07", b"\x80" * 12, b"\x00\x01"], ids=repr
)
def test_what_is_no_protocol_buffer_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="no ONNX model"):
        graph_digest(content)
    with pytest.raises(ArtifactError, match="no ONNX model"):
        metadata_of(content)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_an_answer_or_in_our_error(content: bytes) -> None:
    try:
        assert len(graph_digest(content)) == 64
        metadata_of(content)
    except ArtifactError:
        pass


def test_a_map_of_a_file_is_read_like_its_bytes(tmp_path: Path) -> None:
    content = model(metadata={"a": "b"}).SerializeToString()
    assert metadata_of(memoryview(content)) == {"a": "b"}
    assert graph_digest(memoryview(content)) == graph_digest(content)
