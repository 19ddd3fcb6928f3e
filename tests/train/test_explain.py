"""Heat maps and masks: their numbers are what slow, obvious computations give, and the figures show those numbers."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from worlds import scar, write_image

from kda_edge.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from kda_edge.errors import DataError, OutputError, UsageError
from kda_edge.manifest import InputContract, TrainingRecord
from kda_edge.network import Network
from kda_edge.predict import predict_array
from kda_edge.student import Student
from kda_edge.train import colouring
from kda_edge.train.backbones import Backbone, write_backbone
from kda_edge.train.cli import main
from kda_edge.train.data import DataSet, load_data
from kda_edge.train.evaluate import engine_from_student, evaluate
from kda_edge.train.heatmaps import (
    centred,
    encoder_maps,
    feature_at,
    grad_cam,
    mean_feature,
    separation,
    shares_on_grid,
    similarity_map,
    upsampled,
)
from kda_edge.train.imagery import BACKGROUND, IGNORED, LANDSLIDE
from kda_edge.train.mask_sheet import counts_of, distinct_names, judge, model_from_checkpoint, outcomes_of
from kda_edge.train.sheet import PAPER, Panel, sheet, text_width, wrapped, write_png
from kda_edge.train.source import Sample, Source
from kda_edge.train.view import read_view
from kda_edge.train.window import drawn_samples, landslide_window, named_samples, window_around

CPU = torch.device("cpu")
UINT16 = InputContract(pixel_type="uint16", value_range=(0.0, 4000.0), mean=(1900.0,) * 3, std=(900.0,) * 3)


# --- maps as numbers


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_a_mask_is_brought_to_a_grid_by_exact_area(height: int, width: int, rows: int, cols: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    tall, wide = math.lcm(height, rows), math.lcm(width, cols)
    fine = np.kron(mask, np.ones((tall // height, wide // width)))  # each pixel as whole small ones
    expected = fine.reshape(rows, tall // rows, cols, wide // cols).mean(axis=(1, 3))
    assert np.allclose(shares_on_grid(torch.from_numpy(mask), (rows, cols)).numpy(), expected)


def test_similarity_is_the_cosine_of_every_position_with_the_reference() -> None:
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(5, 3, 4)), rng.random((3, 4))
    features[:, 1, 2] = 0
    reference = sum(weights[i, j] * features[:, i, j] for i in range(3) for j in range(4)) / weights.sum()
    found = mean_feature(torch.from_numpy(features), torch.from_numpy(weights))
    assert np.allclose(found.numpy(), reference)
    heat = similarity_map(torch.from_numpy(features), found).numpy()
    for i in range(3):
        for j in range(4):
            length = np.linalg.norm(features[:, i, j]) * np.linalg.norm(reference)
            assert heat[i, j] == pytest.approx(features[:, i, j] @ reference / length if length else 0, abs=1e-6)


def test_a_shared_direction_hides_what_tells_positions_apart_until_it_is_centred() -> None:
    own = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0))
    hidden = own + 1000
    assert float(similarity_map(hidden, hidden[:, 0, 0]).min()) > 0.99
    shown = similarity_map(centred(hidden), centred(hidden)[:, 0, 0])
    assert torch.allclose(shown, similarity_map(centred(own), centred(own)[:, 0, 0]), atol=1e-3)
    assert float(shown.min()) < 0


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 12), st.integers(1, 12), st.data())
def test_a_pixel_has_the_feature_of_the_cell_that_its_centre_lies_in(
    rows: int, cols: int, height: int, width: int, data: Any
) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    features = torch.arange(rows * cols, dtype=torch.float32).reshape(1, rows, cols)
    cell = int(feature_at(features, x, y, (height, width))[0])
    assert cell // cols <= (y + 0.5) * rows / height < cell // cols + 1
    assert cell % cols <= (x + 0.5) * cols / width < cell % cols + 1


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 2])), min_size=1, max_size=30))
def test_the_figures_of_a_map_are_those_of_all_pairs_of_pixels(pixels: list[tuple[int, int]]) -> None:
    values = np.array([[value for value, _ in pixels]], np.float32)
    place = np.array([[where for _, where in pixels]])
    found = separation(values, place == 1, place == 0)
    high, low = values[place == 1], values[place == 0]
    if not high.size or not low.size:
        assert found is None
        return
    assert found is not None
    wins = [float(a > b) + 0.5 * float(a == b) for a in high for b in low]
    assert found.auc == pytest.approx(np.mean(wins))
    assert (found.inside, found.outside) == pytest.approx((high.mean(), low.mean()))
    assert found.difference == pytest.approx(high.mean() - low.mean())


# --- Grad-CAM


class Linear(Network):
    """Maps of 2 x 2 averages, each channel with its own weight in the logit."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.variant = "linear"
        self.encoder = nn.AvgPool2d(2)
        self.decoder = nn.Conv2d(3, 1, 1, bias=False)
        self.decoder.weight.data[:] = torch.tensor(weights).reshape(1, 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.decoder(self.encoder(image)).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


class Staged(Network):
    """Two stages, the second one made from the first; both reach the logit."""

    def __init__(self) -> None:
        super().__init__()
        self.variant = "staged"
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 2, stride=2), nn.Conv2d(4, 5, 2, stride=2)
        outer = self

        class Encoder(nn.Module):
            def forward(self, image: Tensor) -> list[Tensor]:
                one = outer.first(image).tanh()
                return [image, image.new_empty(1, 0, 4, 4), one, outer.second(one).tanh()]

        self.encoder = Encoder()
        self.decoder = nn.Identity()

    def head(self, one: Tensor) -> Tensor:
        """The logit from the first map."""
        two = self.second(one).tanh()
        coarse = two.square().sum(1, keepdim=True).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return (one.sum(1, keepdim=True) * coarse).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def forward(self, image: Tensor) -> Tensor:
        one, two = self.encoder(image)[2:]
        coarse = two.square().sum(1, keepdim=True).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return (one.sum(1, keepdim=True) * coarse).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def test_grad_cam_of_a_linear_network_is_what_a_hand_computes() -> None:
    """y = sum over the target's pixels of sum_k w_k A^k / their number: dy/dA^k has the mean w_k / positions."""
    weights = [2.0, -1.0, 0.5]
    image = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    target = torch.zeros(6, 8)
    target[2:5, 1:7] = 1
    maps = image[0].reshape(3, 3, 2, 4, 2).mean(dim=(2, 4))
    expected = sum(weight / 12 * one for weight, one in zip(weights, maps, strict=True)).clamp(min=0)
    assert float(expected.max()) > 0
    assert float(expected.min()) == 0
    network = Linear(weights)
    found = grad_cam(network, image, 4, target)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(found, grad_cam(network, image, 4, 7 * target), atol=1e-6)  # weights, not their sum, count
    assert network.decoder.weight.grad is None
    assert not network.encoder._forward_hooks


