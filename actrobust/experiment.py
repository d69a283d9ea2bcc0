"""The handle of one experiment."""

import sys
from typing import TYPE_CHECKING, Self

from actrobust.chart import Chart
from actrobust.errors import ExperimentFailedError, WaitTimeoutError
from actrobust.following import FINAL_STATES, follow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas import DataFrame

    from actrobust.client import Client, Json, Query
    from actrobust.progress import Snapshot
    from actrobust.tables import TableName


class Experiment:
    """One experiment of a service. What it says of itself is as of the last look: `refresh` takes another.

    Attributes:
        document: everything that `GET /experiments/{id}` answered.
    """

    def __init__(self, client: "Client", document: "Json") -> None:
        self._client = client
        self.document = document

    def __repr__(self) -> str:
        return f"<Experiment {self.id} '{self.name}': {self.state}>"

    @property
    def id(self) -> str:
        """Its id, by which `Client.experiment` finds it again."""
        return str(self.document["id"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.document.get("name") or "")

    @property
    def state(self) -> str:
        """`queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`."""
        return str(self.document["state"])

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen unless it is resumed."""
        return self.state in FINAL_STATES

    @property
    def spec(self) -> "Json":
        """The spec, resolved to its last default."""
        return dict(self.document.get("spec") or {})

    @property
    def progress(self) -> "Json":
        """How many runs and epochs are done, and the seconds left."""
        return dict(self.document.get("progress") or {})

    def refresh(self) -> Self:
        """Look again."""
        self.document = self._client.get_experiment(self.id)
        return self

    def wait(self, *, timeout_s: float | None = None, progress: bool = True) -> Self:
        """Wait until it has ended, well or not.

        Args:
            progress: show how far it is: bars in a terminal or a notebook, else a line now and then on stderr.
        Raises: WaitTimeoutError: it goes on.
        """
        from actrobust.progress import best_display, no_display

        try:
            self.document = follow(self._look, best_display() if progress else no_display(), timeout_s=timeout_s)
        except KeyboardInterrupt:
            sys.stderr.write(f"\nno longer waiting: {self._client.how_to_go_on(self.id)}\n")
            raise
        if not self.finished:
            raise WaitTimeoutError(
                self, f"{self.id} is {self.state} after {timeout_s:g} s; {self._client.how_to_go_on(self.id)}"
            )
        return self

    def _look(self) -> "tuple[Json, Snapshot]":
        from actrobust.progress import snapshot

        experiment = self._client.get_experiment(self.id)
        return experiment, snapshot(experiment, self._client.runs(self.id))

    def raise_unless_succeeded(self) -> None:
        """Raises: ExperimentFailedError: it failed or was cancelled, as of the last look."""
        if self.state == "failed":
            why = self.document.get("error") or "no reason given"
            raise ExperimentFailedError(self, f"experiment {self.id} failed: {why}; its resume() goes on")
        if self.state in {"cancelled", "cancelling"}:
            raise ExperimentFailedError(self, f"experiment {self.id} was cancelled; its resume() goes on")

    def robustness(self, **query: "Query") -> "Json":
        """The comparison; `query` may hold `metric`, `score`, `rate`, `include`."""
        return self._client.robustness(self.id, **query)

    def metrics(self, **query: "Query") -> "Iterator[Json]":
        """Per-epoch rows; `query` may hold `activation`, `rate`, `seed`, `epoch_from`, `epoch_to`."""
        return self._client.metrics(self.id, **query)

    def runs(self, **query: "Query") -> "Iterator[Json]":
        """One row a trained network."""
        return self._client.runs(self.id, **query)

    def to_pandas(self, table: "TableName" = "ranking", **query: "Query") -> "DataFrame":
        """A table of results, one row an observation.

        Args:
            table: `ranking`: an activation at a rate; `pairs`: two activations; `curves`: an epoch of an activation at
                a rate; `scores`: a seed of an activation at a rate; `metrics`: an epoch of a run; `runs`: a run.
            query: as for `robustness`, for `metrics` or for `runs`.
        Raises: MissingPackageError: pandas is not installed.
        """
        from actrobust.tables import frame

        return frame(self._client, self.id, table, query)

    def chart(self, view: str = "degradation", **query: "Query") -> Chart:
        """A picture of the comparison, which shows itself in a notebook; `query` may hold `metric`, `score`, `rate`.

        Args:
            view: `degradation`, `curves`, `sweep`, `pairs` or `forest`.
        """
        return Chart(self._client, self.id, view, query)

    def cancel(self) -> Self:
        """Ask it to stop; what it has measured stays."""
        self.document = self._client.cancel(self.id)
        return self

    def resume(self) -> Self:
        """Queue what is unfinished again, from its checkpoints."""
        self.document = self._client.resume(self.id)
        return self

    def delete(self) -> None:
        """Delete it with everything that came of it; it must have ended."""
        self._client.delete(self.id)
