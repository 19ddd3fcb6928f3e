"""Networks are counted and timed side by side, those of the distillation benchmark unless told otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kda_edge.benchmarks.studies import peer_costs
from kda_edge.errors import UsageError


def test_the_networks_of_the_distillation_benchmark_are_taken_once_each(tmp_path: Path) -> None:
    cells = {"rows": [{"network": "nano"}, {"network": "nano"}], "not_run": [{"network": "unet-small"}]}
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    assert peer_costs.networks_of(tmp_path / "cells.json") == ["nano", "unet-small"]
    with pytest.raises(UsageError, match="repository's root"):
        peer_costs.networks_of(tmp_path / "none.json")


@pytest.mark.slow
def test_the_bundled_students_costs_are_counted_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert peer_costs.main(["nano", "--tile-px", "64", "--rounds", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    value = {figure["name"]: figure["value"] for figure in result["figures"]}
    assert value["parameters"] == pytest.approx(3.308802)
    assert 0.01 < value["gflops"] < 1
    assert value["latency.p50"] > 0