def test_grad_cam_of_an_early_stage_counts_what_it_does_through_later_ones() -> None:
    network = Staged().double()
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target = torch.rand(8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        one = network.encoder(image)[2]
        slopes = torch.zeros_like(one)
        for index in np.ndindex(*one.shape):
            step = torch.zeros_like(one)
            step[index] = 1e-5
            up, down = (((network.head(one + s * step) * target).sum() / target.sum()) for s in (1, -1))
            slopes[index] = (up - down) / 2e-5
        expected = (slopes.mean(dim=(2, 3), keepdim=True) * one).sum(dim=1)[0].clamp(min=0)
    assert float(expected.max()) > 0
    assert torch.allclose(grad_cam(network, image, 3, target), expected, atol=1e-8)
    assert grad_cam(network, image, 4, target).shape == (2, 2)


def test_a_stage_that_a_network_has_not_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"staged has no stage 2 .* --stage 3 to 4"):
        grad_cam(Staged(), torch.rand(1, 3, 8, 8), 2, torch.ones(8, 8))


def test_images_and_placeholders_that_encoders_hand_on_are_no_maps() -> None:
    maps = [torch.zeros(1, 3, 8, 8), torch.zeros(1, 0, 4, 4), torch.zeros(1, 5, 2, 2)]
    assert [tuple(one.shape) for one in encoder_maps(maps, (8, 8))] == [(1, 5, 2, 2)]
    assert len(encoder_maps(maps[-1], (8, 8))) == 1


