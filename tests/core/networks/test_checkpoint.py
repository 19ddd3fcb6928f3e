"""Checkpoints: what is read back, and what is refused with one line."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disks import room_for

from kda_edge.errors import CheckpointError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.networks.checkpoint import (
    BACKBONE_FORMAT,
    DISTILLATION_FORMAT,
    Checkpoint,
    content_from_checkpoint,
    load_student,
    read_checkpoint,
    weights_digest,
    write_checkpoint,
    write_content,
)
from kda_edge.networks.student import Student


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    contract = InputContract(pixel_type="uint16", value_range=(0, 3000), mean=(1, 2, 3), std=(4, 5, 6), gsd_m=(0.5, 10))
    record = TrainingRecord(("a/b",), ("a/c",), "kda-train segment", 7, 3, {"val a/c": {"iou": 0.5}})
    return Checkpoint(Student("nano").eval(), contract, 0.4, record, 256)


def test_our_own_checkpoint_reads_back_as_it_was(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "student.pt", checkpoint)
    found = read_checkpoint(tmp_path / "student.pt")
    assert (found.input, found.threshold, found.training, found.tile_px, found.declared) == (
        *(checkpoint.input, checkpoint.threshold, checkpoint.training, checkpoint.tile_px),
        True,
    )
    assert not found.student.training
    assert weights_digest(found.student) == weights_digest(checkpoint.student)
    assert os.listdir(tmp_path) == ["student.pt"]


def test_a_full_disk_is_what_the_system_says_and_the_older_checkpoint_stays(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "student.pt").write_bytes(b"older")
    with pytest.raises(OSError, match="File too large") as caught, room_for(300_000):
        write_checkpoint(tmp_path / "student.pt", checkpoint)
    assert caught.value.filename == str(tmp_path / "student.pt")
    assert (tmp_path / "student.pt").read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["student.pt"]


@pytest.mark.parametrize("under", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_state_dict_is_recognised(
    checkpoint: Checkpoint, tmp_path: Path, under: str | None, prefix: str
) -> None:
    state: Any = {f"{prefix}{key}": value for key, value in checkpoint.student.state_dict().items()}
    torch.save(collections.OrderedDict(state) if under is None else {under: state, "epoch": 3}, tmp_path / "p.pt")
    found = read_checkpoint(tmp_path / "p.pt")
    assert found.student.variant == "nano"
    assert not found.declared
    assert weights_digest(found.student) == weights_digest(checkpoint.student)


def _lacking(state: dict[str, Any]) -> None:
    del state["decoder.head.bias"]


def _more(state: dict[str, Any]) -> None:
    state["decoder.extra"] = torch.zeros(1)


def _reshaped(state: dict[str, Any]) -> None:
    state["encoder.block1.0.attn.q.weight"] = torch.zeros(32, 33)


def _nan(state: dict[str, Any]) -> None:
    state["decoder.head.bias"] = torch.tensor([0.0, float("nan")])


def _moved(state: dict[str, Any]) -> None:
    state["decoder.UP1.init_pos"] = state["decoder.UP1.init_pos"] + 0.1


def _wider(state: dict[str, Any]) -> None:
    state["encoder.patch_embed4.proj.weight"] = torch.zeros(300, 160, 2, 2)


def _foreign(state: dict[str, Any]) -> None:
    state.clear()
    state["conv1.weight"] = torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_lacking, "lacks decoder.head.bias"),
        (_more, "unknown entry decoder.extra"),
        (_reshaped, r"attn.q.weight has shape \(32, 33\) where 'nano' has \(32, 32\)"),
        (_nan, "not finite"),
        (_moved, "init_pos differs"),
        (_wider, r"has dims \(32, 64, 160, 300\)"),
        (_foreign, "another architecture"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_with_the_reason(
    checkpoint: Checkpoint, tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    state = dict(checkpoint.student.state_dict())
    change(state)
    torch.save(state, tmp_path / "p.pt")
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_student(tmp_path / "p.pt")
    assert "\n" not in str(caught.value)


class _RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("hacked",))


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "text", "truncated", "pickle with code", "tensor", "list", "folder"]
)
def test_a_file_that_is_no_checkpoint_gives_one_line(
    checkpoint: Checkpoint, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "truncated":
        write_checkpoint(path, checkpoint)
        path.write_bytes(path.read_bytes()[:100_000])
    elif kind == "pickle with code":
        torch.save({"state_dict": _RunsCode()}, path)
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(CheckpointError) as caught:
        load_student(path)
    assert "\n" not in str(caught.value)
    assert "bad.pt" in str(caught.value)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format_version", 2, "format version 2"),
        ("threshold", 1.5, "threshold must lie"),
        ("tile_px", 100, "multiple of 32"),
        ("variant", "base", "does not fit the network 'base': it lacks"),
        ("input", {"pixel_type": "uint12"}, "pixel_type"),
        ("training", {"seed": "x"}, "training.seed must be int"),
        ("state_dict", {"a": 1}, "no state dict of tensors"),
    ],
)
def test_our_own_checkpoint_with_a_wrong_field_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, key: str, value: object, reason: str
) -> None:
    write_content(tmp_path / "c.pt", {**content_from_checkpoint(checkpoint), key: value})
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (BACKBONE_FORMAT, "holds phase 1 only, a distilled backbone; run kda-train segment with it as --backbone"),
        (DISTILLATION_FORMAT, "holds phase 1 only; run kda-train segment with the distilled.pt beside it"),
    ],
)
def test_what_phase_1_writes_is_refused_by_its_name_and_with_the_next_step(
    kind: str, said: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_content(tmp_path / "d.pt", {"format": kind, "state_dict": checkpoint.student.state_dict()})
    with pytest.raises(CheckpointError, match=f"d.pt {said}"):
        read_checkpoint(tmp_path / "d.pt")


def test_a_write_that_fails_keeps_the_file_that_was_there(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "student.pt"
    write_checkpoint(path, checkpoint)
    before = path.read_bytes()
    with pytest.raises((AttributeError, TypeError, ValueError, RuntimeError)):
        write_content(path, {"state_dict": lambda: None})  # can't be pickled
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["student.pt"]


def test_the_digest_tells_weights_apart(checkpoint: Checkpoint) -> None:
    other = Student("nano")
    other.load_state_dict(checkpoint.student.state_dict())
    assert weights_digest(other) == weights_digest(checkpoint.student)
    with torch.no_grad():
        other.decoder.head.bias[0] += 1e-6
    assert weights_digest(other) != weights_digest(checkpoint.student)
