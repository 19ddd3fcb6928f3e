"""Digests of the data: taken once, kept for files that stay as they were, and told where they can't be taken."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from kda_edge.errors import DataError
from kda_edge.train.data.data_file import DataRequest, DataSet, load_data
from kda_edge.train.loops import known_data as module
from kda_edge.train.loops.known_data import DIGESTS, first_difference, keep_digests, known_data


@pytest.fixture
def data(folders: Path) -> DataSet:
    return load_data(DataRequest(folders, seed=0))


def test_every_file_that_is_learned_from_or_judged_on_has_its_size_and_digest(data: DataSet, tmp_path: Path) -> None:
    known, digests = known_data(data, tmp_path)
    for split in ("train", "val"):
        assert len(known[split]) == len(data.samples[split])
        for sample, plain in zip(data.samples[split], known[split], strict=True):
            for kind, path in (("", sample.image), ("mask_", sample.mask)):
                assert path is not None
                content = path.read_bytes()
                assert plain[f"{kind}bytes"] == len(content)
                assert plain[f"{kind}sha256"] == hashlib.sha256(content).hexdigest()
    assert "test" not in known
    assert len(digests) == 2 * (len(data.samples["train"]) + len(data.samples["val"]))


def test_a_kept_digest_is_taken_while_size_and_time_stay_and_no_longer(data: DataSet, tmp_path: Path) -> None:
    known, digests = known_data(data, tmp_path)
    file = data.samples["train"][0].image
    told: list[tuple[int, int]] = []
    keep_digests(tmp_path, {**digests, str(file): [*digests[str(file)][:2], "kept"]})
    again, _ = known_data(data, tmp_path, lambda label, done, total: told.append((done, total)))
    assert not told, "nothing was read"
    assert again["train"][0]["sha256"] == "kept"
    os.utime(file, ns=(1, 1))
    fresh, _ = known_data(data, tmp_path, lambda label, done, total: told.append((done, total)))
    assert told == [(1, 1)]
    assert first_difference(known, fresh) == ""


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]x", json.dumps({"a": 1}).encode()])
def test_digests_that_can_not_be_read_are_taken_again(content: bytes, data: DataSet, tmp_path: Path) -> None:
    (tmp_path / DIGESTS).write_bytes(content)
    assert known_data(data, tmp_path)[0] == known_data(data, tmp_path / "none")[0]


def test_a_mask_of_valid_pixels_beside_an_image_belongs_to_it(data: DataSet, tmp_path: Path) -> None:
    known, _ = known_data(data, tmp_path)
    image = data.samples["train"][0].image
    image.with_name(f"{image.name}.msk").write_bytes(b"valid")
    now, _ = known_data(data, tmp_path)
    digest = hashlib.sha256(b"valid").hexdigest()
    said = f"in the train split, {image.name} was read with beside None and now with ['{digest}']"
    assert first_difference(known, now) == said


def test_many_bytes_are_announced(
    data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "SLOW_BYTES", 10)
    known_data(data, tmp_path)
    assert [message.split(" (")[0] for message in caplog.messages] == ["reading 36 files"]


def test_a_file_that_has_gone_is_named(data: DataSet, tmp_path: Path) -> None:
    data.samples["val"][0].image.unlink()
    with pytest.raises(DataError, match=r"s\d+\.png can't be read \(No such file or directory\)"):
        known_data(data, tmp_path)
