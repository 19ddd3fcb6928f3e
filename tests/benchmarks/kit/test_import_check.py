"""What a kit brought is imported and said; what is taken from the wrong place or has no CUDA is refused or told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kit_runs import run_assemble
from made_wheels import made_kit, made_wheel

from kda_edge.benchmarks.kit import assemble, import_check
from kda_edge.benchmarks.kit.import_check import Imported
from kda_edge.benchmarks.kit.installation import Installation
from kda_edge.benchmarks.kit.parts import kit_in
from kda_edge.errors import KitError


def reported(tmp_path: Path, *modules: str, of_the_machine: tuple[str, ...] = ()) -> int:
    kit = kit_in(tmp_path / "parts")
    return assemble.report(Installation(tmp_path / "kit", kit), modules, kit.files, of_the_machine)


def test_a_module_that_does_not_import_is_told_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = made_wheel(tmp_path / "w", "kitted_bad", files={"kitted_bad/deep.py": b"import no_such_thing\n"})
    made_kit(tmp_path / "parts", [("lean", wheel)], imports={"lean": ("kitted_bad.deep",)})
    assert run_assemble(tmp_path) == 0
    capsys.readouterr()
    assert reported(tmp_path, "kitted_bad.deep", "kitted_bad", "json") == 1
    bad, good, machine = filter(None, capsys.readouterr().out.splitlines())
    assert bad == "kitted_bad.deep                  ModuleNotFoundError: No module named 'no_such_thing'"
    assert good.split() == ["kitted_bad", "1.0", "of", "the", "kit"]
    assert machine.split() == ["json", "2.0.9", "of", "the", "machine"]
    assert reported(tmp_path, "kitted_bad", of_the_machine=("not_there",)) == 0


def test_a_module_that_comes_from_the_wrong_place_is_refused(tmp_path: Path) -> None:
    wheels = [("lean", made_wheel(tmp_path / "w", name)) for name in ("timm", "json")]
    made_kit(tmp_path / "parts", wheels, imports={"lean": ("timm",)})
    assert run_assemble(tmp_path) == 0
    with pytest.raises(KitError, match=r"^timm is taken from the kit, not from the machine; "):
        reported(tmp_path, "json", of_the_machine=("timm",))
    (tmp_path / "kit" / "site" / "os").mkdir()  # the machine's is loaded before any path is looked at
    with pytest.raises(KitError, match=r"^os is taken from .*, not from the kit; "):
        reported(tmp_path, "os")


def test_libraries_of_another_cuda_than_pytorchs_are_told(tmp_path: Path) -> None:
    told = {"onnxruntime/capi/build_and_package_info.py": b"package_name = 'x'\ncuda_version = '13.0'\n"}
    wheels = [("gpu", made_wheel(tmp_path / "w", "onnxruntime", files=told))]
    made_kit(tmp_path / "parts", wheels, imports={"gpu": ("onnxruntime",)})
    assert run_assemble(tmp_path) == 0
    kit = kit_in(tmp_path / "parts")
    assert [file.cuda for file in kit.files] == ["13.0"]
    lines = assemble.cuda_differs([Imported("torch", cuda="12.8")], kit.files)
    name = "onnxruntime-1.0-py3-none-any.whl"
    assert lines == [f"{name} is built for CUDA 13.0 and PyTorch brings 12.8: it needs its own CUDA libraries"]
    assert assemble.cuda_differs([Imported("torch", cuda="13.2")], kit.files) == []
    assert assemble.cuda_differs([Imported("torch", failure="not there")], kit.files) == []


def runtime_wheel(folder: Path, providers: list[str], session: str = "") -> Path:
    """ONNX Runtime as far as the check looks at it, with the body of what opens a session."""
    program = f"""
import sys
__version__ = '1.0'
def get_available_providers():
    return {providers}
class InferenceSession:
    def __init__(self, graph, providers):
        self.providers = providers
        {session or "pass"}
    def get_providers(self):
        return self.providers
    def run(self, names, feeds):
        return [feeds["x"] + feeds["x"]]
"""
    files = {
        "onnxruntime/__init__.py": program.encode(),
        "onnxruntime/capi/build_and_package_info.py": b"package_name = 'x'\ncuda_version = '13.0'\n",
    }
    return made_wheel(folder, "onnxruntime", files=files)


@pytest.mark.parametrize(
    ("session", "said"),
    [
        ("print('libcuda.so.1: cannot open', file=sys.stderr); del self.providers[0]", "libcuda.so.1: cannot open"),
        ("raise RuntimeError('no driver')", "RuntimeError: no driver"),
        ("import os; os.kill(os.getpid(), 11)", "it ended with -11"),
        ("self.run = lambda names, feeds: [feeds['x']]", "it takes 1 + 1 for 1.0"),
        ("", ""),
    ],
    ids=["one that goes on without CUDA", "one that fails", "one that crashes", "one that errs", "one that computes"],
)
def test_a_provider_of_cuda_that_can_not_compute_is_told_and_the_rest_can_be_used(
    session: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = runtime_wheel(tmp_path / "w", ["CUDAExecutionProvider", "CPUExecutionProvider"], session)
    made_kit(tmp_path / "parts", [("gpu", wheel)], imports={"gpu": ("onnxruntime",)})
    assert run_assemble(tmp_path) == 0
    capsys.readouterr()
    assert reported(tmp_path, "onnxruntime") == 0
    _, *lines = filter(None, capsys.readouterr().out.splitlines())
    assert lines == ([f"onnxruntime can't compute with CUDA here: {said}"] if said else [])


def test_the_graph_that_is_computed_is_one_that_onnxruntime_takes(tmp_path: Path) -> None:
    """As the check runs it, by the provider that is here."""
    done = import_check._done(
        import_check._COMPUTE, [import_check._GRAPH, "CPUExecutionProvider"], os.environ, tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_an_onnxruntime_for_cuda_without_its_provider_is_refused(tmp_path: Path) -> None:
    wheel = runtime_wheel(tmp_path / "w", ["CPUExecutionProvider"])
    made_kit(tmp_path / "parts", [("gpu", wheel)], imports={"gpu": ("onnxruntime",)})
    assert run_assemble(tmp_path) == 0
    with pytest.raises(KitError, match=r"has no CUDAExecutionProvider, though its wheel is for CUDA; "):
        reported(tmp_path, "onnxruntime")
