"""Facts are decoded once: kept under a digest of the files, found again, and measured anew after any change."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from kda_edge.manifest import InputContract
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.data.sources import Sample
from kda_edge.train.data_report.examined_samples import examine_samples
from kda_edge.train.data_report.kept_facts import FILE, KeptFacts, key_of
from kda_edge.train.data_report.sample_facts import SampleFacts, examine


@pytest.fixture
def sample(folders: Path) -> Sample:
    return load_data(DataRequest(folders, seed=0)).samples["train"][0]


def as_plain(facts: SampleFacts) -> dict[str, Any]:
    """Return facts as values that can be compared."""
    plain = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    keypoints = plain.pop("keypoints")
    if keypoints is not None:
        plain["keypoints"] = {k: getattr(v, "tolist", lambda v=v: v)() for k, v in vars(keypoints).items()}
    return plain


def test_what_is_kept_is_what_was_measured(sample: Sample, scene: Path, tmp_path: Path) -> None:
    other = load_data(DataRequest(scene, seed=0)).samples["train"][0]
    kept = KeptFacts(tmp_path)
    for one in (sample, other):
        facts, key = examine(one, InputContract()), key_of(one, InputContract())
        assert kept.find(key) is None
        kept.keep({key: facts})
        found = KeptFacts(tmp_path).find(key)
        assert found is not None
        assert as_plain(found) == as_plain(facts)


def test_the_second_time_facts_come_from_the_cache(sample: Sample, tmp_path: Path) -> None:
    kept = KeptFacts(tmp_path)
    (first,) = examine_samples([("train", sample)], InputContract(), kept=kept)
    assert first.facts is not None
    marked = dataclasses.replace(first.facts, landslide_px=12345)
    kept.keep({key_of(sample, InputContract()): marked})
    (second,) = examine_samples([("train", sample)], InputContract(), kept=kept)
    assert second.facts is not None
    assert second.facts.landslide_px == 12345


def test_every_change_of_a_file_or_of_the_declaration_changes_the_key(sample: Sample) -> None:
    keys = [key_of(sample, InputContract()), key_of(sample, InputContract(value_range=(0, 100)))]
    keys.append(key_of(dataclasses.replace(sample, window_ltrb=(0, 0, 9, 9)), InputContract()))
    keys.append(key_of(dataclasses.replace(sample, mask=None), InputContract()))
    for changes in ({"bands": (3, 2, 1)}, {"mask_landslide": ()}, {"mask_ignored": (7,)}):
        source = dataclasses.replace(sample.source, **changes)
        keys.append(key_of(dataclasses.replace(sample, source=source), InputContract()))
    assert sample.mask is not None
    times = sample.mask.stat()
    content = bytearray(sample.mask.read_bytes())
    content[-1] ^= 1  # of the same size and age
    sample.mask.write_bytes(bytes(content))
    os.utime(sample.mask, ns=(times.st_atime_ns, times.st_mtime_ns))
    keys.append(key_of(sample, InputContract()))
    sample.image.with_name(sample.image.name + ".aux.xml").write_text("<PAMDataset/>")
    keys.append(key_of(sample, InputContract()))
    assert len(set(keys)) == len(keys)


def test_a_moved_file_keeps_its_key(sample: Sample, tmp_path: Path) -> None:
    before = key_of(sample, InputContract())
    assert sample.mask is not None
    moved = dataclasses.replace(
        sample, image=sample.image.rename(tmp_path / "one.png"), mask=sample.mask.rename(tmp_path / "two.png")
    )
    assert key_of(moved, InputContract()) == before


@pytest.mark.parametrize("spoil", ["no database", "a folder"])
def test_a_cache_that_fails_costs_time_alone(
    sample: Sample, tmp_path: Path, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / FILE
    if spoil == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"no database at all" * 100)
    with caplog.at_level(logging.WARNING):
        (found,) = examine_samples([("train", sample)], InputContract(), kept=KeptFacts(tmp_path))
    assert found.facts is not None
    assert as_plain(found.facts) == as_plain(examine(sample, InputContract()))
    assert [str(path) in message for message in caplog.messages] == [True]