# --- windows and choice


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 9), st.floats(0, 0.2))
def test_a_window_shows_landslide_and_stays_inside(height: int, width: int, side: int, seed: int, share: float) -> None:
    labels = (np.random.default_rng(seed).random((height + 3, width + 5)) < share).astype(np.uint8)
    within = (5, 3, width + 5, height + 3)

    def read(bounds: tuple[int, int, int, int]) -> np.ndarray:
        return labels[bounds[1] : bounds[3], bounds[0] : bounds[2]]

    found = landslide_window(read, within, side, np.random.default_rng(seed))
    if not read(within).any():
        assert found is None
        return
    assert found is not None
    assert read(found).any()
    left, top, right, bottom = found
    assert 5 <= left < right <= width + 5
    assert 3 <= top < bottom <= height + 3
    assert (right - left, bottom - top) == (min(side, width), min(side, height))


def test_every_pixel_of_landslide_has_its_chance() -> None:
    labels = np.zeros((1200, 8), np.uint8)
    labels[[3, 700, 1199], [1, 6, 7]] = LANDSLIDE
    reads = lambda b: labels[b[1] : b[3], b[0] : b[2]]  # noqa: E731
    found = {landslide_window(reads, (0, 0, 8, 1200), 8, np.random.default_rng(seed)) for seed in range(40)}
    assert found == {(0, 0, 8, 8), (0, 696, 8, 704), (0, 1192, 8, 1200)}
    assert window_around(6, 700, (0, 0, 8, 1200), 8) == (0, 696, 8, 704)


@pytest.fixture
def half(tmp_path: Path) -> DataSet:
    """Eight images in the test split, of which the odd ones show landslide."""
    rng = np.random.default_rng(0)
    for i in range(8):
        image, mask = scar(rng, 40, 48)
        write_image(tmp_path / "half" / "images" / f"h{i}.png", image)
        write_image(tmp_path / "half" / "masks" / f"h{i}.png", mask * 255 * (i % 2))
    (tmp_path / "half.toml").write_text('[[source]]\nname = "half"\nroot = "half"\nfractions = [0, 0, 1]\n')
    return load_data(tmp_path / "half.toml", seed=0)


def test_images_are_drawn_at_random_among_those_with_landslide(half: DataSet) -> None:
    samples = half.samples["test"]
    draw = lambda seed, count: [  # noqa: E731
        s.image.stem for s, _ in drawn_samples(samples, half, count, 512, np.random.default_rng(seed))
    ]
    assert draw(0, 9) == ["h1", "h3", "h5", "h7"]
    assert {name for seed in range(20) for name in draw(seed, 1)} == {"h1", "h3", "h5", "h7"}
    assert draw(3, 2) == draw(3, 2)
    with pytest.raises(DataError, match="shows landslide"):
        drawn_samples(samples[:1], half, 1, 512, np.random.default_rng(0))


def test_a_stem_that_several_groups_have_needs_its_group() -> None:
    source = Source("cas", "cas")
    samples = [Sample(source, g, Path(f"{g}/a.tif"), None, None, (0, 0, 1, 1)) for g in ("north", "south")]
    assert named_samples(samples, ["south/a"]) == [samples[1]]
    with pytest.raises(UsageError, match=r"2 images are called 'a' \(north/a, south/a\)"):
        named_samples(samples, ["a"])


# --- what is shown


@pytest.mark.parametrize("pixel_type", ["uint16", "float32"])
def test_imagery_of_other_types_is_shown_through_its_declared_range(tmp_path: Path, pixel_type: str) -> None:
    raw, mask = scar(np.random.default_rng(0), 40, 48)
    pixels = raw.astype(pixel_type) * (5000 / 255)  # some lies beyond what is declared
    pixels = pixels.astype(pixel_type)
    if pixel_type == "float32":
        pixels[:5, :7] = np.nan
    contract = dataclasses.replace(UINT16, pixel_type=pixel_type)
    image = write_image(tmp_path / "a.tif", pixels)
    sample = Sample(
        Source("a", "", mask_landslide=()), "a", image, write_image(tmp_path / "m.tif", mask), None, (0,) * 4
    )
    view = read_view(sample, contract, at_xy=None, side_px=64, rng=np.random.default_rng(0))
    known = np.isfinite(pixels).all(axis=2)
    assert np.allclose(view.share[known], np.clip(pixels[known] / 4000, 0, 1), atol=1e-6)
    assert np.isfinite(view.share).all()
    assert ((view.labels == IGNORED) == ~known).all()
    assert (view.landslide[known] == (mask[known] == 1)).all()


