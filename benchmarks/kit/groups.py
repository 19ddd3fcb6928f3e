"""Groups of packages that a kit is made of, the most valuable first, and what every machine with PyTorch has already.

A group is named by requirements that pip understands. Those of the project itself stay in pyproject.toml: a group
takes them from there by the name of the extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from kda_edge.errors import UsageError

PROJECT: Final = "kda-edge"
DATA: Final = "data"  # the group of the imagery, which is no package


@dataclass(frozen=True)
class Group:
    """Packages that belong together: a machine that got this group and those before it can do one thing more.

    Attributes:
        requires: requirements in pip's form; what they require comes along.
        imports: modules that must import once the group is installed.
        without: names of packages that stay out, although a requirement names them.
    """

    requires: tuple[str, ...]
    imports: tuple[str, ...]
    without: tuple[str, ...] = ()


GROUPS: Final = {
    "lean": Group((PROJECT,), ("kda_edge.runtime.cli", "rasterio", "cv2")),
    "gpu": Group(("onnxruntime-gpu>=1.18",), ("onnxruntime",)),
    "export": Group((f"{PROJECT}[export]",), ("kda_edge.export.cli", "onnx", "onnxscript", "onnxsim")),
    "bench": Group((f"{PROJECT}[bench]",), ("kda_edge.benchmarks.cli", "psutil", "pynvml", "matplotlib")),
    "train": Group(
        (f"{PROJECT}[train]",),
        ("kda_edge.train.cli", "lightning_fabric", "segmentation_models_pytorch", "tensorboard"),
    ),
    # OpenVINO runs on CPUs; kits are for GPUs.
    "peers": Group((f"{PROJECT}[peers]",), ("monai",), without=("openvino",)),
    "tests": Group(("pytest>=8.2", "hypothesis>=6.100", "jsonschema>=4.21"), ("pytest", "hypothesis", "jsonschema")),
}
# Imagery may weigh more than all packages, and most of what a kit is for needs none.
ORDER: Final = ("lean", "gpu", "export", "bench", "train", "peers", "tests", DATA)

# PyTorch, timm, NVIDIA's libraries and what these require. The machine's own are used: a second copy in front of them
# would be of another CUDA.
NEVER_TAKEN: Final = ("torch", "torchvision", "timm", "numpy", "triton", "nvidia-c*", "nvidia-n*", "cuda-*", "pillow")
COMES_WITH_THEM: Final = (
    *("filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "setuptools", "sympy", "typing-extensions"),
    *("huggingface-hub", "packaging", "pyyaml", "safetensors", "tqdm"),
)
# Where the first is in the kit, it stands for the second: both write the same files.
STANDS_FOR: Final = {"onnxruntime-gpu": "onnxruntime"}


def never_taken(name: str) -> bool:
    """Whether a package, by its normalised name, must be the machine's own."""
    return any(fnmatchcase(name, pattern) for pattern in NEVER_TAKEN)


def groups_named(names: Sequence[str]) -> dict[str, Group]:
    """Return the groups of these names in the order given; `DATA` is passed over.

    Raises:
        UsageError: a name that is no group, or is there twice.
    """
    for name in names:
        if name not in ORDER:
            raise UsageError(f"there is no group {name!r} of packages; choose from {', '.join(ORDER)}")
        if list(names).count(name) > 1:
            raise UsageError(f"the group {name!r} is there twice; name it once")
    return {name: GROUPS[name] for name in names if name != DATA}
