"""Let artifacts and peers do the same work in turns, so that a machine that drifts slows all of them alike.

    kda-bench compare a.onnx b.onnx                                   the time of a tile
    kda-bench compare a.onnx b.onnx --scene scene.tif                 a scene from file to finished map
    kda-bench compare --scene scene.tif --against engine-alone,ort-loop
    kda-bench compare student.onnx --scene scene.tif --against monai --ckpt student.pt --rows 2048:3328

Without an artifact the bundled student runs. `--against` adds peers with the weights of the first artifact:
engine-alone (the calls of our engine and nothing else), ort-loop and openvino (the same ONNX, driven by a
straightforward rasterio loop), torch-eager and torch-compile (the checkpoint in such a loop), monai (the published way:
plain order of steps, eager PyTorch, MONAI's sliding_window_inference, gaussian blending). Each has a process of its
own, the same cores, tiles and overlap, its model open and its best batch chosen before the clock starts. Maps are
compared too: where they are not of the same network on the same tiles, the command fails. Peers compute
in float32; where we round (openvino-bf16, FP16 and INT8 artifacts) the ratio holds what that gains as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kda_edge.errors import EngineError, UsageError
from kda_edge.runtime.engines.artifact import Artifact
from kda_edge.runtime.engines.engine_names import ENGINES
from kda_edge.runtime.geo.gdal import gdal_session
from kda_edge.runtime.hardware.usable_cores import usable_cores
from kda_edge.runtime.scenes.scene import open_scene
from kda_edge.tiling.tile_grid import default_overlap_px

from ..contest.contest_result import comparison_result, comparison_table
from ..contest.contestant_process import ContestProcess, MeasuredLap, opened_contest
from ..contest.map_agreement import Agreement, agreement_of
from ..contest.promised_ratios import bars_of
from ..contestants.by_name import ENGINE_ALONE, OURS, PEERS, RUN_PYTORCH
from ..contestants.task import MappingTask
from ..measuring.interleaved import Rounds, interleaved
from ..measuring.measured_scenes import some_rows, warm_up_scene
from ..reporting.text_tables import add_json_option, publish, require_json_path

ROUNDS: Final = 6  # the fewest that bound a median at 95 %
ROUNDING_ENGINES: Final = ("openvino-bf16",)  # compute a float32 graph in another precision


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `kda-bench compare`."""
    add = parser.add_argument
    add("artifacts", nargs="*", type=Path, metavar="M.onnx", help="models of kda-export (default: the bundled student)")
    add("--scene", type=Path, metavar="SCENE.tif", help="map this scene; without it, the time of a tile is compared")
    add("--against", type=_names, default=(), metavar="PEERS", help=f"comma-separated: {', '.join(PEERS)}")
    add("--ckpt", type=Path, metavar="PT", help="checkpoint of the first artifact, for peers that run PyTorch")
    add("--rows", type=_rows, metavar="FIRST:END", help="these rows of the scene alone, for every contestant")
    add("--overlap", type=int, metavar="PX", help="least overlap of tiles (default: a quarter of a tile)")
    add("--rounds", type=int, default=ROUNDS, help=f"below {ROUNDS} there are no intervals (default: {ROUNDS})")
    add("--batch", type=int, metavar="N", help="tiles a call of the peers (default: the fastest for each)")
    add(
        "--threads",
        type=int,
        default=usable_cores(),
        metavar="N",
        help="of the peers (default: all cores that may be used)",
    )
    add("--engine", choices=ENGINES, default="auto", help="of our own contestants")
    add("--allow-unverified", action="store_true", help="take models whose certificate is missing or does not hold")
    add("--require-bars", action="store_true", help="exit with 1 where a bar of this project is missed")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Compare; return 0, or 1 where maps differ, or a required bar is missed."""
    require_json_path(options.json)
    if options.rounds < 1:
        raise UsageError("--rounds must be 1 or more")
    if options.batch is not None and options.batch < 1:
        raise UsageError("--batch must be 1 or more")
    artifacts = list(options.artifacts) or [None]
    if options.scene is None:
        from ..contest.tiles_in_turns import compare_tiles

        if options.against:
            raise UsageError("--against maps a scene; give one with --scene")
        return compare_tiles(artifacts, options)
    if len(artifacts) == 1 and not options.against:
        raise UsageError("one artifact has nobody to be compared with; give another, or peers with --against")
    on_torch = [peer for peer in options.against if peer in RUN_PYTORCH]
    if on_torch and options.ckpt is None:
        raise UsageError(f"{on_torch[0]} runs PyTorch and needs the artifact's checkpoint; give it with --ckpt")
    with tempfile.TemporaryDirectory(prefix="kda-bench-") as folder:
        return compare_scene(artifacts, options, Path(folder))


def compare_scene(artifacts: Sequence[Path | None], options: argparse.Namespace, folder: Path) -> int:
    """Let artifacts and peers map a scene in turns; `folder` holds what they write."""
    tasks = contest_tasks(artifacts, options)
    first = tasks[next(iter(tasks))][1].model()
    scene_path = options.scene
    if options.rows is not None:
        scene_path = some_rows(options.scene, options.rows, folder / "rows.tif")
    say = _to_stderr
    with opened_contest(tasks, folder, say) as contest:
        warm_up = warm_up_scene(first.manifest, tasks[next(iter(tasks))][1].bands, folder / "warm_up.tif")
        for label, process in contest.items():
            say(f"warming up {label}")
            process.run(warm_up, folder / "warm_up")
        laps, rounds = raced(contest, scene_path, folder, options.rounds)
        settings = {label: {**process.settings, "open_s": process.open_s} for label, process in contest.items()}
    require_one_engine(settings)
    agreements = agreements_with_ours(laps, first, tasks)
    models = list({id(task.artifact): task.model() for _, task in tasks.values()}.values())
    result = comparison_result(
        options=options,
        scene_path=scene_path,
        first=first,
        models=models,
        contestants=settings,
        laps=laps,
        rounds=rounds,
        agreements=agreements,
    )
    publish(result, comparison_table(result, laps, rounds), json_to=options.json)
    exact = first.manifest.precision == "fp32" and settings[next(iter(settings))]["engine"] not in ROUNDING_ENGINES
    strangers = [label for label, found in agreements.items() if not found.is_same_network(exact=exact)]
    if strangers:
        raise EngineError(
            f"{', '.join(strangers)} did not map with the same network on the same tiles, so the times do not compare; "
            "look at the agreement above"
        )
    missed = [bar for bar in bars_of(first.manifest.variant) if _is_missed(bar.of, bar.to, rounds, bar.holds)]
    return 1 if options.require_bars and missed else 0


def contest_tasks(artifacts: Sequence[Path | None], options: argparse.Namespace) -> dict[str, tuple[str, MappingTask]]:
    """Return, by label, who runs and what it is to do.

    Raises:
        UsageError: an option does not fit.
        KdaEdgeError: an artifact or the scene can't be read.
    """
    tasks = {}
    for number, artifact in enumerate(artifacts):
        bare = MappingTask(
            artifact,
            options.ckpt,
            (1, 2, 3),
            0,
            options.threads,
            options.batch,
            options.engine,
            options.allow_unverified,
        )
        manifest = bare.model().manifest
        overlap_px = default_overlap_px(manifest.tile_px) if options.overlap is None else options.overlap
        with gdal_session(), open_scene(options.scene, manifest.input) as scene:
            bands = scene.bands
        task = MappingTask(**{**vars(bare), "bands": bands, "overlap_px": overlap_px})
        label = OURS if len(artifacts) == 1 else f"{OURS} {_name(artifact)}"
        tasks[label if label not in tasks else f"{label} ({number + 1})"] = (OURS, task)
        if number == 0:
            first = task
    return tasks | {peer: (peer, first) for peer in options.against}


def raced(
    contest: Mapping[str, ContestProcess], scene_path: Path, folder: Path, rounds: int
) -> tuple[dict[str, list[MeasuredLap]], Rounds]:
    """Let each contestant map the scene once a round; return every lap, and the times by round."""
    laps: dict[str, list[MeasuredLap]] = {label: [] for label in contest}

    def one_lap(label: str, number: int) -> None:
        laps[label].append(contest[label].run(scene_path, folder / f"out{number}"))
        _to_stderr(f"{label}: {laps[label][-1].lap.seconds:.2f} s")

    def counted_s() -> float:
        """The time that counts, as the contestants counted it: the engine alone reads with the clock stopped."""
        return sum(lap.lap.seconds for mine in laps.values() for lap in mine)

    contenders = {label: (lambda label=label, n=n: one_lap(label, n)) for n, label in enumerate(contest)}
    return laps, interleaved(
        contenders,
        rounds=rounds,
        warm_up=0,
        clock=counted_s,
        progress=lambda done, total: _to_stderr(f"round {done} of {total}"),
    )


def require_one_engine(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `EngineError` where `auto` chose one engine for kda-infer and another for the engine alone."""
    engines = {str(settings[label]["engine"]) for label in (OURS, ENGINE_ALONE) if label in settings}
    if len(engines) > 1:
        raise EngineError(f"auto chose {' and '.join(sorted(engines))} in turn; name one of them with --engine")


