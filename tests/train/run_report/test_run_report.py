"""A run ends with a report, one file that needs no network, and a run can be told again at any time."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import json
import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from worlds import write_image

from kda_edge.networks.checkpoint import read_checkpoint
from kda_edge.train.cli import main
from kda_edge.train.data.data_file import DataRequest, load_data
from kda_edge.train.loops.devices import resolve_device
from kda_edge.train.run_report.judged_split import cautions, judge_split, with_examples
from kda_edge.train.run_report.run_report import evaluation_report, write_report

# Protobuf's and TensorBoard's own warnings are not about this project.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:tensorboard.*", "ignore::DeprecationWarning:google.*"
)

RUN = ["--variant", "nano", "--crop-px", "32", "--workers", "0", "--epochs", "1", "--batch", "8", "--device", "cpu"]
RUN += ["--precision", "fp32", "--memory-format", "contiguous"]


class Page(html.parser.HTMLParser):
    """What a page holds: its tags with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data + "\n"

    def pictures(self) -> list[np.ndarray]:
        sources = [str(attributes["src"]) for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        return [
            cv2.imdecode(np.frombuffer(base64.b64decode(one.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
            for one in sources
        ]


def test_a_run_ends_with_a_report_and_is_told_again_from_its_folder(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["segment", "--data", str(folders), "--out", str(run), *RUN]) == 0
    text = (run / "report.html").read_text()
    page = Page(text)
    assert len(page.pictures()) == 1 + 2 * 3 + 2 * 2, "training, charts of two splits, and their two images each"
    assert all(picture is not None for picture in page.pictures())
    assert len(list((run / "report").glob("*.png"))) == len(page.pictures())
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import|<script", text), "nothing is fetched"
    for said in ("Split test", "Split val", "train  scars", "[segment]", "Epoch and threshold were chosen on the val"):
        assert said in page.words
    capsys.readouterr()
    (run / "report.html").unlink()
    assert main(["report", str(run), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    again = Page((run / "report.html").read_text())
    figures = re.compile(r"\d+\.\d{3}\n")
    assert figures.findall(again.words) == figures.findall(page.words)
    # The folder of fit leads to its second phase; a folder without a run is told.
    (tmp_path / "both").mkdir()
    run.rename(tmp_path / "both" / "segment")
    assert main(["report", str(tmp_path / "both"), "--data", str(folders), "--device", "cpu"]) == 0
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no best.pt" in capsys.readouterr().err


def test_changed_imagery_is_said_on_the_page(folders: Path, tmp_path: Path) -> None:
    assert main(["segment", "--data", str(folders), "--out", str(tmp_path / "run"), *RUN, "--skip-report"]) == 0
    assert not (tmp_path / "run" / "report.html").exists()
    image = cv2.imread(str(folders / "images" / "s07.png"))
    write_image(folders / "images" / "s07.png", 255 - image)
    assert main(["report", str(tmp_path / "run"), "--device", "cpu"]) == 0
    words = Page((tmp_path / "run" / "report.html").read_text()).words
    assert "The imagery is no longer what the run learned from and was judged on: in the" in words
    assert "s07.png" in words


def test_evaluate_writes_the_figures_that_it_prints_and_says_what_a_tuned_threshold_is_worth(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert main(["segment", "--data", str(folders), "--out", str(tmp_path / "run"), *RUN, "--skip-report"]) == 0
    words = ["evaluate", "--ckpt", str(tmp_path / "run" / "best.pt"), "--data", str(folders), "--gsd", "1", "2"]
    words += ["--json", str(tmp_path / "m.json"), "--report", str(tmp_path / "test.html"), "--device", "cpu"]
    assert main(words) == 0, "another ground sampling distance changes no pixel"
    assert "was trained on none" in caplog.text
    assert "chosen on the test split itself" not in caplog.text
    page = Page((tmp_path / "test.html").read_text())
    metrics = json.loads((tmp_path / "m.json").read_text())["metrics"]["scars"]
    assert f"{metrics['iou']:.3f}\n" in page.words
    assert f"{metrics['recall']:.3f}\n" in page.words
    assert main([*words, "--tune-threshold"]) == 0
    assert "the threshold was chosen on the test split itself" in caplog.text
    assert "rests on 2 images with landslide" in caplog.text
    assert main([*words, "--report", str(tmp_path / "test.png")]) == 2
    assert main([*words[:5], "--pixel-type", "uint16", "--value-range", "0", "9", *words[5:]]) != 0


def test_names_from_files_are_text_on_the_page_and_outlines_are_where_truth_is(folders: Path, tmp_path: Path) -> None:
    """A name may hold what HTML would take for a tag."""
    assert main(["segment", "--data", str(folders), "--out", str(tmp_path / "run"), *RUN, "--skip-report"]) == 0
    strange = "a&b<i>"
    for path in sorted((folders / "masks").iterdir()):
        for place in (path, folders / "images" / path.name):
            place.rename(place.with_name(f"{strange}{place.name}"))
    checkpoint, device = read_checkpoint(tmp_path / "run" / "best.pt"), resolve_device("cpu")
    data = load_data(DataRequest(folders, seed=0))
    judged = with_examples(judge_split(checkpoint, data, "train", device=device), checkpoint, data, device)
    write_report(tmp_path / "r.html", evaluation_report(checkpoint, Path("x.pt"), judged, device))
    page = Page((tmp_path / "r.html").read_text())
    assert "i" not in {tag for tag, _ in page.tags}
    assert strange in page.words
    shown = {one.name: one for one in (*judged.worst, *judged.best)}
    assert len(shown) == 8
    for name, example in shown.items():
        image, mask = (cv2.imread(str(folders / kind / f"{name}.png")) for kind in ("images", "masks"))
        assert example.counts.tp + example.counts.fn == np.count_nonzero(mask[..., 0])
        picture = cv2.imdecode(np.frombuffer(example.png, np.uint8), cv2.IMREAD_COLOR)
        side_px = (picture.shape[1], picture.shape[0])
        truth = cv2.resize(mask[..., 0], side_px, interpolation=cv2.INTER_NEAREST)
        border = (truth > 0) & (cv2.erode(truth, np.ones((3, 3))) == 0)
        changed = np.abs(picture.astype(int) - cv2.resize(image, side_px)).max(axis=2) > 40
        assert changed[border].mean() > 0.8


def test_a_split_that_chose_nothing_and_is_large_needs_no_caution(folders: Path, tmp_path: Path) -> None:
    assert main(["segment", "--data", str(folders), "--out", str(tmp_path / "run"), *RUN, "--skip-report"]) == 0
    checkpoint, data = read_checkpoint(tmp_path / "run" / "best.pt"), load_data(DataRequest(folders, seed=0))
    many = dataclasses.replace(data, samples={**data.samples, "test": data.samples["train"] * 2})
    judged = judge_split(checkpoint, many, "test", device=resolve_device("cpu"))
    assert judged.scores.with_landslide() == 32
    assert cautions(judged, chose_the_epoch=False) == []
    (only,) = cautions(judged, chose_the_epoch=True)
    assert "flatter" in only
