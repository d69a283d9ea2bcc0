"""Workers alone bring an experiment with a precision target to its end."""

from shared.settings import Settings
from shared.store.db import Database
from shared.store.states import ExperimentState, JobState
from tests.shared.specs import tiny_serial
from tests.shared.store.experiments import experiment, job, job_ids, post
from tests.worker.processes import measured, train


def test_seeds_are_trained_until_the_last_one(database: Database, settings: Settings) -> None:
    out_of_reach = {"ci_half_width": 1e-6, "max_seeds": 7}
    experiment_id = post(database, tiny_serial(until=out_of_reach))
    num_jobs = []
    while waiting := [each for each in job_ids(database, experiment_id) if job(database, each).state in OPEN]:
        num_jobs.append(len(waiting))
        train(settings, waiting[0])
    ended = experiment(database, experiment_id)
    assert (ended.state, ended.spec["num_seeds"], num_jobs) == (ExperimentState.SUCCEEDED, 7, [1, 1])
    fixed = post(database, tiny_serial(num_seeds=7))
    for job_id in job_ids(database, fixed):
        train(settings, job_id)
    assert measured(database, experiment_id) == measured(database, fixed)


OPEN = (JobState.PENDING, JobState.DISPATCHED)
