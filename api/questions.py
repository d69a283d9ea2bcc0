"""A question about an experiment's comparison: checked, tagged with all that its answer depends on, and answered once.

What was answered is kept until the experiment changes; several that ask at once wait for one answer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi.requests import Request
from fastapi.responses import Response
from pydantic_core import to_json
from sqlalchemy.orm import Session

from api import conditional, service
from api.deps import Parts
from shared.catalog.datasets import DATASETS
from shared.errors import InvalidParameterError
from shared.evidence import comparison
from shared.plan import num_runs_of
from shared.store import repository, settled
from shared.store.tables import Experiment

MOST_CURVE_POINTS = 100_000
MOST_PAIRS = 20_000
# Epochs of all runs.
QUICK_ROWS = 2_000


@dataclass(frozen=True)
class Wanted:
    """What a caller asks for; None and nothing stand for what the spec says, and for all rates."""

    metric: str | None
    score: str | None
    rates: tuple[float, ...]
    include: frozenset[str]


@dataclass(frozen=True)
class Asked:
    """A checked question about an experiment."""

    experiment: Experiment
    query: comparison.RobustnessQuery

    @property
    def is_quick(self) -> bool:
        """Whether the comparison takes no longer than waiting for a turn would."""
        return num_runs_of(self.experiment.spec) * self.experiment.num_epochs <= QUICK_ROWS


@dataclass(frozen=True)
class Form:
    """How an answer is written; `make` turns the comparison's JSON into it."""

    name: str
    media_type: str
    make: Callable[[bytes], bytes]


AS_JSON = Form("json", "application/json", lambda document: document)


@dataclass(frozen=True)
class Question:
    """Who asks what of which experiment."""

    experiment_id: str
    owner: str
    wanted: Wanted

    def answer(self, request: Request, parts: Parts, form: Form) -> Response:
        """The answer in some form; 304 to a caller who has it already.

        Raises: NotFoundError; InvalidParameterError: the experiment has nothing like that.
        """
        tag = self._tag(parts, form)
        unchanged = conditional.not_modified(request, tag)
        if unchanged is not None:
            return unchanged
        body = parts.answers.get(tag) or self._made_at_once(parts, form)
        if body is None:
            # Meanwhile another request may have made it, or the experiment may have gone on.
            with parts.answers.turn(self.owner):
                tag = self._tag(parts, form)
                body = parts.answers.get(tag) or self._made(parts, form)
        parts.answers.put(tag, body)
        return Response(body, headers=conditional.headers_for(tag), media_type=form.media_type)

    def _made_at_once(self, parts: Parts, form: Form) -> bytes | None:
        if form is not AS_JSON:
            return None
        with parts.database.read() as session:
            asked = self._asked(session)
            return _document(session, asked) if asked.is_quick else None

    def _made(self, parts: Parts, form: Form) -> bytes:
        with parts.database.read() as session:
            document = _document(session, self._asked(session))
        # Drawing takes seconds, in which a database should not have to keep an old state for us.
        return form.make(document)

    def _tag(self, parts: Parts, form: Form) -> str:
        wanted = self.wanted
        asked_for = wanted.metric, wanted.score, sorted(wanted.rates), sorted(wanted.include), form.name
        with parts.database.look() as session:
            mark = settled.mark_of(session, self.experiment_id, owner=self.owner)
        if mark is not None:
            return conditional.weak_tag(service.version(), mark, asked_for)
        with parts.database.read() as session:
            experiment = self._asked(session).experiment
            progress = repository.progress_of(session, [experiment]).get(experiment.id)
            num_described = repository.num_described_runs(session, experiment.id)
            claims = repository.num_claims(session, experiment.id)
        return conditional.weak_tag(
            service.version(), experiment.id, experiment.state, progress, claims, num_described, asked_for
        )

    def _asked(self, session: Session) -> Asked:
        experiment = repository.get_experiment(session, self.experiment_id, owner=self.owner)
        return Asked(experiment, _checked(self.wanted, experiment.spec))


def _document(session: Session, asked: Asked) -> bytes:
    # Not validated again, which would take as long as the curves do; tests hold the answer to its schema.
    return to_json(comparison.robustness_document(session, asked.experiment, asked.query), inf_nan_mode="null")


def _checked(wanted: Wanted, spec: dict[str, Any]) -> comparison.RobustnessQuery:
    metric, score = wanted.metric or spec["metric"], wanted.score or spec["score"]
    if metric == "accuracy" and DATASETS[spec["dataset"]["kind"]].task == "regression":
        raise InvalidParameterError("metric", "a regression data set has no accuracy; use 'loss'", "misfit")
    epochs = spec["training"]["epochs"]
    if score.startswith("epoch:") and int(score.removeprefix("epoch:")) > epochs:
        raise InvalidParameterError("score", f"there are only {epochs} epochs", "misfit")
    rates = spec["corruption"]["rates"]
    if not set(wanted.rates) <= set(rates):
        known = ", ".join(str(rate) for rate in sorted(rates))
        raise InvalidParameterError("rate", f"the experiment has no such rate of dirt; its rates are {known}", "misfit")
    chosen = tuple(sorted(set(wanted.rates) or set(rates)))
    _check_size(wanted.include, num_activations=len(spec["activations"]), num_rates=len(chosen), num_epochs=epochs)
    return comparison.RobustnessQuery(metric, score, chosen, wanted.include)


def _check_size(include: Iterable[str], *, num_activations: int, num_rates: int, num_epochs: int) -> None:
    num_points = num_activations * num_rates * num_epochs
    # Degradation and dirty score at each rate, and the area under the degradation.
    num_pairs = num_activations * (num_activations - 1) // 2 * (2 * num_rates + 1)
    sizes = (
        ("curves", num_points, MOST_CURVE_POINTS, "these curves have {} points"),
        ("pairs", num_pairs, MOST_PAIRS, "these are {} comparisons of pairs"),
    )
    for part, size, most, said in sizes:
        if part in include and size > most:
            detail = f"{said.format(size)}, at most {most} are sent; ask for one 'rate' each"
            raise InvalidParameterError("include", detail, "too_large")
