"""The configuration in a run's folder repeats the run; what a file may not say is refused in a line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kda_edge.errors import UsageError
from kda_edge.manifest import InputContract
from kda_edge.networks.checkpoint import read_checkpoint, read_content, weights_digest
from kda_edge.train.cli.train import main
from kda_edge.train.configuration.config_file import CONFIG, DataTable, read_tables, settings_from_table, write_config
from kda_edge.train.data.augmentation import Augmentation
from kda_edge.train.data.data_file import DataRequest
from kda_edge.train.distillation.config import DistillConfig
from kda_edge.train.loops.compute_choice import Compute
from kda_edge.train.segmentation.config import SegmentConfig
from kda_edge.train.segmentation.losses import LossWeights

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)

COMPUTE = Compute("contiguous", "fp32")
ODD = SegmentConfig(
    variant="nano",
    epochs=3,
    crop_px=64,
    backbone_rate=(1e-3, 5e-9),
    weight_decay=0.1 + 0.2,
    encoder_weights='a "strange"\\name\n\x7fé',
    augmentation=Augmentation(rotate=False, scale=(0.5, 1e16)),
    loss=LossWeights(1.0, 0.0, 1 / 3, focal_gamma=0.0),
    recompute=True,
    precision="fp32",
    memory_format="contiguous",
)


def test_the_configuration_of_a_run_repeats_it_to_the_same_weights(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders.parent)
    words = ["--variant", "nano", "--epochs", "2", "--crop-px", "32", "--batch", "8", "--workers", "0", "--seed", "3"]
    words += ["--backbone-rate", "1e-3", "1e-5", "--scale", "0.9", "1.1", "--gsd", "0.5", "2", "--clip-norm", "1"]
    words += ["--skip-report"]
    assert main(["segment", "--data", folders.name, "--out", "first", *words]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["segment", "--config", str(folders.parent / "first" / CONFIG), "--out", "again", "--skip-report"]) == 0
    one, other = (read_checkpoint(place / "last.pt") for place in (folders.parent / "first", tmp_path / "again"))
    assert weights_digest(one.student) == weights_digest(other.student)
    assert one.input == other.input == InputContract(gsd_m=(0.5, 2.0))
    # What the trial chose is said, not chosen again.
    assert one.compute == other.compute
    settings = read_tables(folders.parent / "first" / CONFIG)["segment"]
    assert f"{settings['memory_format']} {settings['precision']}" == one.compute
    assert "command" not in (recorded := read_content(Path("again/last.pt"))["run"]["settings"])
    assert recorded["seed"] == 3


@pytest.mark.parametrize("config", [ODD, DistillConfig(precision="fp32", memory_format="contiguous", views=3)])
def test_settings_are_read_back_as_they_were_written(config: SegmentConfig | DistillConfig, tmp_path: Path) -> None:
    table = "segment" if isinstance(config, SegmentConfig) else "distill"
    request = DataRequest(tmp_path / "slides", config.seed, tmp_path / "disk", InputContract(gsd_m=(0.5, 2.0)))
    write_config(tmp_path, table, config, compute=COMPUTE, request=request, command="kda-train x\n[segment]\x00")
    tables = read_tables(tmp_path / CONFIG)
    assert settings_from_table(type(config), tables[table], where=table, path=None) == config
    assert settings_from_table(DataTable, tables["data"], where="data", path=None).request(config.seed) == request


def test_files_of_a_run_are_named_so_that_another_folder_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "start.pt").touch()
    config = SegmentConfig(init="start.pt")
    write_config(tmp_path, "segment", config, compute=COMPUTE, request=DataRequest(Path("d"), 0), command="")
    tables = read_tables(tmp_path / CONFIG)
    assert tables["segment"]["init"] == str(tmp_path.resolve() / "start.pt")
    assert tables["data"]["path"] == str(tmp_path.resolve() / "d")


def test_imagery_that_was_split_by_another_seed_is_not_named(tmp_path: Path) -> None:
    """One --seed would repeat neither the split nor the run."""
    config = dataclasses.replace(ODD, seed=1)
    write_config(tmp_path, "segment", config, compute=COMPUTE, request=DataRequest(Path("d"), 0), command="")
    assert read_tables(tmp_path / CONFIG)["data"] == {}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[distil]\n", "not 'distil'"),
        ("segment = 1\n", "not 'segment'"),
        ("[segment\n", "is not TOML"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UsageError, match=match) as caught:
        read_tables(tmp_path / "c.toml")
    assert "\n" not in str(caught.value).strip()
    with pytest.raises(UsageError, match="is a folder"):
        read_tables(tmp_path)
    with pytest.raises(UsageError, match="there is no config"):
        read_tables(tmp_path / "none.toml")
