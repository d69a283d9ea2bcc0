"""Writes what was measured: `performance.json` for programs, `performance.md` for people."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.measuring import Measurement

INTRODUCTION = (
    "Everything in one table was measured in one run, the alternatives in turn, each in a fresh process; medians of "
    "the rounds, with the fastest and the slowest. Written by `make bench`."
)
COLUMNS = (
    "alternative", "runs", "seconds", "of which compiling", "ms a run", "times as fast", "warm", "GFLOP/s",
    "of the peak", "memory MiB", "mean final val loss",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Alternatives for one kind of work; `baseline` names the one that the others are compared with.

    `flops_per_run` are those of training one network; an alternative trains `num_runs` of them. Compared is the time of
    one run.
    """

    title: str
    description: str
    baseline: str
    flops_per_run: float
    measurements: Sequence[Measurement]
    num_runs: Mapping[str, int]

    def run_s(self, measurement: Measurement, *, warm: bool = False) -> float:
        """Median seconds of one run; `warm` without compiling."""
        compile_s = measurement.figures.get("compile_s", 0.0) if warm else 0.0
        return (measurement.median_s - compile_s) / self.num_runs[measurement.name]


@dataclass(frozen=True)
class Report:
    """All tables of one machine, and what the service costs beside training."""

    machine: Machine
    tables: Sequence[Table]
    service: Mapping[str, float]


def write(report: Report, folder: Path) -> None:
    """Write both files into a folder, which is made where it is absent."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": asdict(report.machine),
        "tables": [_as_json(table) for table in report.tables],
        "service": dict(report.service),
    }
    text = json.dumps(_finite(document), indent=2, allow_nan=False)
    (folder / "performance.json").write_text(text + "\n")
    (folder / "performance.md").write_text(as_markdown(report))


def as_markdown(report: Report) -> str:
    """The report for people."""
    parts = ["# Performance", INTRODUCTION, "## The machine", _machine_table(report.machine)]
    for table in report.tables:
        parts += [f"## {table.title}", table.description, _table(table, report.machine)]
    if report.service:
        figures = [(name, f"{value:.1f}") for name, value in report.service.items()]
        parts += ["## The service beside training", _markdown_table(("figure", "value"), figures)]
    return "\n\n".join(parts) + "\n"


def speedup(table: Table, measurement: Measurement, *, warm: bool = False) -> float:
    """How many times as fast as the baseline, run by run."""
    (baseline,) = (each for each in table.measurements if each.name == table.baseline)
    return table.run_s(baseline) / table.run_s(measurement, warm=warm)


def _as_json(table: Table) -> dict[str, Any]:
    derived = [
        {**asdict(each), "median_s": each.median_s, "speedup": speedup(table, each)} for each in table.measurements
    ]
    return {**asdict(table), "measurements": derived}


def _finite(value: Any) -> Any:
    """The same with null for numbers that are not finite, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _machine_table(machine: Machine) -> str:
    rows = [
        ("processor", machine.cpu),
        ("cores", str(machine.num_cores)),
        ("caches", ", ".join(f"{name} {size}" for name, size in machine.caches.items()) or "unknown"),
        ("SIMD", ", ".join(machine.simd) or "unknown"),
        ("memory", f"{machine.memory_gib:g} GiB"),
        ("system", machine.operating_system),
        ("Python", machine.python),
        *machine.packages.items(),
        ("matrix product, one core", f"{machine.peak_gflops_one_core:.0f} GFLOP/s"),
        ("matrix product, all cores", f"{machine.peak_gflops_all_cores:.0f} GFLOP/s"),
    ]
    return _markdown_table(("", ""), rows)


def _table(table: Table, machine: Machine) -> str:
    return _markdown_table(COLUMNS, [_row(table, each, machine) for each in table.measurements])


def _row(table: Table, measurement: Measurement, machine: Machine) -> tuple[str, ...]:
    gflops = table.flops_per_run / table.run_s(measurement, warm=True) / 1e9
    compile_s = measurement.figures.get("compile_s", 0.0)
    losses = measurement.figures.get("final_val_losses")
    return (
        measurement.name,
        str(table.num_runs[measurement.name]),
        f"{measurement.median_s:.2f} ({min(measurement.seconds):.2f} to {max(measurement.seconds):.2f})",
        f"{compile_s:.2f}" if compile_s else "",
        f"{1000 * table.run_s(measurement):.1f}",
        f"{speedup(table, measurement):.2f}",
        f"{speedup(table, measurement, warm=True):.2f}" if compile_s else "",
        f"{gflops:.1f}",
        f"{gflops / machine.peak_gflops_all_cores:.0%}",
        f"{measurement.peak_memory_mib:.0f}",
        f"{statistics.fmean(losses):.4f}" if losses else "",
    )


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
