"""Experiments as JSON. What is written of one that stands still is kept, and not written again until it moves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api import schemas, service
from api.answers import AnswerCache
from api.conditional import weak_tag
from shared.store import repository, settled
from shared.store.db import Database
from shared.store.settled import Listed


@dataclass(frozen=True)
class Tagged:
    """A document and its entity tag."""

    body: bytes
    tag: str


def of_one(database: Database, answers: AnswerCache, experiment_id: str, *, owner: str) -> Tagged:
    """One experiment.

    Raises: NotFoundError.
    """
    with database.look() as session:
        mark = settled.mark_of(session, experiment_id, owner=owner)
    body = answers.get(_kept_under(mark)) if mark else None
    if mark and body is not None:
        return Tagged(body, _kept_under(mark))
    with database.read() as session:
        experiment = repository.get_experiment(session, experiment_id, owner=owner)
        [document] = service.experiment_documents(session, [experiment])
    return _written(answers, document, settled.mark_on(experiment))


def of_several(session: Session, answers: AnswerCache, listed: Sequence[Listed]) -> Iterator[bytes]:
    """The experiments of a listing, in its order; those that are not known by heart are read together."""
    known = {each.id: answers.get(_kept_under(each.mark)) if each.mark else None for each in listed}
    missing = [experiment_id for experiment_id, body in known.items() if body is None]
    if missing:
        marks = {each.id: each.mark for each in listed}
        for document in service.experiment_documents(session, repository.get_experiments(session, missing)):
            known[document.id] = _written(answers, document, marks[document.id]).body
    return (body for body in known.values() if body is not None)


def _written(answers: AnswerCache, document: schemas.Experiment, mark: str | None) -> Tagged:
    body = document.model_dump_json().encode()
    if mark is None:
        # The time left passes without anything having happened.
        return Tagged(body, weak_tag(document.model_dump_json(exclude={"progress": {"eta_s"}})))
    answers.put(_kept_under(mark), body)
    return Tagged(body, _kept_under(mark))


def _kept_under(mark: str) -> str:
    return weak_tag("experiment", service.version(), mark)
