"""Times alternatives in turn, A B C A B C A B C, each in a fresh process: what else the machine does hits all alike."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NUM_ROUNDS = 3


class MeasuringError(Exception):
    """An alternative could not be measured; the message has the end of what it said."""


@dataclass(frozen=True)
class Alternative:
    """A function to measure.

    Args:
        target: `module:function`; it takes the arguments by keyword and returns figures, `seconds` among them.
        arguments: JSON.
        num_cores: it may use the first so many cores only; all when None.
        environment: further variables of its process.
    """

    name: str
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    num_cores: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """The rounds of one alternative; `figures` are what else it returned: medians, of lists the last."""

    name: str
    seconds: tuple[float, ...]
    peak_memory_mib: float
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def median_s(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


def measure(
    alternatives: Sequence[Alternative],
    *,
    num_rounds: int = NUM_ROUNDS,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Measurement]:
    """Measure all alternatives once, then all again, and so on.

    Args:
        tell: gets a line after each measurement.
    Raises: MeasuringError: one of them failed.
    """
    rounds: dict[str, list[dict[str, Any]]] = {alternative.name: [] for alternative in alternatives}
    for number in range(1, num_rounds + 1):
        for alternative in alternatives:
            figures = run_once(alternative)
            rounds[alternative.name].append(figures)
            tell(f"round {number} of {num_rounds}: {alternative.name}: {figures['seconds']:.2f} s")
    return [_measurement(name, figures) for name, figures in rounds.items()]


def run_once(alternative: Alternative) -> dict[str, Any]:
    """The figures of one call in a fresh process.

    Raises: MeasuringError: it failed.
    """
    request = {
        "target": alternative.target,
        "arguments": dict(alternative.arguments),
        "num_cores": alternative.num_cores,
    }
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.child"],
        input=json.dumps(request), capture_output=True, text=True, check=False,
        env={**os.environ, **alternative.environment},
    )  # fmt: skip
    if result.returncode != 0:
        raise MeasuringError(f"{alternative.name}: {result.stderr.strip()[-2000:]}")
    figures: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return figures


def _measurement(name: str, rounds: Sequence[Mapping[str, Any]]) -> Measurement:
    middle = {key: _middle([figures[key] for figures in rounds]) for key in rounds[0] if key != "seconds"}
    return Measurement(
        name=name,
        seconds=tuple(figures["seconds"] for figures in rounds),
        peak_memory_mib=middle.pop("peak_memory_mib"),
        figures=middle,
    )


def _middle(values: Sequence[Any]) -> Any:
    """The median of numbers; of anything else the last."""
    return statistics.median(values) if isinstance(values[-1], int | float) else values[-1]
