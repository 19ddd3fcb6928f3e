"""The form of a model's graph that an engine computes rightly: as it is in the file, or its sampling as gathers.

TensorRT has computed GridSample wrongly before. So an engine that answers otherwise than the CPU is not given up
before the same graph without that operator was tried.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from kda_edge.artifact_bytes import graph_digest
from kda_edge.errors import KdaEdgeError, NoAnswer, WrongAnswers, one_line

from ..engines.artifact import Artifact
from .device_parity import DeviceParity

OTHER_ENGINE: Final = "use --engine cpu, and please report this line"
EXPORTS_GATHERS: Final = "export the model again with: kda-export --ckpt student.pt --target tensorrt"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Form:
    """A model's graph in one way to write its sampling.

    Attributes:
        artifact: the model's file; its digest is that of this form.
        sampling: `gridsample` or `gather`.
        graph: its bytes where they are not the file's.
    """

    artifact: Artifact
    sampling: str
    graph: bytes | None = None


@dataclass(frozen=True)
class Agreed:
    """The form of a graph that an engine computes as the CPU does.

    Attributes:
        form: that agrees.
        parity: what was measured of it.
        notes: what a person should know, a sentence each.
    """

    form: Form
    parity: DeviceParity
    notes: tuple[str, ...] = ()


def agreeing_form(artifact: Artifact, parity_of: Callable[[Form], DeviceParity], *, said: str) -> Agreed:
    """Return the form in which an engine answers as ONNX Runtime on the CPU does: the file's own, else the gather form.

    Args:
        artifact: the model.
        parity_of: compares the engine of a form with the CPU, or remembers it.
        said: what a person calls the engine, with its version and device.

    Raises:
        WrongAnswers: in no form; the message names the worst tile, the distance and the budget.
        DeviceError, EngineError: as `parity_of` raises them.
    """
    parity, against = _tried(parity_of, Form(artifact, artifact.manifest.sampling))
    if parity is not None and not against:
        return Agreed(Form(artifact, artifact.manifest.sampling), parity)
    differs = f"{said} does not answer as ONNX Runtime on the CPU does"
    other = gather_form(artifact)
    if isinstance(other, str):
        raise WrongAnswers(f"{artifact.path}: {differs} ({against}); {other}")
    _log.warning("%s: %s (%s): trying the graph with its sampling written as gathers", artifact.path, differs, against)
    parity, again = _tried(parity_of, other)
    if parity is None or again:
        raise WrongAnswers(f"{artifact.path}: {differs} ({against}; with gathers: {again}); {OTHER_ENGINE}")
    note = f"the sampling is computed by gathers, since with GridSample {differs} ({against})"
    return Agreed(other, parity, (note,))


def gather_form(artifact: Artifact, *, find_package: Callable[[str], object] = importlib.util.find_spec) -> Form | str:
    """Return a model with its sampling written as gathers, or what to do where there is no such form, as a clause.

    Args:
        artifact: the model.
        find_package: whether a package is installed; the runtime comes without onnx.
    """
    if artifact.manifest.sampling == "gather":
        return OTHER_ENGINE
    if find_package("onnx") is None:
        return f"its gather form was not tried: pip install onnx, or {EXPORTS_GATHERS}, or use --engine cpu"
    try:
        import onnx

        from .gather_sampling import gathered
    except ImportError as error:  # it is there, and one of its libraries is missing or of another version
        return f"its gather form was not tried, as onnx can't be loaded ({one_line(error)}): {EXPORTS_GATHERS}"
    try:
        model = onnx.load(artifact.path)
        if not any(node.op_type == "GridSample" for node in model.graph.node):
            return OTHER_ENGINE
        graph = gathered(model).SerializeToString(deterministic=True)
    except KdaEdgeError as error:
        return f"it has no gather form ({one_line(error)}); use --engine cpu"
    return Form(replace(artifact, graph_sha256=graph_digest(graph)), "gather", graph)


def _tried(parity_of: Callable[[Form], DeviceParity], form: Form) -> tuple[DeviceParity | None, str]:
    """Return what was measured, None where the engine has no answers, and what speaks against it, as a clause."""
    try:
        parity = parity_of(form)
    except NoAnswer as error:
        return None, f"it has no answer to the tile {error.tile!r}: {error.reason}"
    return parity, parity.against_it
