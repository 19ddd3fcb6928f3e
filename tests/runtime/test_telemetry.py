"""Nobody is told that kda-edge runs: both engine libraries report to their makers unless they are kept from it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
from kda_edge.runtime.opened_engine import open_engine
with open_engine(engine={engine!r}) as engine:
    pass
print(*sorted({{"torch", "onnx", "openvino_telemetry", "openvino", "onnxruntime"}} & sys.modules.keys()))
"""


def run(home: Path, code: str, **variables: str) -> str:
    taken = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment = {**taken, "HOME": str(home), "XDG_CACHE_HOME": "", **variables}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("engine", ["cpu", "openvino"])
def test_an_engine_leaves_no_identifier_at_home_and_loads_nothing_that_reports(tmp_path: Path, engine: str) -> None:
    if importlib.util.find_spec(engine) is None and engine == "openvino":
        pytest.skip("OpenVINO is not installed")
    expected = {"cpu": "onnxruntime", "openvino": "onnxruntime openvino"}[engine]
    assert run(tmp_path, CODE.format(engine=engine)) == expected  # neither torch nor onnx is needed, too
    assert list(tmp_path.rglob("*")) == []


def test_who_has_decided_for_himself_is_left_alone(tmp_path: Path) -> None:
    code = "import os, kda_edge; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(tmp_path, code, ORT_DISABLE_TELEMETRY="0") == "0"
    assert run(tmp_path, code) == "1"
