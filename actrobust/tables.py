"""Answers as tables: one row an observation, one column a number."""

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from actrobust.errors import MissingPackageError

if TYPE_CHECKING:
    from pandas import DataFrame

    from actrobust.client import Client

Json = dict[str, Any]
TableName = Literal["ranking", "pairs", "curves", "scores", "metrics", "runs"]
# What a reader looks for stands on the left.
FIRST_COLUMNS = (
    "rate", "rank", "activation", "clean_mean", "clean_sd", "dirty_mean", "dirty_sd", "degradation_mean",
    "degradation_ci_low", "degradation_ci_high", "verdict",
)  # fmt: skip


def frame(client: "Client", experiment_id: str, table: TableName, query: Mapping[str, Any]) -> "DataFrame":
    """One table of an experiment.

    Raises: MissingPackageError: pandas is not installed. ValueError: there is no such table.
    """
    pandas = _pandas()
    if table == "metrics":
        file = io.BytesIO()
        client.download_metrics(experiment_id, file, file_format="parquet", **query)
        file.seek(0)
        return pandas.read_parquet(file)
    if table == "runs":
        return pandas.DataFrame([flat(run) for run in client.runs(experiment_id, **query)])
    if table not in ROWS:
        raise ValueError(f"there is no table '{table}'; there are {', '.join(sorted([*ROWS, 'metrics', 'runs']))}")
    include, rows_of = ROWS[table]
    robustness = client.robustness(experiment_id, include=include, **query)
    made = pandas.DataFrame(list(rows_of(robustness)))
    return _ordered(made) if table == "ranking" else made


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise MissingPackageError("tables need pandas: pip install 'actrobust[pandas]'") from None
    return pandas


def _ordered(ranking: "DataFrame") -> "DataFrame":
    first = [column for column in FIRST_COLUMNS if column in ranking]
    by_rank = ranking.sort_values(["rate", "rank"], ignore_index=True)
    return by_rank[[*first, *(column for column in ranking if column not in first)]]


def ranking_rows(robustness: Json) -> Iterator[Json]:
    """One row an activation and rate."""
    for activation in robustness.get("activations", []):
        shared = flat({key: value for key, value in activation.items() if key != "conditions"})
        for condition in activation.get("conditions") or [{}]:
            yield {**shared, **flat(condition)}


def _pair_rows(robustness: Json) -> Iterator[Json]:
    return (flat(pair) for pair in robustness.get("pairs", []))


def _curve_rows(robustness: Json) -> Iterator[Json]:
    for activation in robustness.get("activations", []):
        for point in activation.get("curve", []):
            yield {"activation": activation["activation"], **point}


def _score_rows(robustness: Json) -> Iterator[Json]:
    return iter(robustness.get("raw", []))


# What to include in the answer, and how its rows are found.
ROWS: dict[str, tuple[str | None, Any]] = {
    "ranking": (None, ranking_rows),
    "pairs": ("pairs", _pair_rows),
    "curves": ("curves", _curve_rows),
    "scores": ("raw", _score_rows),
}


def flat(document: Json, prefix: str = "") -> Json:
    """Members of members as columns of their own, `degradation_mean`; lists are left out."""
    row: Json = {}
    for key, value in document.items():
        if isinstance(value, dict):
            row.update(flat(value, f"{prefix}{key}_"))
        elif not isinstance(value, list):
            row[prefix + key] = value
    return row
