"""Whether experiments with a precision target need more seeds: looked at whenever all they have are trained."""

import structlog

from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.store import growth
from shared.store.db import Database

log = structlog.get_logger(__name__)


def decide_all(database: Database, settings: Settings) -> None:  # noqa: ARG001 (the signature of a duty)
    """Decide on all experiments that wait for it: the process that should have done so may have died."""
    with database.read() as session:
        waiting = growth.undecided(session)
    for experiment_id in waiting:
        try:
            _decide(database, experiment_id)
        except Exception as error:  # noqa: BLE001 (it keeps nobody else waiting, and the next sweep tries again)
            log.warning("not decided", experiment=experiment_id, error=f"{type(error).__name__}: {error}")


def decide_after(database: Database, job_id: str) -> None:
    """Decide on the experiment of a job that has just ended, if that was its last one."""
    with database.look() as session:
        experiment_id = growth.undecided_of_job(session, job_id)
    if experiment_id is not None:
        _decide(database, experiment_id)


def _decide(database: Database, experiment_id: str) -> None:
    """Look, and add seeds or end it; again at once where the new seeds were trained before.

    Two that decide at once see the same and want the same: the second one finds it done.
    """
    # Loads SciPy, which most who ask whether something waits will never need.
    from shared.evidence.precision import precision_of

    while True:
        with database.read() as session:
            experiment = growth.find_undecided(session, experiment_id)
            if experiment is None:
                return
            spec = ExperimentSpec.model_validate(experiment.spec)
            found, num_seeds = precision_of(session, experiment), spec.num_seeds
            more = None if found.reached else spec.next_look(num_seeds)
        with database.write() as session:
            if more is None:
                decided = growth.settle(session, experiment_id, num_seeds=num_seeds)
            else:
                decided = growth.add_seeds(session, experiment_id, num_seeds=num_seeds, more=more)
        if decided:
            log.info(
                "seeds suffice" if more is None else "seeds added", experiment=experiment_id, seeds=more or num_seeds,
                half_width=found.half_width, target=found.target,
            )  # fmt: skip
