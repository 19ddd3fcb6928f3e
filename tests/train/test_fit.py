"""Both phases from one command, resumable between and inside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kda_edge.errors import UsageError
from kda_edge.networks.checkpoint import read_checkpoint, weights_digest
from kda_edge.train.cli.train import main
from kda_edge.train.configuration.config_file import read_tables
from kda_edge.train.fit import FitConfig, fit_config

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)

CONFIG = """
[distill]
teacher = "test_vit"
discriminator = "test_vit"
epochs = 2
batch = 4
crop_px = 64
student_rate = [1e-3, 1e-4]

[segment]
variant = "nano"
epochs = 2
batch = 8
crop_px = 32
backbone_rate = [1e-3, 1e-5]
recompute = true
"""


def read_config(path: Path) -> FitConfig:
    return fit_config(read_tables(path), {}, path)


@pytest.fixture
def command(folders: Path, vit_weights: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "fit.toml").write_text(CONFIG)
    options = ["fit", "--data", str(folders), "--config", str(tmp_path / "fit.toml"), "--device", "cpu"]
    options += ["--teacher-weights", str(vit_weights), "--precision", "fp32", "--workers", "0"]
    options += ["--memory-format", "contiguous", "--skip-report"]
    return options


def test_a_run_that_is_cut_in_either_phase_ends_as_one_that_is_not(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    whole = read_checkpoint(tmp_path / "whole" / "segment" / "best.pt")
    assert whole.training.teacher.startswith("kda from test_vit")
    assert "recompute" not in whole.training.command

    from kda_edge.progress.progress_bar import ProgressBar

    show, stops = ProgressBar.__call__, ["epoch 2/2", "epoch 2/2"]

    def interrupted(self: ProgressBar, label: str, done: int, total: int) -> None:
        show(self, label, done, total)
        phase = "segment" if (tmp_path / "cut" / "segment").exists() else "distill"
        if label in stops and len(stops) == (2 if phase == "distill" else 1):
            stops.pop()
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "__call__", interrupted)
    cut = [*command, "--out", str(tmp_path / "cut")]
    assert main(cut) == 130
    assert not (tmp_path / "cut" / "segment" / "last.pt").exists()
    assert main([*cut, "--resume"]) == 130
    assert main([*cut, "--resume"]) == 0
    resumed = read_checkpoint(tmp_path / "cut" / "segment" / "best.pt")
    assert weights_digest(resumed.student) == weights_digest(whole.student)


def test_other_settings_of_a_phase_that_is_over_are_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*command, "--out", str(tmp_path / "run")]
    assert main(run) == 0
    config = tmp_path / "fit.toml"
    config.write_text(config.read_text().replace("student_rate = [1e-3, 1e-4]", "student_rate = [1e-3, 1e-5]"))
    assert main([*run, "--resume"]) == 1
    assert "was trained with student_rate" in capsys.readouterr().err


def test_a_longer_phase_1_under_a_phase_2_that_was_begun_is_refused_and_a_longer_phase_2_is_not(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [*command, "--out", str(tmp_path / "run")]
    assert main(run) == 0
    config = tmp_path / "fit.toml"
    was = config.read_text()
    config.write_text(was.replace("epochs = 2", "epochs = 3", 1))
    assert main([*run, "--resume"]) == 1
    assert "leave [distill] as it was" in capsys.readouterr().err
    first, second = was.split("[segment]")
    config.write_text(f"{first}[segment]{second.replace('epochs = 2', 'epochs = 3')}")
    assert main([*run, "--resume"]) == 0
    assert read_checkpoint(tmp_path / "run" / "segment" / "last.pt").training.epochs == 3


def test_a_run_in_the_way_is_found_before_hours_of_phase_1(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "segment").mkdir(parents=True)
    (tmp_path / "out" / "segment" / "last.pt").touch()
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    assert "go on with --resume" in capsys.readouterr().err
    assert not (tmp_path / "out" / "distill").exists()


def test_without_a_config_the_settings_are_the_papers() -> None:
    config = fit_config({}, {})
    distill, segment = config.distill, config.segment
    assert (distill.teacher, distill.method, distill.weights) == ("vit_large_patch14_dinov2.lvd142m", "kda", (0.6, 0.4))
    assert (distill.epochs, distill.batch, distill.temperature) == (200, 8, 5.0)
    assert (distill.student_rate, distill.discriminator_rate) == ((5e-5, 5e-8), (5e-6, 5e-9))
    assert (segment.variant, segment.epochs, segment.batch) == ("base", 200, 16)
    assert (segment.backbone_rate, segment.decoder_rate) == ((5e-6, 5e-9), (5e-4, 5e-6))
    assert (segment.loss.cross_entropy, segment.loss.focal, segment.loss.dice) == (0.4, 0.6, 0.0)


def test_one_variant_is_enough_and_two_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text('[segment]\nvariant = "tiny+unet"\n')
    assert read_config(path).distill.variant == "tiny"
    path.write_text('[segment]\nvariant = "tiny"\n[distill]\nvariant = "base"\n')
    with pytest.raises(UsageError, match="name the same student in both"):
        read_config(path)


def test_one_seed_is_enough_and_two_must_agree(tmp_path: Path) -> None:
    """Else phase 1 would see images that phase 2 is judged on."""
    path = tmp_path / "fit.toml"
    path.write_text("[segment]\nseed = 5\n")
    config = read_config(path)
    assert (config.distill.seed, config.segment.seed) == (5, 5)
    path.write_text("[segment]\nseed = 5\n[distill]\nseed = 6\n")
    with pytest.raises(UsageError, match="phase 1 has the seed 6 and phase 2 5"):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[distil]\n", "not 'distil'"),
        ("[distill]\nteachr = 'x'\n", "unknown field 'teachr'"),
        ("[distill]\nepochs = 'many'\n", "distill.epochs must be int"),
        ("[segment]\nrecompute = 1\n", "segment.recompute must be bool"),
        ("[segment]\nbackbone = 'x.pt'\n", "leave init, backbone"),
        ("[segment\n", "is not TOML"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused_in_one_line(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "fit.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=match) as caught:
        read_config(path)
    assert "\n" not in str(caught.value).strip()
