"""Portable graphs, which other people's tools open as they are: QGIS with Deepness, WebODM with GeoDeep.

Both hand a model float32 in 0..1 (uint8 imagery divided by 255), (1, 3, T, T) in RGB, and take the class of the
greater of two channels. What they know of it they read from `metadata_props`, every value a text that `json.loads`
or `float` reads:

| key | Deepness | GeoDeep |
|---|---|---|
| `model_type` | JSON string, `Segmentor` | the same |
| `class_names` | JSON object, ids as strings, from 0 without a gap | the same |
| `resolution` | cm a pixel; imagery is resampled to it | cm a pixel; finer imagery is sampled down by whole factors |
| `tile_size` | JSON integer; its documentation calls it `tiles_size`, so both are written | from the input's shape |
| `tiles_overlap` | per cent of a tile, an integer | per cent of a tile |
| `seg_thresh` | channels below it count as 0 | the same |
| `seg_small_segment` | size in pixels of what is smoothed away | the same |

Read from Deepness' `model_base.py`, `segmentor.py`, `map_processor_segmentation.py` and its page "Adding metadata to
ONNX model", and GeoDeep's `inference.py`, `detection.py` (preprocessing) and `segmentation.py`.

What the graph makes up for:

- **Neither knows nodata**: pixels outside of a scene, or without data in it, are black to them. So 0, 0, 0 is missing:
  filled from the nearest pixel before the network, as the runtime does, and background afterwards.
- **The class is that of the greater channel**, whatever the threshold: the landslide channel is 0.5 where the student's
  probability is its threshold, and rises with it.
- **uint8 imagery alone comes out right by itself.** Both divide uint8 by 255. For other contracts the graph wants
  `(x - low) / (high - low)` of the contract's range, and GeoDeep divides uint16 by 65535 whatever the range: imagery
  must be brought to 0..1 first.

Not tried: the two programs themselves. The keys and the pixels are tested against a restatement of how they read them.
"""

from __future__ import annotations

import json
import math
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kda_edge.errors import ExportError
from kda_edge.manifest import INPUT_NAME, OUTPUT_NAME, InputContract, Manifest
from kda_edge.tiling.tile_grid import default_overlap_px

from .graphs.nearest_fill import MOST_PX, NearestFill

CLASSES_NAME: Final = "classes"
MISSING_LOGIT: Final = -1000.0  # of a pixel without data: a probability of exactly 0


