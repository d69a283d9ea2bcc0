"""The comparison as a table of at most 100 columns, and as CSV."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from actrobust.client import Json
from actrobust.tables import ranking_rows

DASH = "-"
LONGEST_LIST = 12
# Labels need the room more than a sixth decimal does.
MOST_DECIMALS = 5
LONGEST_LINE_OF_LABEL = 18
LABEL_COLUMN, NARROWEST_LABEL = 1, 10
PROVISIONAL = "?"


def print_comparison(robustness: Json, *, console: Console, name: str | None = None) -> None:
    """Print everything of a `/robustness` answer that fits a terminal, one table a rate."""
    for line in _title(robustness, name):
        console.print(Text(line))
    console.print()
    rates: list[float | None] = [*_rates(robustness)] or [None]
    # Where there is not enough room the SDs of clean and dirty give way.
    with_sds = all(_least_width(_table(robustness, rate, with_sds=True), console) <= console.width for rate in rates)
    for rate in rates:
        console.print(_table(robustness, rate, with_sds=with_sds))
        console.print()
    for line in _footnotes(robustness, with_sds=with_sds):
        console.print(Text(line, style="dim"))
    for warning in _warnings(robustness):
        console.print(Text(warning, style="yellow"))


def _least_width(table: Table, console: Console) -> int:
    """Columns of a terminal that the table needs when labels are broken."""
    table.columns[LABEL_COLUMN].width = NARROWEST_LABEL
    # Measured on a terminal without end, for no table is measured wider than its own.
    return console.measure(table, options=console.options.update(max_width=1000)).maximum


def _title(robustness: Json, name: str | None) -> Iterator[str]:
    identity = str(robustness.get("experiment_id", ""))
    yield f"{name} ({identity})" if name else f"experiment {identity}"
    metric = robustness.get("metric") or {}
    unit, better = metric.get("unit"), metric.get("better")
    about = ", ".join([*([str(unit)] if unit else []), *([f"{better} is better"] if better else [])])
    parts = [f"validation {metric.get('name', 'metric')}" + (f" ({about})" if about else "")]
    if robustness.get("score"):
        parts.append(f"score: {robustness['score']}" + _epoch(robustness))
    if robustness.get("num_seeds") is not None:
        parts.append(f"{robustness['num_seeds']} seeds")
    if not robustness.get("complete", True):
        parts.append(f"incomplete ({robustness.get('state', 'running')})")
    yield " · ".join(parts)
    if robustness.get("precision"):
        yield _precision(robustness["precision"])


def _precision(precision: Json) -> str:
    """How near the experiment is to its precision target."""
    target, width = (precision.get(name) for name in ("target", "half_width"))
    parts = [] if width is None else [f"half-width {width:.3g}"]
    parts += [] if target is None else [f"target {target:.3g}"]
    seeds = f"{precision.get('num_seeds')} of at most {precision.get('max_seeds')} seeds"
    parts.append(f"reached at {seeds}" if precision.get("reached") else f"not reached at {seeds}")
    return f"precision: {', '.join(parts)}"


def _epoch(robustness: Json) -> str:
    """The epoch, where the score is that of one epoch for every run."""
    epoch = robustness.get("epoch")
    return f" (epoch {epoch})" if epoch is not None and robustness["score"] == "final" else ""


def _rates(robustness: Json) -> list[float]:
    conditions = (c for a in robustness.get("activations", []) for c in a.get("conditions") or [])
    return sorted({float(condition["rate"]) for condition in conditions})


def _table(robustness: Json, rate: float | None, *, with_sds: bool) -> Table:
    activations = sorted(robustness.get("activations", []), key=_rank_key)
    rows = _Rows(rate, _decimals(activations), with_sds=with_sds, with_counts=_counts_differ(robustness, rate))
    title = "clean only" if rate is None else f"rate {rate:.4g}: {100 * rate:.4g} % of the training rows dirty"
    table = Table(box=box.SIMPLE, title=Text(title), title_justify="left", title_style="bold", show_edge=False)
    table.padding = (0, 0, 0, 1)
    table.add_column("rank", justify="right")
    # Labels may differ only at their end, so they continue on the next line instead of being cut.
    table.add_column("activation", overflow="fold", min_width=NARROWEST_LABEL)
    for heading in ("clean", "dirty", "degradation"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(_interval_heading(robustness), justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if rows.with_counts:
        table.add_column("n", justify="right", no_wrap=True)
    for activation in activations:
        table.add_row(*rows.cells(activation))
    return table


def _counts_differ(robustness: Json, rate: float | None) -> bool:
    """Whether some mean does not stand on all seeds, of which the title tells the number."""
    activations = robustness.get("activations") or []
    counts = {_counts(a.get("clean") or {}, _condition(a, rate).get("dirty") or {}) for a in activations}
    return counts != {str(robustness.get("num_seeds"))}


def _condition(activation: Json, rate: float | None) -> Json:
    return next((c for c in activation.get("conditions") or [] if c.get("rate") == rate), {})


def _rank_key(activation: Json) -> float:
    rank = activation.get("rank")
    return math.inf if rank is None else float(rank)


def _interval_heading(robustness: Json) -> str:
    return f"{100 * float(robustness.get('confidence') or 0.95):.4g} % interval"


@dataclass(frozen=True)
class _Rows:
    """How the rows of one table are written."""

    rate: float | None
    decimals: int
    with_sds: bool
    with_counts: bool

    def cells(self, activation: Json) -> list[Text]:
        condition = _condition(activation, self.rate)
        clean, dirty = activation.get("clean") or {}, condition.get("dirty") or {}
        degradation = condition.get("degradation") or {}
        rank = activation.get("rank")
        cells = [
            DASH if rank is None else f"{rank:g}",
            _label(activation),
            self._mean(clean),
            self._mean(dirty),
            number(degradation.get("mean"), self.decimals, signed=True),
            _interval(degradation, self.decimals),
            _verdict(condition),
            *([_counts(clean, dirty)] if self.with_counts else []),
        ]
        return [Text(cell) for cell in cells]

    def _mean(self, summary: Json) -> str:
        mean = number(summary.get("mean"), self.decimals)
        sd = summary.get("sd") if self.with_sds else None
        return mean if sd is None else f"{mean} ± {number(sd, self.decimals)}"


def _label(activation: Json) -> str:
    label = str(activation.get("activation"))
    return label.replace("(", "\n(", 1) if len(label) > LONGEST_LINE_OF_LABEL else label


def _interval(degradation: Json, decimals: int) -> str:
    low, high = degradation.get("ci_low"), degradation.get("ci_high")
    if low is None and high is None:
        return DASH
    return f"[{number(low, decimals)}, {number(high, decimals)}]"


def _verdict(condition: Json) -> str:
    verdict = condition.get("verdict")
    if verdict is None:
        return DASH
    return str(verdict) + (PROVISIONAL if condition.get("provisional") else "")


def _counts(clean: Json, dirty: Json) -> str:
    """How many seeds the means stand on; both numbers where they differ."""
    counts = [summary.get("n") for summary in (clean, dirty)]
    known = list(dict.fromkeys(str(count) for count in counts if count is not None))
    return "/".join(known) or DASH


def _decimals(activations: list[Json]) -> int:
    """Decimals for a whole table, so that the typical spread of a degradation over seeds shows two digits."""
    conditions = [condition for a in activations for condition in a.get("conditions") or []]
    spreads = [abs((condition.get("degradation") or {}).get("sd") or 0.0) for condition in conditions]
    typical = median([spread for spread in spreads if spread > 0] or [1e-3])
    return min(max(1 - math.floor(math.log10(typical)), 1), MOST_DECIMALS)


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """A number of few characters; a dash for null."""
    if value is None:
        return DASH
    sign = "+" if signed else ""
    size = abs(value)
    short = size == 0 or (size < 1e4 and size >= 0.5 * 10**-decimals)
    return f"{value:{sign}.{decimals}f}" if short else f"{value:{sign}.1e}"


def _footnotes(robustness: Json, *, with_sds: bool) -> Iterator[str]:
    lower = (robustness.get("metric") or {}).get("better", "lower") == "lower"
    formula = "dirty - clean" if lower else "clean - dirty"
    yield f"degradation = {formula}, paired by seed; positive: dirt did harm" + (
        ". ± is the SD over seeds" if with_sds else ""
    )
    if not robustness.get("complete", True):
        yield "incomplete: ranks and verdicts come when every run has finished"
        return
    margin = robustness.get("margin") or {}
    if margin.get("value") is not None:
        yield f"robust: shown to lose less than the margin of {margin['value']:.3g}; harmed: shown to lose more"
        if not margin.get("declared", True):
            yield f"{PROVISIONAL} the margin is a default: declare yours as 'margin' in the spec"


def _warnings(robustness: Json) -> Iterator[str]:
    for warning in robustness.get("warnings") or []:
        yield f"warning: {_words(warning)}"
    yield from _listed("diverged", robustness.get("diverged") or [])
    yield from _listed("missing pair", robustness.get("missing_pairs") or [])


def _listed(what: str, items: list[Any]) -> Iterator[str]:
    for item in items[:LONGEST_LIST]:
        yield f"{what}: {_words(item)}"
    if len(items) > LONGEST_LIST:
        yield f"{what}: and {len(items) - LONGEST_LIST} more"


def _words(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    if "detail" in item:
        return str(item["detail"])
    return ", ".join(f"{key} {value}" for key, value in item.items() if value is not None)


def to_csv(robustness: Json) -> str:
    """One row an activation and rate, one column a number."""
    rows = list(ranking_rows(robustness))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
