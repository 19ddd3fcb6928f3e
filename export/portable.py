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

What that means for a user:

- **uint8 imagery alone comes out right by itself.** Both divide uint8 by 255. For other contracts the graph wants
  `(x - low) / (high - low)` of the contract's range, and GeoDeep divides uint16 by 65535 whatever the range: imagery
  must be brought to 0..1 first.
- **The class is that of the greater channel**, so a threshold below 0.5 can't be said: 0.5 is written instead.
- **There is no nodata**: pixels outside of a scene are 0 to these tools, and what the model says there counts.

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

CLASSES_NAME: Final = "classes"


def portable_graph(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """Return a copy of `model` for Deepness and GeoDeep: shares of the range in, two classes out, their metadata.

    Input `image` (1, 3, T, T) float32, 0..1 in the contract's range of values; output `classes` (1, 2, T, T), the
    probabilities of background and landslide, which sum to 1. Our own manifest is not in it: the file is no artifact.

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
    _take_shares(graph, manifest.input)
    _answer_with_classes(graph, end)
    graph.input[0].CopyFrom(_port(INPUT_NAME, 3, manifest.tile_px))
    graph.output[0].CopyFrom(_port(CLASSES_NAME, 2, manifest.tile_px))
    graph.ClearField("value_info")
    copy.ClearField("metadata_props")
    for key, value in _metadata(manifest).items():
        copy.metadata_props.add(key=key, value=value)
    return copy


def resolution_cm(contract: InputContract) -> float | None:
    """Return the one resolution that stands for a contract's range, centimetres a pixel; None where nobody knows.

    The middle by ratio, the root of finest times coarsest: both tools bring imagery to one resolution, and from there
    neither end of what the model was trained on is further away than the other. Without it Deepness leaves the choice
    to the user, and GeoDeep assumes 10 cm.
    """
    if contract.gsd_m is None:
        return None
    return round(100.0 * math.sqrt(contract.gsd_m[0] * contract.gsd_m[1]), 3)


def _metadata(manifest: Manifest) -> dict[str, str]:
    values: dict[str, object] = {
        "model_type": "Segmentor",
        "class_names": {str(number): name for number, name in enumerate(manifest.classes)},
        "tile_size": manifest.tile_px,
        "tiles_size": manifest.tile_px,
        "tiles_overlap": round(100 * default_overlap_px(manifest.tile_px) / manifest.tile_px),  # percent
        "seg_thresh": max(manifest.threshold, 0.5),
        "seg_small_segment": 0,
    }
    resolution = resolution_cm(manifest.input)
    if resolution is not None:
        values["resolution"] = resolution
    return {key: json.dumps(value) for key, value in sorted(values.items())}


def _take_shares(graph: onnx.GraphProto, contract: InputContract) -> None:
    """Begin with what turns shares of the range of values into raw pixels."""
    low, high = contract.value_range
    raw = f"{INPUT_NAME}.raw"
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == INPUT_NAME:
                node.input[position] = raw
    span = numpy_helper.from_array(np.array(high - low, np.float32), f"{INPUT_NAME}.span")
    lowest = numpy_helper.from_array(np.array(low, np.float32), f"{INPUT_NAME}.low")
    graph.initializer.extend([span, lowest])
    spread = f"{INPUT_NAME}.spread"
    graph.node.insert(0, helper.make_node("Mul", [INPUT_NAME, span.name], [spread], name="portable/Mul"))
    graph.node.insert(1, helper.make_node("Add", [spread, lowest.name], [raw], name="portable/Add"))


def _answer_with_classes(graph: onnx.GraphProto, end: onnx.NodeProto) -> None:
    """End in a softmax over a channel of zeros and the logit, which is 1 - p and p, instead of the sigmoid."""
    logit = end.input[0]
    graph.node.remove(end)
    pads = numpy_helper.from_array(np.array([0, 1, 0, 0, 0, 0, 0, 0]), f"{CLASSES_NAME}.pads")
    graph.initializer.append(pads)
    both = f"{CLASSES_NAME}.logits"
    graph.node.append(helper.make_node("Pad", [logit, pads.name], [both], name="portable/Pad"))
    graph.node.append(helper.make_node("Softmax", [both], [CLASSES_NAME], name="portable/Softmax", axis=1))


def _port(name: str, channels: int, tile_px: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, tile_px, tile_px])
