"""TensorRT's bindings: what is opened, and that we touch nothing that one of the recorded versions has not."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import FakeTensorRT, World, importer
from places import ROOT
from recorded_bindings import VERSIONS, recorded

from kda_edge.errors import DeviceError, MissingDependency, TooOld
from kda_edge.runtime.hardware.gpu_probe import Device
from kda_edge.runtime.tensorrt.library import CALLED_BACK, HANDLES, KEPT_ERRORS, USED, open_library

ORIN = Device(0, "Orin", (8, 7), "12.6", 8 * 2**30)
WITHOUT_BINDINGS = {"__init__", "engine_cache", "engine_key"}  # they know TensorRT by files and names alone
TOUCHING = [path for path in sorted((ROOT / "runtime/tensorrt").glob("*.py")) if path.stem not in WITHOUT_BINDINGS]
# What a call or an attribute of the bindings gives, where that is an object of the bindings itself.
GIVES = {
    ("Builder", "create_network"): "INetworkDefinition",
    ("Builder", "create_builder_config"): "IBuilderConfig",
    ("Builder", "create_optimization_profile"): "IOptimizationProfile",
    ("Builder", "build_serialized_network"): "IHostMemory",
    ("IBuilderConfig", "create_timing_cache"): "ITimingCache",
    ("IBuilderConfig", "get_timing_cache"): "ITimingCache",
    ("INetworkDefinition", "get_input"): "ITensor",
    ("INetworkDefinition", "get_layer"): "ILayer",
    ("OnnxParser", "get_error"): "ParserError",
    ("ILayer", "get_input"): "ITensor",
    ("ILayer", "get_output"): "ITensor",
    ("Runtime", "deserialize_cuda_engine"): "ICudaEngine",
    ("ICudaEngine", "create_engine_inspector"): "EngineInspector",
    ("ICudaEngine", "create_execution_context"): "IExecutionContext",
    ("ILogger", "Severity"): "ILogger.Severity",
}
SPECIAL = {"severity_of": "ILogger.Severity"}  # a class that is held, not an object


class Scan(ast.NodeVisitor):
    """Follow the objects of the bindings through a file by their names, and note each use that is not in USED."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.touched: set[tuple[str, str]] = set()

    def kind(self, node: ast.expr) -> str | None:
        """Return the class of the bindings that an expression is of, None if of none."""
        if isinstance(node, ast.Name):
            return {**HANDLES, **SPECIAL}.get(node.id.lstrip("_"))
        if isinstance(node, ast.Attribute):
            owner = self.kind(node.value)
            if owner is None:  # self._engine, library.trt
                return HANDLES.get(node.attr.lstrip("_"))
            return node.attr if owner == "tensorrt" and node.attr in USED else GIVES.get((owner, node.attr))
        return self.kind(node.func) if isinstance(node, ast.Call) else None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self.kind(node.value)
        if owner is not None and node.attr != "__class__":
            self.touched.add((owner, node.attr))
            if node.attr not in USED[owner]:
                self.wrong.append(f"line {node.lineno}: {owner}.{node.attr} is not in USED")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        dynamic = isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr", "hasattr", "vars")
        if dynamic and node.args and self.kind(node.args[0]) is not None:
            asked = node.args[1] if len(node.args) > 1 else None
            if not (isinstance(asked, ast.Constant) and asked.value == "__version__"):
                self.wrong.append(f"line {node.lineno}: an attribute of the bindings by a name that can't be followed")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._bound(node.value, node.targets)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bound(node.value, [node.target])
        self.generic_visit(node)

    def _bound(self, value: ast.expr, targets: list[ast.expr]) -> None:
        kind = self.kind(value)
        known = {**HANDLES, **SPECIAL}
        for target in targets:
            pairs = zip(target.elts, value.elts, strict=False) if _tuples(target, value) else [(target, value)]
            for one, given in pairs:
                kind = self.kind(given)
                if isinstance(one, ast.Attribute) and self.kind(one.value) is not None:
                    continue  # given to the bindings, not held by us
                name = one.id if isinstance(one, ast.Name) else one.attr if isinstance(one, ast.Attribute) else ""
                named = known.get(name.lstrip("_"))
                narrowed = (kind, named) == ("ILayer", "IGridSampleLayer")  # after its __class__ was set
                if (
                    kind in {*HANDLES.values(), *SPECIAL.values()}
                    and named != kind
                    and not narrowed
                    and name != "__class__"
                ):
                    self.wrong.append(f"line {value.lineno}: {kind} is held by the name {name!r}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            if isinstance(arg.annotation, ast.Name) and arg.annotation.id == "Any" and arg.arg not in HANDLES:
                self.wrong.append(f"line {arg.lineno}: the parameter {arg.arg}: Any can't be followed")
        self.generic_visit(node)


def _tuples(target: ast.expr, value: ast.expr) -> bool:
    return isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)


def scanned(source: str) -> Scan:
    scan = Scan()
    scan.visit(ast.parse(source))
    return scan


def names_of(facts: dict[str, Any], owner: str) -> Iterator[str]:
    if owner == "tensorrt":
        yield from [*facts["top"], "__version__"]
    elif owner in facts["enums"]:
        yield from facts["enums"][owner]
    else:
        yield from [*facts["methods"][owner], *facts["properties"][owner], "__init__"]
        yield from ["Severity"] if owner == "ILogger" else []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_we_use_is_in_each_recorded_version(version: str) -> None:
    facts = recorded(version)
    for owner, names in USED.items():
        assert names <= set(names_of(facts, owner)), f"{owner} of {version}"
    for owner, callbacks in CALLED_BACK.items():
        assert set(callbacks) <= set(facts["methods"][owner])


