"""A kit that the tests of its parts and of its installation share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit_runs import GROUPS
from made_wheels import made_kit, made_wheel

from kda_edge.benchmarks.kit.kit_file import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    """Three groups and imagery, in parts of 300 bytes and a header; most files lie in several of them."""
    noise = np.random.default_rng(1).integers(0, 256, 3000, dtype=np.uint8).tobytes()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.webp").write_bytes(b"image")
    wheels = [
        ("lean", made_wheel(tmp_path / "w", "kitted_one", "1.1")),
        ("gpu", made_wheel(tmp_path / "w", "kitted_two", files={"kitted_two/deep.py": b"import kitted_one\n"})),
        ("train", made_wheel(tmp_path / "w", "kitted_big", files={"kitted_big/lib.so": noise})),
    ]
    return made_kit(tmp_path / "parts", wheels, imports=GROUPS, data=tmp_path / "images")
