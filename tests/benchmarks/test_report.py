import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import Machine
from benchmarks.measuring import Measurement
from benchmarks.report import Report, Table, write

MACHINE = Machine(
    cpu="A | processor", num_cores=2, caches={"L2 unified": "1024K"}, simd=("avx2",), memory_gib=8.0,
    operating_system="Linux", python="3.11.7", packages={"torch": "2.13.0", "jax": "not installed"},
    peak_gflops_one_core=100.0, peak_gflops_all_cores=200.0,
)  # fmt: skip
TABLE = Table(
    title="A setting", description="Four networks.", baseline="slow", flops_per_run=1e10,
    measurements=(
        Measurement("slow", (4.0, 8.0, 5.0), 100.0, {"final_val_losses": [0.5, 0.25]}),
        Measurement("fast", (2.0, 1.0, 3.0), 200.0, {"compile_s": 0.5, "final_val_losses": [float("nan"), 0.25]}),
    ),
    num_runs={"slow": 2, "fast": 4},
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(Report(MACHINE, [TABLE], {"idle_rss_mib": 500.0}), tmp_path / "docs")
    return tmp_path / "docs"


def test_the_json_has_everything_that_was_measured(folder: Path) -> None:
    document: dict[str, Any] = json.loads((folder / "performance.json").read_text())
    assert document["machine"]["packages"] == {"torch": "2.13.0", "jax": "not installed"}
    (table,) = document["tables"]
    assert (table["title"], table["baseline"]) == ("A setting", "slow")
    slow, fast = table["measurements"]
    assert slow["seconds"] == [4.0, 8.0, 5.0]
    assert (slow["median_s"], slow["speedup"]) == (5.0, 1.0)
    assert (fast["median_s"], fast["speedup"]) == (2.0, 5.0)
    assert fast["figures"] == {"compile_s": 0.5, "final_val_losses": [None, 0.25]}


def test_the_markdown_has_a_table_for_the_machine_and_one_for_each_setting(folder: Path) -> None:
    lines = (folder / "performance.md").read_text().splitlines()
    assert r"| processor | A \| processor |" in lines
    assert "## A setting" in lines
    assert "| slow | 2 | 5.00 (4.00 to 8.00) |  | 2500.0 | 1.00 |  | 4.0 | 2% | 100 | 0.3750 |" in lines
    assert "| fast | 4 | 2.00 (1.00 to 3.00) | 0.50 | 500.0 | 5.00 | 6.67 | 26.7 | 13% | 200 | nan |" in lines