def agreements_with_ours(
    laps: Mapping[str, Sequence[MeasuredLap]], first: Artifact, tasks: Mapping[str, tuple[str, MappingTask]]
) -> dict[str, Agreement]:
    """Return how far the map of each peer lies from that of the first artifact."""
    ours = next(iter(laps))
    our_map = laps[ours][-1].lap.map_path
    assert our_map is not None
    found = {}
    for label, mine in laps.items():
        name, task = tasks[label]
        map_path = mine[-1].lap.map_path
        if name != OURS and map_path is not None:
            found[label] = agreement_of(our_map, map_path, tile_px=first.manifest.tile_px, overlap_px=task.overlap_px)
    return found


def _is_missed(of: str, to: str, rounds: Rounds, holds: Any) -> bool:
    return of in rounds.names and to in rounds.names and not holds(rounds.ratio(of, to))


def _name(artifact: Path | None) -> str:
    return "bundled" if artifact is None else artifact.name


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no peer {unknown[0]!r}; give some of {', '.join(PEERS)}")
    return names


def _rows(text: str) -> tuple[int, int]:
    try:
        first, end = (int(part) for part in text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range of rows such as 2048:3328") from None
    return first, end


def _to_stderr(line: str) -> None:
    print(f"kda-bench: {line}", file=sys.stderr, flush=True)
