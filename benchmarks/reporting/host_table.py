"""Tables of what the host takes around an engine without a model: the whole, and stage by stage."""

from __future__ import annotations

from .result import Result
from .text_tables import number_text, table_of


def host_table(result: Result) -> str:
    """Return the whole beside the plain copy, then a row a stage; the engine's name says that there is no model."""
    whole = [(f.name, f"{number_text(f.value)} {f.unit}".strip()) for f in result.figures if "stage" not in f.of]
    by: dict[str, dict[str, float]] = {}
    for figure in result.figures:
        if "stage" in figure.of:
            by.setdefault(str(figure.of["stage"]), {})[figure.name] = figure.value
    names = ("stage.busy", "stage.processor", "stage.per_mpx")
    stages = [(stage, *(number_text(values[name], 3) for name in names)) for stage, values in by.items()]
    header = ("stage", "busy, s", "processor, s", "processor, ms a Mpx")
    return "\n\n".join(
        (str(result.settings["engine_used"]), table_of(("figure", "median"), whole), table_of(header, stages))
    )