def test_a_large_image_is_cut_around_the_pixel_and_says_where(tmp_path: Path) -> None:
    raw, _ = scar(np.random.default_rng(0), 100, 150)
    image = write_image(tmp_path / "a.png", raw)
    sample = Sample(Source("a", ""), "a", image, None, None, (0,) * 4)
    view = read_view(sample, InputContract(), at_xy=(140, 30), side_px=64, rng=np.random.default_rng(0))
    assert view.window_ltrb == (86, 0, 150, 64)
    assert view.at_xy == (54, 30)
    assert np.allclose(view.share * 255, raw[:64, 86:150], atol=1e-3)
    with pytest.raises(UsageError, match="larger than 64 px"):
        read_view(sample, InputContract(), at_xy=None, side_px=64, rng=np.random.default_rng(0))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), st.integers(20, 200))
def test_no_word_of_a_caption_is_lost_or_runs_out_of_its_column(text: str, width_px: int) -> None:
    lines = wrapped(text, width_px)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(text_width(line) <= width_px for line in lines)
    assert wrapped(text, 10**6) == [" ".join(text.split())]


def test_letters_that_opencv_has_not_are_replaced_and_never_dropped() -> None:
    assert wrapped("Höhe 滑坡", 500) == ["Hohe ??"]


def test_a_sheet_shows_every_panel_whole_and_the_words_beside_it() -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    sizes = [(30, 300), (50, 40), (20, 20), (60, 260)]
    pictures = [np.full((*size, 3), color, np.uint8) for size, color in zip(sizes, colors, strict=True)]
    panels = [
        Panel(picture, "a title that needs more than one line in its narrow column", ("b",)) for picture in pictures
    ]
    legend = np.full((10, 900, 3), (0, 200, 200), np.uint8)
    page = sheet([panels[:2], panels[2:]], legends=[legend, legend], notes=["word " * 60])
    for (height, width), color in zip(sizes, colors, strict=True):
        rows, cols = np.nonzero((page == color).all(axis=2))
        assert len(rows) == height * width
        assert (np.ptp(rows) + 1, np.ptp(cols) + 1) == (height, width)
    assert (page == (0, 200, 200)).all(axis=2).sum() == 2 * legend[..., 0].size
    border = np.concatenate([page[0], page[-1], page[:, 0], page[:, -1]])
    assert (border == PAPER).all()  # nothing touches the edge


def test_a_figure_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    write_png(tmp_path / "a.png", picture)
    assert (cv2.imread(str(tmp_path / "a.png"))[..., ::-1] == picture).all()
    (tmp_path / "b.png").mkdir()
    with pytest.raises(OutputError, match=r"b\.png can't be written"):
        write_png(tmp_path / "b.png", picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


# --- masks


def test_each_pixel_has_the_outcome_that_its_mask_and_probability_say() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([BACKGROUND, LANDSLIDE, IGNORED], np.uint8), (20, 30))
    probability = rng.choice(np.array([0.1, 0.36, 0.4, np.nan], np.float32), (20, 30))
    failed = rng.random((20, 30)) < 0.1
    outcomes = outcomes_of(labels, probability, 0.36, failed)
    picture = colouring.coloured_outcomes(outcomes, (20, 30))
    names = {(False, False): "tn", (True, True): "tp", (True, False): "fp", (False, True): "fn"}
    shown = {(255, 255, 255): "tp", (213, 94, 0): "fp", (86, 180, 233): "fn", (0, 0, 0): "tn"}
    counted = dict.fromkeys(names.values(), 0)
    for i, j in np.ndindex(20, 30):
        if labels[i, j] == IGNORED or np.isnan(probability[i, j]) or failed[i, j]:
            assert tuple(picture[i, j]) in {(150, 150, 150), (100, 100, 100)}
            continue
        name = names[bool(probability[i, j] >= np.float32(0.36)), bool(labels[i, j] == LANDSLIDE)]
        counted[name] += 1
        assert shown[tuple(int(c) for c in picture[i, j])] == name
    assert dataclasses.asdict(counts_of(outcomes)) == counted


