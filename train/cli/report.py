"""The command `kda-train report`: a run told in one HTML file; and the same report at the end of a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kda_edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from ..data.data_file import DataRequest, DataSet
    from ..data_report.data_report import DataReport


def add_commands(commands: Any) -> None:
    """Add the command to the parser's."""
    report = commands.add_parser(
        "report",
        help="tell a run in one HTML file: curves, metrics, best and worst images",
        description="Judge the best student of a run on its test and val splits and write RUN/report.html, one file "
        "that needs no network, with its pictures as PNG in RUN/report. Runs of segment and fit end with the same.",
    )
    add = report.add_argument
    add("folder", type=Path, metavar="RUN", help="folder of kda-train segment or fit")
    add("--data", type=Path, metavar="DATA", help="where the imagery lies now; default: as the run's config.toml says")
    add("--data-root", type=Path, metavar="DIR", help="where a TOML file's sources lie now")
    add("--device", default="auto")
    report.set_defaults(run=_report)


def add_skip_report(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves the report at the end of a run out."""
    parser.add_argument("--skip-report", action="store_true", help="end without judging val and test for report.html")


def require_reportable(*, skip: bool) -> None:
    """Raise `MissingDependency` where the report that a run ends with could not be made; before the run."""
    from ..run_report.charts import require_matplotlib

    if not skip:
        require_matplotlib()


def end_with_report(run: Path, data: DataSet, report: DataReport | None, device_name: str, *, skip: bool) -> None:
    """Write the report of a run that has ended; of several processes the first does.

    Args:
        run: folder of phase 2.
        data: of the run.
        report: of its imagery; None: it was not checked.
        device_name: as `--device`.
        skip: whether it is left out.
    """
    import logging
    import os

    from kda_edge.progress.progress_bar import ProgressBar

    from ..loops.devices import resolve_device
    from ..run_report.run_report import write_run_report

    if skip or os.environ.get("RANK", "0") != "0" or not (data.samples["val"] or data.samples["test"]):
        return
    with ProgressBar() as progress:
        path = write_run_report(run, data, device=resolve_device(device_name), data_report=report, progress=progress)
    logging.info("report: %s", path)


def _report(options: argparse.Namespace, command: str) -> None:
    from kda_edge.progress.progress_bar import ProgressBar

    from ..data_report.data_report import data_report
    from ..loops.devices import resolve_device
    from ..loops.known_data import first_difference, known_data
    from ..loops.output_places import require_folder
    from ..run_report.run_report import run_folder, write_run_report

    del command
    run = run_folder(options.folder)
    require_reportable(skip=False)
    require_folder(run, "RUN")
    device = resolve_device(options.device)
    with ProgressBar() as progress:
        report, data = data_report(_request(options, run), progress=progress)
        if report.errors:
            raise DataError(
                f"{report.errors[0]}; the report needs the imagery that the run had, so say where with --data"
            )
        known, _ = known_data(data, run, progress)
        recorded = _recorded(run)
        moved = first_difference(recorded, known) if recorded else ""
        notes = [f"the imagery is no longer what the run learned from and was judged on: {moved}"] if moved else []
        print(write_run_report(run, data, device=device, data_report=report, notes=notes, progress=progress))


def _request(options: argparse.Namespace, run: Path) -> DataRequest:
    from ..configuration.config_file import CONFIG, DataTable, read_tables, settings_from_table
    from ..data.data_file import DataRequest

    config = run / CONFIG
    tables = read_tables(config) if config.is_file() else {}
    if not tables.get("data"):
        raise UsageError(f"{config} does not name the run's imagery; use kda-train evaluate --report instead")
    table = settings_from_table(DataTable, tables["data"], where="data", path=config)
    said = table.request(int(tables["segment"]["seed"]))
    root = options.data_root or (None if options.data else said.root)
    return DataRequest(options.data or said.path, said.seed, root, said.input)


def _recorded(run: Path) -> Any:
    """Return what the run knows of its data; nothing where it is from before there were digests."""
    from kda_edge.networks.checkpoint import read_content

    last = run / "last.pt"
    state = read_content(last).get("run") if last.is_file() else None
    return state["settings"].get("data", {}) if isinstance(state, dict) else {}
