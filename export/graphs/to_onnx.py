"""ONNX export of a student: raw pixels in, landslide probability out, one tile size.

What the graph is, and why:

- **Opset 19, IR 10 at most**: from opset 20 on, TensorRT 10 silently samples GridSample by nearest neighbour; and
  `LayerNormalization` has been one node since 17.
- **Static tile**: the position embeddings are stored for it (`Student.at_size`), so no Resize is left.
- **Symbolic batch** (`batch`): the dynamo exporter turns every batch-dependent shape into a constant with a -1 in it,
  so the graph has the same nodes as with a batch of 1, no Shape node among them (`lint` holds it to that), and an
  engine may take as many tiles at once as it likes. Verification runs batches of 1 and 3.
- **onnxsim folds constants, without its fusions**: those turn MatMul + Add into Reshape, Gemm, Reshape (twice the
  reshapes; INT8 quantisers want the MatMul) and depend on the values of the weights, and every runtime fuses for
  itself when it loads. Where the order of steps decides whether it can, it is the one that runtimes know (`gelu.py`).
- **No trace of the machine**: the exporter leaves stack traces with source paths in every node; they are removed, and
  each node is named after the module that it comes from.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass
from typing import Final, cast

import onnx
import onnxsim
import torch
from torch import Tensor, nn

import kda_edge
from kda_edge.errors import ExportError, UnsupportedSize, one_line
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME, STRIDE_PX, InputContract
from kda_edge.networks.network import Network
from kda_edge.quiet_logger import quiet

from ..lint.rules import OPSET
from .gelu import with_known_gelu

SCOPES_KEY: Final = "pkg.torch.onnx.name_scopes"  # where the exporter writes which module a node comes from


class RawPixelStudent(nn.Module):
    """A student that takes raw pixels and answers with probability."""

    mean: Tensor
    std: Tensor

    def __init__(self, student: Network, contract: InputContract) -> None:
        super().__init__()
        self.student = student
        self.register_buffer("mean", torch.tensor(contract.mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(contract.std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Raw pixels in the units of the imagery, (B, 3, H, W), -> landslide probability 0..1, (B, 1, H, W)."""
        return torch.sigmoid(self.student((image - self.mean) / self.std))


def raw_pixel_student(student: Network, contract: InputContract) -> RawPixelStudent:
    """Return a copy of `student` that takes raw pixels, in eval mode, float32, on the CPU; `student` itself stays."""
    return RawPixelStudent(copy.deepcopy(student).to("cpu", torch.float32), contract).eval()


@dataclass(frozen=True)
class ExportedGraph:
    """A graph and how much of it onnxsim has folded away.

    Attributes:
        model: without a manifest.
        nodes_traced: operators as PyTorch exported them; what is left is in the model.
    """

    model: onnx.ModelProto
    nodes_traced: int


def onnx_from_student(student: Network, contract: InputContract, tile_px: int) -> ExportedGraph:
    """Return the graph of `student` for square tiles, checked by `onnx.checker`; equal inputs give equal bytes.

    Args:
        student: in any mode, on any device; left as it is.
        contract: the pixels that the graph will be given; mean and std go into it.
        tile_px: side of the tile, a multiple of 32.

    Raises:
        UnsupportedSize: `tile_px` is no multiple of 32.
        ExportError: PyTorch, onnxsim or the checker refuses.
    """
    if tile_px < STRIDE_PX or tile_px % STRIDE_PX:
        raise UnsupportedSize(height_px=tile_px, width_px=tile_px, multiple_px=STRIDE_PX)
    fixed = student.at_size(tile_px, tile_px).to("cpu", torch.float32)
    model = _traced(RawPixelStudent(fixed, contract).eval().requires_grad_(False), tile_px)
    nodes_traced = len(model.graph.node)
    _name_nodes_after_modules(model.graph)
    _strip(model)
    model = with_known_gelu(_folded(model))
    _strip(model)  # onnxsim writes a diary of its own
    model.producer_name, model.producer_version = "kda-edge", kda_edge.__version__
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"onnx.checker refuses the graph: {one_line(error)}; try other versions of torch and onnx"
        ) from error
    return ExportedGraph(model, nodes_traced)


def _traced(module: RawPixelStudent, tile_px: int) -> onnx.ModelProto:
    # A batch of 2: the tracer takes 0 and 1 for constants.
    example = torch.zeros(2, 3, tile_px, tile_px)
    try:
        with quiet("torch.onnx"):  # of what it does without, such as the operators of torchvision, not installed
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
                optimize=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"torch {torch.__version__} can't export this student: {one_line(error)}; try another version of torch"
        ) from error
    if program is None:
        raise ExportError(f"torch {torch.__version__} returned no graph; upgrade with: pip install -U torch onnxscript")
    return program.model_proto


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        folded, _ = onnxsim.simplify(model, perform_optimization=False)
    except Exception as error:  # onnxsim's C++ core raises bare RuntimeError and worse
        raise ExportError(
            f"onnxsim {onnxsim.__version__} fails on the graph: {one_line(error)}; try another version"
        ) from error
    return cast("onnx.ModelProto", folded)


def _name_nodes_after_modules(graph: onnx.GraphProto) -> None:
    """Name each node `<module>/<operator>_<index>`: readable in a profile, and free of the exporter's counters."""
    for index, node in enumerate(graph.node):
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES_KEY), "[]")
        modules = ["", *ast.literal_eval(scopes)[:-1]]  # from the outermost in; the last scope is the operator
        node.name = f"{modules[-1].removeprefix('student.')}/{node.op_type}_{index}"


def _strip(model: onnx.ModelProto) -> None:
    """Remove every text that says where and how the graph was made, and the shapes that anybody can infer again."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    graph.name = "kda_edge"