@pytest.mark.parametrize(("own", "shown"), [((3, 5), (30, 41)), ((50, 60), (7, 9)), ((4, 4), (4, 4))])
def test_a_code_is_shown_where_it_lies(own: tuple[int, int], shown: tuple[int, int]) -> None:
    codes = np.random.default_rng(0).integers(0, 99, own)
    found = colouring.nearest(codes, shown)
    for i, j in np.ndindex(*shown):
        assert found[i, j] == codes[int((i + 0.5) * own[0] / shown[0]), int((j + 0.5) * own[1] / shown[1])]


def _student(path: Path, seed: int = 0, contract: InputContract | None = None, threshold: float = 0.5) -> Path:
    torch.manual_seed(seed)
    student = Student("nano").eval()
    write_checkpoint(path, Checkpoint(student, contract or InputContract(), threshold, TrainingRecord(), 64))
    return path


def test_a_window_of_a_scene_is_judged_as_evaluate_judges_the_whole(scene: Path, tmp_path: Path) -> None:
    data = load_data(scene, seed=0)
    (sample,) = [s for split in data.samples.values() for s in split]
    sample = dataclasses.replace(sample, window_ltrb=(10, 5, 192, 150))
    network = read_checkpoint(_student(tmp_path / "a.pt")).student
    engine = engine_from_student(network, InputContract(), CPU)
    raw = scar(np.random.default_rng(1), 160, 192)[0]
    middle = float(np.median(engine(raw[None, 32:96, 64:128].transpose(0, 3, 1, 2).astype(np.float32))))
    threshold = round(middle, 3)
    checkpoint = Checkpoint(network, InputContract(), threshold, TrainingRecord(), 64)
    model = model_from_checkpoint("a", tmp_path / "a.pt", checkpoint, data.input)
    window = (60, 40, 124, 104)
    judged = judge(model, sample, data.input, window, CPU)
    evaluation = evaluate(network, [sample], data.input, tile_px=64, overlap_px=16, device=CPU)
    (counts,) = evaluation.counts(threshold).values()
    assert judged.whole == counts
    assert min(counts.tp, counts.fp, counts.fn, counts.tn) > 0
    assert judged.outcomes.shape == (64, 64)
    assert judged.shown == counts_of(judged.outcomes)
    assert judged.shown.pixels == 64 * 64
    image = np.maximum(raw, 1)
    image[:, :40] = 0
    part = image[5:150, 10:192]
    probability, _ = predict_array(part, (part != 0).any(axis=2), engine, 64, 16)
    claimed = np.isin(judged.outcomes, (colouring.FOUND, colouring.FALSE_ALARM))
    assert (claimed == (probability[35:99, 50:114] >= np.float32(threshold))).all()


def test_names_are_the_shortest_ends_of_the_paths_that_differ() -> None:
    assert distinct_names([Path("a/kd.pt"), Path("a/kda.pt")]) == ["kd", "kda"]
    assert distinct_names([Path("r/kd/segment/best.pt"), Path("r/kda/segment/best.pt")]) == [
        "kd/segment/best",
        "kda/segment/best",
    ]
    with pytest.raises(UsageError, match="same file"):
        distinct_names([Path("a.pt"), Path("./a.pt")])


