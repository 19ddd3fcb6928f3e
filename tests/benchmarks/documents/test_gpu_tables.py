"""A card's figures stand under its own name; a rehearsal's, a processor's or another part's are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gpu_reports import PROCESSOR, RTX_3090, part_file

from kda_edge.benchmarks.documents import performance_page
from kda_edge.benchmarks.documents.gpu_tables import COLUMNS, NOT_YET, gpu_tables
from kda_edge.benchmarks.gpu.part_file import PartFile, write_part
from kda_edge.benchmarks.gpu.parts import PARTS
from kda_edge.benchmarks.reporting.result import Estimate, Figure, Result
from kda_edge.errors import UsageError


def put(results: Path, folder: str, content: PartFile) -> None:
    (results / folder).mkdir(parents=True, exist_ok=True)
    write_part(results / folder, content)


def test_what_no_card_measured_is_not_measured_yet(tmp_path: Path) -> None:
    assert gpu_tables(tmp_path, "pytorch") == NOT_YET
    put(tmp_path, "a", part_file("tensorrt", status="not_possible", reason="tensorrt is not installed"))
    assert gpu_tables(tmp_path, "tensorrt") == NOT_YET


def test_each_card_has_a_table_of_its_own_under_its_name(tmp_path: Path) -> None:
    put(tmp_path, "a", part_file())
    put(tmp_path, "b", part_file(device=replace(RTX_3090, name="NVIDIA H100 80GB HBM3")))
    text = gpu_tables(tmp_path, "pytorch")
    first, second = text.split("**NVIDIA H100 80GB HBM3**")
    assert "**NVIDIA GeForce RTX 3090**" in first
    assert "driver 580.65.06" in first
    for table in (first, second):
        (row,) = (line for line in table.splitlines() if line.startswith("| bundled"))
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert cells == ["bundled, fp16, eager, batch 4", "1.25", "-", "-", "840", "-", "-"]


@pytest.mark.parametrize("wrong", [part_file(rehearsal=True), part_file(device=PROCESSOR)])
def test_figures_that_are_not_a_cards_are_refused(wrong: PartFile, tmp_path: Path) -> None:
    put(tmp_path, "a", wrong)
    with pytest.raises(UsageError, match="says nothing of a GPU"):
        gpu_tables(tmp_path, "pytorch")


def test_a_file_under_another_parts_name_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a", part_file())
    (tmp_path / "a" / "pytorch.json").rename(tmp_path / "a" / "scene.json")
    with pytest.raises(UsageError, match="holds the part 'pytorch'"):
        gpu_tables(tmp_path, "scene")


def test_a_part_that_failed_says_so_beside_what_it_measured(tmp_path: Path) -> None:
    of = {"phase": "phase2", "recompute": "yes"}
    figures = [Figure("throughput.images", 32.0, "images/s", "higher", of)]
    figures += [Figure("memory.fits_24gb", 0.0, "", "higher", of), Figure("step.loss_off", 1e-6, "", "lower")]
    estimate = Estimate("hours.cas", 30.0, "h", "as measured; not measured elsewhere", of)
    result = Result("gpu", {"part": "training"}, figures, estimates=[estimate], notes=["a note"])
    failed = part_file("training", status="failed", reason="it took too long", result=result, left_out=("resume",))
    put(tmp_path, "a", failed)
    text = gpu_tables(tmp_path, "training")
    assert "- **failed**: it took too long" in text
    assert "| phase2, recompute yes " in text
    assert "**no**" in text
    assert "- step.loss_off 1e-06" in text
    assert "- left out: resume" in text
    assert "- a note" in text
    assert "Estimates, computed from what was measured" in text


def test_the_page_asks_for_every_part_that_measures(tmp_path: Path) -> None:
    assert set(COLUMNS) == set(PARTS) - {"models"}
    assert performance_page.table("gpu", "pytorch", tmp_path) == NOT_YET
    page = Path(__file__).parents[3] / "docs" / "performance.md"
    assert [part for part in COLUMNS if f"<!-- performance: gpu {part} -->" not in page.read_text()] == []
