"""Who may import whom inside each of the five folders and between them, as tables; docs/architecture.md draws them.

To add a package or a module beside the packages: a row in `MAY_USE`, with what it may name. To let one name another:
its name in that row. The rows of a folder must stay free of circles. `tests/project/test_packages.py` holds all of it.
"""

from __future__ import annotations

VALUES = {"results", "map_format", "scene_options"}  # plain values, which import nothing of ours

# A package, or a module directly in the folder, and what of the same folder it may import.
MAY_USE: dict[str, dict[str, set[str]]] = {
    "kda_edge": {
        "__init__": set(),
        "errors": set(),
        "metrics": set(),
        "machine": {"__init__"},
        "whole_files": set(),
        "commands": {"errors"},
        "quiet_logger": set(),
        "progress": set(),
        "opening_process": {"errors"},
        "standard_streams": {"commands"},
        "addresses": {"errors"},
        "paths": set(),
        "gdal_setup": {"addresses", "errors"},
        "artifact_bytes": {"errors"},
        "certificate": {"errors"},
        "manifest": {"__init__", "certificate", "errors"},
        "tiling": {"errors", "manifest"},
        "rasters": {"addresses", "errors", "opening_process", "paths"},
        "ground": {"errors", "gdal_setup", "rasters"},
        "decoders": set(),
        "networks": {"__init__", "decoders", "manifest", "errors", "paths", "quiet_logger", "whole_files"},
    },
    "runtime": {
        "results": set(),
        "map_format": set(),
        "scene_options": set(),
        "hardware": set(),
        "cache": set(),
        "geo": set(),
        "scenes": {"geo", "map_format", "scene_options"},
        "polygons": {"geo"},
        "engines": {"hardware", "cache"},
        "mapping": {"scenes", *VALUES},
        "parity": {"mapping", "scenes", "geo", "engines", "hardware"},
        "tensorrt": {"parity", "engines", "hardware"},
        "opened_engine": {"tensorrt", "parity", "engines", "hardware"},
        "streams": {"scenes", "results"},
        "outputs": {"mapping", "polygons", "scenes", "geo", *VALUES},
        "runs": {"outputs", "mapping", "scenes", "geo", *VALUES},
        "segmenter": {"opened_engine", "engines", "runs", "mapping", "streams", "geo", "results", "scene_options"},
        "video": {"segmenter", "streams", "outputs", "scenes", "geo", "map_format"},
        "cli": {"segmenter", "video", "streams", "runs", "outputs", "engines", "geo", "results", "scene_options"},
        "__init__": {
            *("segmenter", "opened_engine", "tensorrt", "engines", "runs", "streams", "results", "scene_options"),
        },
        "__main__": {"cli"},
    },
    "train": {
        "__init__": set(),
        "data": set(),
        "annotations": {"data"},
        "data_report": {"data"},
        "optimisation": set(),
        "loops": {"data", "optimisation"},
        "configuration": {"data", "loops"},
        "distillation": {"data", "loops", "configuration", "optimisation"},
        "segmentation": {"data", "loops", "configuration", "optimisation"},
        "figures": {"data", "loops", "distillation", "segmentation"},
        "on_card": {"data", "loops", "segmentation", "optimisation"},
        "run_report": {"data", "data_report", "loops", "configuration", "segmentation", "figures"},
        "fit": {"data", "loops", "configuration", "distillation", "segmentation"},
        "cli": {
            *("data", "annotations", "data_report", "loops", "distillation", "segmentation", "figures", "on_card"),
            *("configuration", "run_report", "fit"),
        },
        "__main__": {"cli"},
    },
    "export": {
        "__init__": set(),
        "config": set(),
        "artifact_file": set(),
        "lint": set(),
        "graphs": {"lint"},
        "tiles": {"config"},
        "portable": {"graphs", "lint"},
        "precision": {"graphs", "lint"},
        "verifying": {"graphs", "lint", "precision", "tiles"},
        "portable_check": {"verifying"},
        "lower_precision": {"config", "precision", "tiles", "verifying"},
        "pipeline": {
            *("artifact_file", "config", "graphs", "lint", "lower_precision", "portable", "portable_check"),
            *("tiles", "verifying"),
        },
        "cli": {"config", "pipeline"},
        "__main__": {"cli"},
    },
    "benchmarks": {
        "__init__": set(),
        "measuring": set(),
        "paper": set(),
        "seams": set(),
        "kit": set(),
        "reporting": {"measuring"},
        "sensors": {"reporting"},
        "contestants": {"measuring"},
        "contest": {"contestants", "reporting", "sensors", "measuring"},
        "commands": {"contest", "contestants", "seams", "sensors", "reporting", "measuring"},
        "studies": {"paper", "documents", "reporting", "measuring"},
        "documents": {"contest", "gpu", "reporting", "measuring"},
        "gpu": {"commands", "contest", "contestants", "sensors", "reporting", "measuring"},
        "gpu_train": {"gpu", "commands", "contestants", "reporting", "measuring"},
        "cli": {"commands"},
    },
}
# What each folder may name of the others; of the runtime not all: the rest of it is its own business.
MAY_NAME: dict[str, set[str]] = {
    "kda_edge": set(),
    "runtime": {"kda_edge"},
    "train": {"kda_edge"},
    "export": {"kda_edge", "runtime"},
    "benchmarks": {"kda_edge", "runtime"},
}
DOORS = {
    "export": {"opened_engine", "parity", "engines", "scenes", "geo", "mapping"},
    "benchmarks": {"__init__", "segmenter", "opened_engine", "engines", "hardware", "scenes", "geo", "mapping"},
}