def portable_graph(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """Return a copy of `model` for Deepness and GeoDeep: shares of the range in, two classes out, their metadata.

    Input `image` (1, 3, T, T) float32, 0..1 in the contract's range of values, 0 in all three bands where there is no
    data; output `classes` (1, 2, T, T), of background and landslide, which sum to 1, 0.5 each at the student's
    threshold. Our own manifest is not in it: the file is no artifact.

    Args:
        model: as exported; ends in a Sigmoid of the float32 logit.
        manifest: its own.

    Raises:
        ExportError: `model` takes or gives something else.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    if [value.name for value in graph.input] != [INPUT_NAME] or [value.name for value in graph.output] != [OUTPUT_NAME]:
        raise ExportError(f"a portable graph is made of one from {INPUT_NAME} to {OUTPUT_NAME}; export it again")
    end = next((node for node in graph.node if OUTPUT_NAME in node.output), None)
    if end is None or end.op_type != "Sigmoid" or any(OUTPUT_NAME in node.input for node in graph.node):
        raise ExportError(f"{OUTPUT_NAME} is not the Sigmoid of a logit; export the portable graph in FP32")
    if manifest.tile_px > MOST_PX:
        raise ExportError(f"a portable graph has tiles of at most {MOST_PX} px, not {manifest.tile_px}")
    fill = NearestFill(INPUT_NAME, manifest.tile_px, "fill")
    _take_shares(graph, manifest.input, fill)
    _answer_with_classes(graph, end, manifest.threshold, fill.known)
    graph.input[0].CopyFrom(_port(INPUT_NAME, 3, manifest.tile_px))
    graph.output[0].CopyFrom(_port(CLASSES_NAME, 2, manifest.tile_px))
    graph.ClearField("value_info")
    copy.ClearField("metadata_props")
    for key, value in _metadata(manifest).items():
        copy.metadata_props.add(key=key, value=value)
    return copy


def resolution_cm(contract: InputContract) -> float | None:
    """Return the resolution to write, centimetres a pixel: the finest that the model learned from; None: nobody knows.

    GeoDeep makes imagery that is finer by whole factors as coarse, and leaves coarser imagery alone: so it is given to
    the model at its own resolution wherever the model knows that one.
    """
    return None if contract.gsd_m is None else round(100.0 * contract.gsd_m[0], 3)


def _metadata(manifest: Manifest) -> dict[str, str]:
    values: dict[str, object] = {
        "model_type": "Segmentor",
        "class_names": {str(number): name for number, name in enumerate(manifest.classes)},
        "tile_size": manifest.tile_px,
        "tiles_size": manifest.tile_px,
        "tiles_overlap": round(100 * default_overlap_px(manifest.tile_px) / manifest.tile_px),  # percent
        "seg_thresh": 0.5,
        "seg_small_segment": 0,
    }
    resolution = resolution_cm(manifest.input)
    if resolution is not None:
        values["resolution"] = resolution
    return {key: json.dumps(value) for key, value in sorted(values.items())}


def _take_shares(graph: onnx.GraphProto, contract: InputContract, fill: NearestFill) -> None:
    """Begin with what fills missing pixels and turns shares of the range of values into raw pixels."""
    low, high = contract.value_range
    raw = f"{INPUT_NAME}.raw"
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == INPUT_NAME:
                node.input[position] = raw
    spread = f"{INPUT_NAME}.spread"
    first = [
        *fill.nodes,
        helper.make_node("Mul", [fill.filled, _constant(graph, f"{INPUT_NAME}.span", high - low)], [spread]),
        helper.make_node("Add", [spread, _constant(graph, f"{INPUT_NAME}.low", low)], [raw]),
    ]
    graph.initializer.extend(fill.constants)
    _name(first[-2:])
    later = list(graph.node)
    del graph.node[:]
    graph.node.extend([*first, *later])


def _answer_with_classes(graph: onnx.GraphProto, end: onnx.NodeProto, threshold: float, known: str) -> None:
    """End in a softmax over a channel of zeros and the logit less the threshold's, instead of the sigmoid."""
    at_threshold = math.log(threshold / (1.0 - threshold))
    made = {
        step: f"{CLASSES_NAME}.{step}" for step in ("above", "judged", "missing", "barred", "logit", "zero", "both")
    }

    def number(name: str, value: float) -> str:
        return _constant(graph, f"{CLASSES_NAME}.{name}", value)

    last = [
        helper.make_node("Sub", [end.input[0], number("at_threshold", at_threshold)], [made["above"]]),
        helper.make_node("Mul", [made["above"], known], [made["judged"]]),
        helper.make_node("Sub", [number("one", 1.0), known], [made["missing"]]),
        helper.make_node("Mul", [made["missing"], number("bar", MISSING_LOGIT)], [made["barred"]]),
        helper.make_node("Add", [made["judged"], made["barred"]], [made["logit"]]),
        helper.make_node("Mul", [known, number("nothing", 0.0)], [made["zero"]]),
        helper.make_node("Concat", [made["zero"], made["logit"]], [made["both"]], axis=1),
        helper.make_node("Softmax", [made["both"]], [CLASSES_NAME], axis=1),
    ]
    _name(last)
    graph.node.remove(end)
    graph.node.extend(last)


def _name(nodes: list[onnx.NodeProto]) -> None:
    for node in nodes:
        node.name = f"portable/{node.output[0]}"


def _constant(graph: onnx.GraphProto, name: str, value: float) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return name


def _port(name: str, channels: int, tile_px: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, tile_px, tile_px])
