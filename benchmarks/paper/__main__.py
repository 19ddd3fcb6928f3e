"""The tables of the paper, one command each: every row is trained, judged, and put beside the paper's figures.

    python -m kda_edge.benchmarks.paper table3 --data CAS --out runs/paper
    python -m kda_edge.benchmarks.paper table4 --data CAS --out runs/paper --seeds 0 1 2 --dry-run

CAS is a folder in the layout of the CAS Landslide data set, or a TOML file (docs/data.md). The settings are the paper's
unless an option says otherwise. DIR/tableN.json and DIR/tableN.md are written after every row; the same command started
again goes on where it stopped. Give all tables one --out: what they share is run once. See docs/paper.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kda_edge import __version__
from kda_edge.commands import complain, ended
from kda_edge.errors import MissingDependency, TrainingError, UsageError
from kda_edge.machine import machine_facts
from kda_edge.networks.imagenet_weights import IMAGENET
from kda_edge.standard_streams import with_steady_streams

from .experiments import Cell, kda_train, require_same_settings, run_cell, steps_left, write_rows, write_text
from .row_commands import Settings, cell_of, missing_weights
from .row_results import counts_of, notes_of, row_of
from .tables import TABLES, PaperRow, PaperTable, markdown


@with_steady_streams
def main(argv: Sequence[str] | None = None, run: Callable[[Sequence[str]], int] = kda_train) -> int:
    """Run what of a table is not done, write it after each row, and end with one line of JSON.

    Args:
        argv: of the command line; None: this process's.
        run: takes the arguments of `kda-train` and returns its exit code.
    """
    options = _parser().parse_args(argv)

    def all_rows() -> int:
        settings = _settings(options)
        table: PaperTable = TABLES[options.table]
        plan = _plan(table, settings, options)
        _require_runnable(plan, settings)
        if options.dry_run:
            _print_commands([cell for _, cell in plan])
            return 0
        return _run(table, plan, settings, options, run)

    return ended("paper", all_rows, interrupted="stopped; start the same command again to go on")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("table", choices=list(TABLES))
    add("--data", type=Path, required=True, metavar="CAS", help="folder, or TOML file, as for kda-train")
    add("--data-root", type=Path, metavar="DIR", help="where a TOML file's sources lie; default: beside it")
    add("--out", type=Path, required=True, metavar="DIR", help="of all tables; what they share is run once")
    add("--seeds", type=int, nargs="+", default=[0], metavar="N", help="one run each: mean and spread; default: 0")
    part = parser.add_argument_group("a part of the table")
    part.add_argument("--only", nargs="+", metavar="ROW", help="rows by name, such as kda-dinov2-l; see --dry-run")
    part.add_argument("--cells", type=int, metavar="N", help="the first N runs alone; a run is a row with a seed")
    part.add_argument("--dry-run", action="store_true", help="print the commands that are left, and run nothing")
    part.add_argument("--keep-going", action="store_true", help="where a run fails, go on with the next")
    scale = parser.add_argument_group("another scale than the paper's; the table says so")
    add = scale.add_argument
    add("--variant", default="base", help="size of the student; default: %(default)s")
    add("--epochs-distill", type=int, default=200, metavar="N", help="of phase 1; default: %(default)s")
    add("--epochs-segment", type=int, default=200, metavar="N", help="of phase 2; default: %(default)s")
    add("--batch", type=int, nargs="+", default=[8, 16], metavar="N", help="of phase 1 and 2; default: 8 16")
    add("--crop-px", type=int, nargs="+", default=[224, 512], metavar="N", help="of phase 1 and 2; default: 224 512")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    add("--threshold", default="0.5", metavar="P", help="of landslide; val: the best on val; default: %(default)s")
    add("--distill-options", default="", metavar="'...'", help="more for kda-train distill: --distill-options='...'")
    add("--segment-options", default="", metavar="'...'", help="more for kda-train segment")
    models = parser.add_argument_group("models")
    add = models.add_argument
    add(
        "--weights-dir",
        type=Path,
        metavar="DIR",
        help="state dicts <timm name>.safetensors, .pth or .pt; none is fetched",
    )
    add("--teacher-of", nargs="+", default=[], metavar="NAME=MODEL", help="a timm model in a teacher's place")
    add(
        "--discriminator",
        default="",
        metavar="MODEL",
        help="the frozen model inside it; default: what stands for DINOv2-B",
    )
    add("--peer-weights", default=IMAGENET, metavar="WHAT", help="of the peers' encoders: imagenet, none or a folder")
    machine = parser.add_argument_group("the machine; may change from start to start")
    add = machine.add_argument
    add("--device", default="auto")
    add("--workers", type=int, default=2, help="processes that prepare crops")
    add("--threads", type=int, default=0, help="CPU threads of the network; 0: PyTorch's choice")
    add("--recompute", action="store_true", help="gradient checkpointing of the student: less memory, more time")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    if options.threshold != "val":
        try:
            threshold = float(options.threshold)
        except ValueError:
            threshold = -1.0
        if not 0 < threshold < 1:
            raise UsageError(f"--threshold {options.threshold}: give a number between 0 and 1, or val")
    pairs = [pair.partition("=") for pair in options.teacher_of]
    return Settings(
        data=options.data,
        out=options.out,
        data_root=options.data_root,
        variant=options.variant,
        epochs=(options.epochs_distill, options.epochs_segment),
        batch=_both("--batch", options.batch),
        crop_px=_both("--crop-px", options.crop_px),
        precision=options.precision,
        threshold=None if options.threshold == "val" else threshold,
        weights_dir=options.weights_dir,
        teacher_of={name: model for name, _, model in pairs},
        discriminator=options.discriminator,
        peer_weights=options.peer_weights,
        distill_options=tuple(shlex.split(options.distill_options)),
        segment_options=tuple(shlex.split(options.segment_options)),
        machine=("--workers", str(options.workers), "--threads", str(options.threads)),
        device=options.device,
        recompute=options.recompute,
    )


def _both(option: str, values: Sequence[int]) -> tuple[int, int]:
    if len(values) > 2:
        raise UsageError(f"{option} takes a value for phase 1 and one for phase 2, or one for both")
    return values[0], values[-1]


def _plan(table: PaperTable, settings: Settings, options: argparse.Namespace) -> list[tuple[PaperRow, Cell]]:
    """The runs that were asked for: all rows with the first seed, then with the next."""
    names = [row.name for row in table.rows]
    unknown = [name for name in options.only or () if name not in names]
    if unknown:
        raise UsageError(f"{table.name} has no row {unknown[0]!r}; choose from {', '.join(names)}")
    if len(set(options.seeds)) < len(options.seeds):
        raise UsageError("--seeds names a seed twice; a second run with it would be the first")
    rows = [row for row in table.rows if not options.only or row.name in options.only]
    plan = [(row, cell_of(row, table.split, seed, settings)) for seed in options.seeds for row in rows]
    return plan[: options.cells]


def _require_runnable(plan: Sequence[tuple[PaperRow, Cell]], settings: Settings) -> None:
    for row, cell in plan:
        missing = missing_weights(row, settings)
        if missing and steps_left(cell):
            raise UsageError(f"{missing}, which the row {row.name} needs; put it there, or choose rows with --only")
        require_same_settings(cell)


def _print_commands(cells: Sequence[Cell]) -> None:
    commands = {step.folder: step.command for cell in cells for step in steps_left(cell)}
    for command in commands.values():
        print(shlex.join(["kda-train", *command]))


def _run(
    table: PaperTable,
    plan: Sequence[tuple[PaperRow, Cell]],
    settings: Settings,
    options: argparse.Namespace,
    run: Callable[[Sequence[str]], int],
) -> int:
    facts = _machine_facts(settings.device)
    counts = counts_of(table, settings)  # before the long part: a package that is missing is told at once

    def write() -> list[dict[str, Any]]:
        rows = [row_of(row, table, settings, options.seeds, counts) for row in table.rows]
        plain = {"table": table.name, "title": table.title, "split": table.split, "settings": settings.plain()}
        write_rows(settings.out / f"{table.name}.json", rows, **plain, machine=facts)
        write_text(settings.out / f"{table.name}.md", markdown(table, rows, notes_of(table, settings, rows)))
        return rows

    failed = 0
    for _, cell in plan:
        try:
            run_cell(cell, run, facts)
        except TrainingError as error:
            if not options.keep_going:
                write()
                raise
            failed = complain("paper", error)
        write()
    rows = write()
    means = [{"row": row["row"], "seeds_run": row["seeds_run"], **row["mean"]} for row in rows]
    print(json.dumps({"table": table.name, "json": str(settings.out / f"{table.name}.json"), "rows": means}))
    return failed


def _machine_facts(device: str) -> dict[str, str]:
    try:
        import torch

        facts = machine_facts(("torch", "timm"))
    except ModuleNotFoundError as error:  # also what importlib.metadata raises
        raise MissingDependency(error.name or "torch", extra="train") from error
    uses_gpu = torch.cuda.is_available() and not device.startswith("cpu")
    gpu = torch.cuda.get_device_name(device if ":" in device else None) if uses_gpu else "none"
    return {**facts, "gpu": gpu, "kda-edge": __version__}


if __name__ == "__main__":
    raise SystemExit(main())