# --- the commands


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of 61 x 93 px with its mask, students, a backbone, a ViT and a ConvNeXt; made once."""
    timm = pytest.importorskip("timm", reason="teachers come from timm")
    root = tmp_path_factory.mktemp("things")
    image, mask = scar(np.random.default_rng(3), 61, 93)
    write_image(root / "image.png", image)
    write_image(root / "mask.png", mask * 255)
    write_image(root / "empty.png", mask * 0)
    write_image(root / "small.png", mask[:-1])
    write_image(root / "sixteen.tif", image.astype(np.uint16))
    (root / "foreign.pt").write_bytes(b"no model")
    torch.save({"weight": torch.zeros(2)}, root / "other.pt")
    _student(root / "a.pt", threshold=0.001)
    _student(root / "never.pt", threshold=0.999)
    _student(root / "sixteen.pt", contract=UINT16)
    torch.manual_seed(0)
    encoder = Student("nano").encoder
    write_backbone(root / "b.pt", Backbone("nano", encoder.state_dict(), InputContract(), "from nothing"))
    for name in ("test_vit", "test_convnext"):
        torch.save(timm.create_model(name, pretrained=False).state_dict(), root / f"{name}.pth")
    return root


@pytest.fixture
def world(things: Path, tmp_path: Path) -> Path:
    """A folder of its own with those things."""
    for path in things.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def _explain(world: Path, *words: str, models: tuple[str, ...] = ("a",), place: tuple[str, ...] | None = None) -> int:
    """Run the command; words that name a file of the world are its path."""
    place = ("--mask", "mask.png") if place is None else place
    named = [word for name in models for word in ("--model", f"{name}={world / f'{name}.pt'}")]
    given = ["--image", "image.png", *place, *words]
    paths = [str(world / word) if (world / word).is_file() or "missing" in word else word for word in given]
    output = [] if "--out" in words else ["--out", str(world / "figure.png")]
    return main(["explain", *paths, *named, *output, "--json", str(world / "figure.json"), "--device", "cpu"])


def _figures(world: Path) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = json.loads((world / "figure.json").read_text())["models"]
    return models


def _bilinear(grid: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Between the centres of cells, those at the border repeated beyond it."""
    result = np.zeros(size_hw)
    for i, j in np.ndindex(*size_hw):
        y = min(max((i + 0.5) * grid.shape[0] / size_hw[0] - 0.5, 0), grid.shape[0] - 1)
        x = min(max((j + 0.5) * grid.shape[1] / size_hw[1] - 0.5, 0), grid.shape[1] - 1)
        r, c = min(int(y), grid.shape[0] - 2), min(int(x), grid.shape[1] - 2)
        rows = np.array([1 - (y - r), y - r])
        result[i, j] = rows @ grid[r : r + 2, c : c + 2] @ np.array([1 - (x - c), x - c])
    return result


def test_the_figures_of_a_student_are_those_of_its_stage_4_step_by_step(tmp_path: Path) -> None:
    raw, mask = scar(np.random.default_rng(5), 64, 96)  # sides that the student takes as they are
    write_image(tmp_path / "image.png", raw)
    write_image(tmp_path / "mask.png", mask)
    student = read_checkpoint(_student(tmp_path / "a.pt")).student
    assert _explain(tmp_path) == 0
    contract = InputContract()
    normalised = (raw.astype(np.float32) - np.array(contract.mean)) / np.array(contract.std)
    with torch.no_grad():
        maps = student.encoder(torch.from_numpy(normalised.transpose(2, 0, 1)[None]).float())
    features = maps[3][0].double().numpy()
    assert features.shape == (256, 2, 3)
    weights = mask.reshape(2, 32, 3, 32).mean(axis=(1, 3))
    (found,) = _figures(tmp_path)
    for kind, one in (("raw", features), ("centred", features - features.mean(axis=(1, 2), keepdims=True))):
        reference = (one * weights).sum(axis=(1, 2)) / weights.sum()
        cosine = (one * reference[:, None, None]).sum(0) / (np.linalg.norm(one, axis=0) * np.linalg.norm(reference))
        large = _bilinear(cosine, (64, 96))
        inside, outside = large[mask == 1].mean(), large[mask == 0].mean()
        assert found["separation"][kind]["inside"] == pytest.approx(inside, abs=1e-4)
        assert found["separation"][kind]["outside"] == pytest.approx(outside, abs=1e-4)
        assert found["separation"][kind]["difference"] == pytest.approx(inside - outside, abs=1e-4)
        assert np.allclose(upsampled(torch.from_numpy(cosine), (64, 96)), large, atol=1e-6)


