"""What a kit brought is imported and said; what is taken from the wrong place or has no CUDA is refused or told."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from kit_runs import run_assemble
from made_wheels import made_kit, made_wheel

from kda_edge.benchmarks.kit import assemble
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


def runtime_wheel(folder: Path, providers: list[str], library: bytes) -> Path:
    """ONNX Runtime as far as the check looks at it, with a library that is opened for the provider of CUDA."""
    program = f"__version__ = '1.0'\ndef get_available_providers():\n    return {providers}\n"
    files = {
        "onnxruntime/__init__.py": program.encode(),
        "onnxruntime/capi/build_and_package_info.py": b"package_name = 'x'\ncuda_version = '13.0'\n",
        "onnxruntime/capi/libonnxruntime_providers_shared.so": library_of_onnxruntime(),
        "onnxruntime/capi/libonnxruntime_providers_cuda.so": library,
    }
    return made_wheel(folder, "onnxruntime", files=files)


def library_of_onnxruntime() -> bytes:
    """A library that opens anywhere."""
    return (Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_shared.so").read_bytes()


@pytest.mark.parametrize(
    ("library", "said"),
    [(b"", "file too short"), (library_of_onnxruntime(), "")],
    ids=["a library that does not open", "one that does"],
)
def test_a_provider_of_cuda_that_can_not_be_opened_is_told_and_the_rest_can_be_used(
    library: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = runtime_wheel(tmp_path / "w", ["CUDAExecutionProvider", "CPUExecutionProvider"], library)
    made_kit(tmp_path / "parts", [("gpu", wheel)], imports={"gpu": ("onnxruntime",)})
    assert run_assemble(tmp_path) == 0
    capsys.readouterr()
    assert reported(tmp_path, "onnxruntime") == 0
    _, *lines = filter(None, capsys.readouterr().out.splitlines())
    assert len(lines) == bool(said)
    assert all(line.startswith("onnxruntime can't compute with CUDA here: ") and said in line for line in lines)


def test_an_onnxruntime_for_cuda_without_its_provider_is_refused(tmp_path: Path) -> None:
    wheel = runtime_wheel(tmp_path / "w", ["CPUExecutionProvider"], library_of_onnxruntime())
    made_kit(tmp_path / "parts", [("gpu", wheel)], imports={"gpu": ("onnxruntime",)})
    assert run_assemble(tmp_path) == 0
    with pytest.raises(KitError, match=r"has no CUDAExecutionProvider, though its wheel is for CUDA; "):
        reported(tmp_path, "onnxruntime")