def test_the_recorded_versions_differ_where_the_generations_do() -> None:
    """Else the test above could not fail: what TensorRT 11 took away is in the records of 10 and not in that of 11."""
    old, new = recorded("10.3.0"), recorded("11.4.0")
    assert {"FP16", "INT8"} <= set(old["enums"]["BuilderFlag"]) - set(new["enums"]["BuilderFlag"])
    assert "EXPLICIT_BATCH" in set(old["enums"]["NetworkDefinitionCreationFlag"]) - set(
        new["enums"]["NetworkDefinitionCreationFlag"]
    )
    assert "int8_calibrator" in set(old["properties"]["IBuilderConfig"]) - set(new["properties"]["IBuilderConfig"])


@pytest.mark.parametrize("path", TOUCHING, ids=lambda path: path.name)
def test_our_code_touches_no_other_name_of_the_bindings(path: Path) -> None:
    assert scanned(path.read_text(encoding="utf-8")).wrong == []


def test_the_list_holds_no_name_that_nobody_uses() -> None:
    touched = set().union(*(scanned(path.read_text(encoding="utf-8")).touched for path in TOUCHING))
    listed = {(owner, name) for owner, names in USED.items() for name in names}
    assert listed - touched <= {("tensorrt", "__version__")}  # asked for with a default, since a package may lack it


@pytest.mark.parametrize(
    "source",
    [
        "config.int8_calibrator = None",
        "config.set_flag(trt.BuilderFlag.FP16)",
        "flag = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)",
        "library.trt.init_libnvinfer_plugins(logger, '')",
        "self._engine.device_memory_size",
        "trt.Builder(logger).platform_has_fast_fp16",
        "b = trt.Builder(logger)",
        "first, second = network.get_input(0), 1",
        "if (made := builder.create_builder_config()): pass",
        "getattr(config, name)",
        "hasattr(trt, 'ComputeCapability')",
        "def help(thing: Any) -> None: thing.algorithm_selector = 1",
        "network.get_layer(0).precision",
    ],
)
def test_the_scan_finds_a_use_that_is_not_listed(source: str) -> None:
    assert scanned(source).wrong


def test_the_scan_lets_listed_uses_pass() -> None:
    good = "trt, started = library.trt, 1\nbuilder = trt.Builder(logger)\nlayer = network.get_layer(0)\nlayer.type"
    assert scanned(good).wrong == []


@pytest.mark.parametrize("version", VERSIONS)
def test_each_supported_version_opens(version: str) -> None:
    library = open_library(ORIN, import_module=importer(FakeTensorRT(version, World())))
    assert library.version.startswith(version)
    library.trt.Builder(library.logger)


@pytest.mark.parametrize("version", ["8.6.1.6", "10.0.1", "10.2.0.post1"])
def test_a_library_that_is_too_old_is_refused_with_the_version_to_have(version: str) -> None:
    trt = FakeTensorRT("10.3.0", World())
    trt.__version__ = version
    with pytest.raises(TooOld, match=rf"TensorRT {version} is older than 10\.3.*; update it .*JetPack 6\.1"):
        open_library(ORIN, import_module=importer(trt))


def test_a_missing_library_names_the_extra_and_the_way_on_a_jetson() -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    with pytest.raises(MissingDependency) as caught:
        open_library(ORIN, import_module=missing)
    message = str(caught.value)
    assert "pip install 'kda-edge[tensorrt]'" in message
    assert "JetPack" in message
    assert "--system-site-packages" in message
    assert "\n" not in message
    assert caught.value.package == "tensorrt"


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvinfer.so.10: cannot open shared object file"),
        FileNotFoundError("Could not find: libnvinfer.so.10"),
        ModuleNotFoundError("No module named 'tensorrt_libs'", name="tensorrt_libs"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_library_that_does_not_load_says_why(error: Exception) -> None:
    def broken(name: str) -> Any:
        raise error

    with pytest.raises(DeviceError, match=r"does not load \(.*(libnvinfer|tensorrt_libs).*; install it again"):
        open_library(ORIN, import_module=broken)


def test_a_package_that_only_has_the_name_is_refused() -> None:
    trt = FakeTensorRT("10.3.0", World())
    trt.__version__ = ""
    with pytest.raises(DeviceError, match="not NVIDIA's"):
        open_library(ORIN, import_module=importer(trt))


def test_a_process_has_one_logger_which_keeps_the_last_errors_and_hands_all_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trt = FakeTensorRT("11.4.0", World())
    library = open_library(ORIN, import_module=importer(trt))
    assert open_library(ORIN, import_module=importer(trt)).logger is library.logger
    assert library.last_error == ""
    severity = trt.ILogger.Severity
    with caplog.at_level(logging.DEBUG, "kda_edge.runtime.tensorrt.library"):
        for number in range(KEPT_ERRORS + 5):
            library.logger.log(severity.ERROR, f"failure\n  {number} " + "x" * 1000)
        library.logger.log(severity.INTERNAL_ERROR, "worse")
        library.logger.log(severity.WARNING, "hm")
        library.logger.log(severity.VERBOSE, "blah")
    assert len(library.logger.errors) == KEPT_ERRORS
    assert library.last_error == "worse"
    assert library.logger.errors[-2].startswith("failure 24 ")
    assert max(map(len, library.logger.errors)) <= 300
    levels = {record.getMessage(): record.levelno for record in caplog.records}
    assert (levels["worse"], levels["hm"], levels["blah"]) == (logging.INFO, logging.INFO, logging.DEBUG)