@pytest.mark.parametrize(
    ("teacher", "size", "grid"), [("test_vit", [64, 96], [4, 6]), ("test_convnext", [64, 96], [2, 3])]
)
def test_teacher_backbone_and_checkpoint_stand_side_by_side(
    world: Path, teacher: str, size: list[int], grid: list[int]
) -> None:
    words = ("--teacher", teacher, "--teacher-weights", f"{teacher}.pth")
    assert _explain(world, *words, models=("b", "a")) == 0
    shown, backbone, checkpoint = _figures(world)
    assert (shown["name"], shown["kind"]) == (f"teacher: {teacher}", "teacher")
    assert (shown["input_hw_px"], shown["grid_hw"]) == (size, grid)
    assert (backbone["kind"], checkpoint["kind"]) == ("backbone", "checkpoint")
    assert backbone["separation"] == checkpoint["separation"]  # they were made with the same weights
    assert backbone["grid_hw"] == [2, 3]
    for one in (shown, checkpoint):
        assert -1 <= one["lowest"] <= one["separation"]["raw"]["inside"] <= one["highest"] <= 1
        assert 0 <= one["separation"]["raw"]["auc"] <= 1
    figure = cv2.imread(str(world / "figure.png"))
    assert figure.shape[1] > 4 * 320
    first = (world / "figure.png").read_bytes()
    assert _explain(world, *words, "--centred", models=("b", "a")) == 0
    assert (world / "figure.png").read_bytes() != first
    assert list(_figures(world)[0]["separation"]) == ["centred", "raw"]
    assert not list(world.glob(".*"))


def test_each_model_normalises_the_image_as_it_was_trained(world: Path) -> None:
    _student(world / "dark.pt", contract=InputContract(mean=(90.0, 90.0, 90.0)))
    _student(world / "flat.pt", contract=InputContract(std=(90.0, 90.0, 90.0)))
    _student(world / "same.pt")
    assert _explain(world, models=("a", "same", "dark", "flat")) == 0
    a, same, *others = (one["separation"]["raw"] for one in _figures(world))
    assert a == same
    assert all(a["inside"] != pytest.approx(other["inside"], abs=1e-6) for other in others)


def test_sixteen_bit_imagery_is_explained_with_models_of_its_kind(world: Path) -> None:
    assert _explain(world, "--image", "sixteen.tif", models=("sixteen",)) == 0


def test_a_pixel_is_most_like_itself(world: Path) -> None:
    assert _explain(world, place=("--at", "46", "30")) == 0
    (found,) = _figures(world)
    assert found["separation"] == {}
    assert 0.5 < found["highest"] <= 1


