"""The card is named by its driver; what NVML does not tell nvidia-smi does, and what neither tells is named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from gpu_reports import PROCESSOR, findings, task_in, values

from kda_edge.benchmarks.gpu.facts import QUERIED, card_of, run, smi_facts, used_mb
from kda_edge.errors import NoDriver
from kda_edge.runtime.hardware.gpu_probe import Device

# As nvidia-smi prints with csv,noheader,nounits; written from its documentation, in the order of QUERIED.
ANSWER = (
    "NVIDIA GeForce RTX 3090, 580.65.06, 8.6, 24576, 412, 350.00, 350.00, 210, 2100, 405, 38, [N/A], [N/A], Enabled\n"
)
DEVICE = Device(0, "NVIDIA GeForce RTX 3090", (8, 6), "13.0", 25_438_126_080)


def no_driver() -> Device:
    raise NoDriver("there is no NVIDIA driver here")


def test_what_nvidia_smi_prints_is_told_and_what_it_does_not_know_is_missing() -> None:
    told = smi_facts(lambda: ANSWER)
    assert told["driver"] == "580.65.06"
    assert told["power_limit_w"] == "350.00"
    assert set(QUERIED) - set(told) == {"mig", "ecc"}


def test_of_several_cards_the_first_is_told() -> None:
    assert smi_facts(lambda: ANSWER + ANSWER.replace("3090", "3080"))["name"] == "NVIDIA GeForce RTX 3090"


@pytest.mark.parametrize("error", [FileNotFoundError("nvidia-smi"), subprocess.CalledProcessError(9, "nvidia-smi")])
def test_without_nvidia_smi_nothing_is_told(error: Exception) -> None:
    def ask() -> str:
        raise error

    assert smi_facts(ask) == {}
    assert smi_facts(lambda: "No devices were found\n") == {}


def test_a_card_has_its_drivers_names_and_numbers() -> None:
    card = card_of("cuda", find=lambda: DEVICE, smi=lambda: smi_facts(lambda: ANSWER))
    assert (card.name, card.kind, card.driver) == ("NVIDIA GeForce RTX 3090", "cuda", "580.65.06")
    assert (card.compute_capability, card.memory_mb) == ("8.6", 25_438)
    assert card_of("cuda", find=no_driver).name == "no GPU"
    assert card_of("cpu").kind == "cpu"


def test_without_a_driver_the_facts_are_not_possible_in_the_drivers_words(tmp_path: Path) -> None:
    with pytest.raises(NoDriver, match="no NVIDIA driver"):
        run(task_in(tmp_path), findings(), find=no_driver, smi=dict)


def test_facts_hold_the_limits_and_name_what_is_missing(tmp_path: Path) -> None:
    found = findings()
    run(
        task_in(tmp_path),
        found,
        find=lambda: DEVICE,
        smi=lambda: smi_facts(lambda: ANSWER),
        torch_facts=lambda: {"torch": "2.11", "cudnn": "91900"},
    )
    assert values(found) == {"power.limit": 350.0, "clock.most": 2100.0, "memory.total": 24576.0}
    assert found.settings["facts"]["cudnn"] == "91900"
    assert "not told by this card or driver: mig, ecc" in found.notes
    unknown = findings()
    run(task_in(tmp_path), unknown, find=lambda: DEVICE, smi=dict, torch_facts=dict)
    assert any("nvidia-smi can't be asked" in note for note in unknown.notes)


def test_on_a_processor_no_card_is_asked(tmp_path: Path) -> None:
    found = findings()
    run(task_in(tmp_path, card=PROCESSOR), found, find=no_driver, smi=no_driver, torch_facts=dict)  # type: ignore[arg-type]
    assert found.figures == []


def test_used_memory_is_nvmls_else_nvidia_smis() -> None:
    assert used_mb(lambda: "no NVML", lambda: smi_facts(lambda: ANSWER)) == pytest.approx(412 * 1.048576)
    assert used_mb(lambda: "no NVML", dict) is None