@pytest.mark.parametrize("place", [("--mask", "mask.png"), ("--at", "46", "30"), ()])
@pytest.mark.parametrize("stage", [1, 4])
def test_grad_cam_leaves_out_who_maps_nothing(world: Path, place: tuple[str, ...], stage: int) -> None:
    assert _explain(world, "--by", "gradcam", "--stage", str(stage), models=("b", "a"), place=place) == 0
    (found,) = _figures(world)
    assert found["name"] == "a"
    assert found["grid_hw"] == [64 // 2 ** (stage + 1), 96 // 2 ** (stage + 1)]
    assert found["lowest"] >= 0
    assert found["highest"] <= 1
    assert list(found["separation"]) == (["gradcam"] if "--mask" in place else [])


@pytest.mark.parametrize(
    ("words", "models", "place", "status", "message"),
    [
        (("--image", "missing.png"), ("a",), None, 1, "there is no file"),
        ((), ("a",), ("--mask", "missing.png"), 1, "there is no file"),
        ((), ("a",), ("--mask", "small.png"), 1, "they must be equal"),
        ((), ("a",), ("--mask", "empty.png"), 1, "holds no landslide"),
        ((), ("a",), ("--mask", "image.png"), 1, "is coloured"),
        ((), ("a",), ("--at", "93", "0"), 2, "columns are 0 to 92 and rows 0 to 60"),
        ((), ("a",), ("--at", "-1", "0"), 2, "lies outside"),
        ((), ("a",), (), 2, "similarity to what?"),
        ((), ("foreign",), None, 1, "not a checkpoint"),
        ((), ("other",), None, 1, "neither a distilled backbone nor a checkpoint"),
        ((), ("missing",), None, 1, "there is no checkpoint"),
        ((), ("a", "a"), None, 2, "two models are called 'a'"),
        ((), ("a", "sixteen"), None, 2, "compare models of the same imagery"),
        (("--model", "a.pt"), ("b",), None, 2, "must be NAME=FILE"),
        (("--image", "sixteen.tif"), ("a",), None, 1, "is uint16 and the models were trained on uint8"),
        (("--bands", "1", "2", "4"), ("a",), None, 1, "has 3 bands"),
        (("--by", "gradcam"), ("b",), None, 2, "Grad-CAM needs a checkpoint"),
        (("--by", "gradcam"), ("never",), (), 2, "never finds no landslide"),
        (("--window-px", "64"), ("a",), (), 2, "similarity to what?"),
        (("--by", "gradcam", "--window-px", "64"), ("a",), (), 2, "larger than 64 px"),
        (("--stage", "2"), ("a",), None, 2, "--stage is for --by gradcam"),
        (("--range", "1", "0"), ("a",), None, 2, "LOW below HIGH"),
        (("--teacher", "test_vit", "--teacher-weights", "missing.pth"), ("a",), None, 1, "there is no weights file"),
        (("--teacher", "test_vit", "--teacher-weights", "test_convnext.pth"), ("a",), None, 1, "does not hold"),
        (("--out", "figure.jpg"), ("a",), None, 2, "must end in .png"),
        (("--out", "nowhere/figure.png"), ("a",), None, 2, "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    world: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    models: tuple[str, ...],
    place: tuple[str, ...] | None,
    status: int,
    message: str,
) -> None:
    assert _explain(world, *words, models=models, place=place) == status
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("kda-train: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert error.endswith(lines[0] + "\n")
    assert not (world / "figure.png").exists()
    assert not (world / "figure.json").exists()


def _masks(folders: Path, *words: str) -> int:
    out = folders.parent
    fixed = ["--out", str(out / "masks.png"), "--json", str(out / "masks.json"), "--device", "cpu"]
    return main(["masks", "--data", str(folders), *words, *fixed])


def test_masks_are_compared_on_images_that_chance_chose(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = [str(_student(tmp_path / name, seed)) for seed, name in enumerate(("kd.pt", "kda.pt"))]
    words = ["--ckpt", checkpoints[0], "--ckpt", checkpoints[1], "--split", "train", "--count", "2"]
    assert _masks(folders, *words) == 0
    content = json.loads((tmp_path / "masks.json").read_text())
    assert list(content["checkpoints"]) == ["kd", "kda"]
    assert content["drawn_at_random"] is True
    assert len(content["images"]) == 2
    data = load_data(folders, seed=0)
    for image in content["images"]:
        (sample,) = [s for s in data.samples["train"] if s.image.stem == image["image"]]
        for name, path in zip(("kd", "kda"), checkpoints, strict=True):
            network = read_checkpoint(path).student
            evaluation = evaluate(network, [sample], data.input, tile_px=64, overlap_px=16, device=CPU)
            (counts,) = evaluation.counts(0.5).values()
            assert image["models"][name]["whole"] == image["models"][name]["shown"] == counts.as_dict()
    first = (tmp_path / "masks.png").read_bytes()
    assert _masks(folders, *words) == 0
    assert (tmp_path / "masks.png").read_bytes() == first
    assert _masks(folders, *words, "--draw-seed", "1") == 0
    assert json.loads((tmp_path / "masks.json").read_text())["images"] != content["images"]
    with pytest.raises(SystemExit):
        main(["masks", "--help"])
    assert "at random" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--images", "nobody"], 2, "there is no image 'nobody'"),
        (["--name", "a", "--name", "b"], 2, "1 checkpoints need as many --name, not 2"),
        (["--count", "0"], 2, "--count must be 1 or more"),
        (["--ckpt", "missing.pt"], 1, "there is no checkpoint"),
        (["--panel-px", "1"], 2, "between 32 and 4096"),
    ],
)
def test_masks_refuse_what_is_not_there(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, message: str
) -> None:
    assert _masks(folders, "--ckpt", str(_student(tmp_path / "a.pt")), *words) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "masks.png").exists()


def test_masks_of_models_of_other_imagery_are_refused(folders: Path, tmp_path: Path) -> None:
    assert _masks(folders, "--ckpt", str(_student(tmp_path / "a.pt", contract=UINT16))) == 2


def test_images_that_are_named_are_shown_in_that_order(folders: Path, tmp_path: Path) -> None:
    names = [sample.image.stem for sample in load_data(folders, seed=0).samples["train"][:3]][::-1]
    ckpt = str(_student(tmp_path / "a.pt"))
    assert _masks(folders, "--ckpt", ckpt, "--split", "train", "--window-px", "32", "--images", *names) == 0
    images = json.loads((tmp_path / "masks.json").read_text())["images"]
    assert [image["image"] for image in images] == names
    assert all(image["window_ltrb"][2] - image["window_ltrb"][0] == 32 for image in images)
