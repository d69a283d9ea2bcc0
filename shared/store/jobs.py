"""Jobs and runs as they come into the database: to be trained, or taken over from where they were trained before."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from shared.cells import Cells
from shared.plan import PlannedJob
from shared.spec import ExperimentSpec
from shared.store import events, reuse
from shared.store.reuse import Known
from shared.store.states import JobState, RunState
from shared.store.tables import Experiment, Job, Run
from shared.store.types import new_id


def add_jobs(session: Session, experiment: Experiment, spec: ExperimentSpec, planned: Sequence[PlannedJob]) -> None:
    """Write jobs with their runs. What the owner has trained before is taken over, unless the spec forbids it.

    The experiment's provenance names where that came from, and its progress begins with it.
    """
    cells = Cells(spec, owner=experiment.owner)
    names = [[cells.of(run) for run in job.runs] for job in planned]
    known = reuse.find(session, [cell for of_job in names for cell in of_job]) if spec.reuse else {}
    kinds = {activation.name: activation.kind for activation in spec.activations}
    # As plain rows: thousands of objects would take most of the time that a POST takes.
    jobs: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    for job, cells_of_job in zip(planned, names, strict=True):
        sources = reuse.alike([known.get(cell) for cell in cells_of_job])
        row = {
            "id": new_id(), "experiment_id": experiment.id, "activation": job.activation,
            "activation_kind": kinds[job.activation], **_beginning(spec, sources),
        }  # fmt: skip
        jobs.append(row)
        runs += [
            {
                "id": new_id(), "experiment_id": experiment.id, "job_id": row["id"], "position": run.position,
                "activation": run.activation, "rate": run.rate, "seed": run.seed, "cell": cell, **_results(source),
            }
            for run, cell, source in zip(job.runs, cells_of_job, sources, strict=True)
        ]  # fmt: skip
    session.execute(insert(Job), jobs)
    session.execute(insert(Run), runs)
    origins = {source.run_id: source.experiment_id for source in known.values()}
    _take_over(session, experiment, {run["id"]: origins[run["reused_from"]] for run in runs if run["reused_from"]})
    done = [job["id"] for job in jobs if job["state"] == JobState.SUCCEEDED]
    events.jobs_changed(session, experiment.id, done, JobState.SUCCEEDED)


def _beginning(spec: ExperimentSpec, sources: Sequence[Known | None]) -> dict[str, Any]:
    """How a job begins of whose runs these are known: over, or to be trained."""
    numerics = next((source.numerics for source in sources if source), None)
    # The rest is trained as what is there was: on the same kind of device, by the same engine.
    on_gpu = spec.training.device == "cuda" or (numerics is not None and numerics["device"] == "cuda")
    state, finished_at = (JobState.SUCCEEDED, datetime.now(UTC)) if all(sources) else (JobState.PENDING, None)
    return {"state": state, "finished_at": finished_at, "numerics": numerics, "device": "cuda" if on_gpu else "any"}


def num_reusable(session: Session, spec: ExperimentSpec, planned: Sequence[PlannedJob], *, owner: str) -> int:
    """How many of the planned runs were trained before and would be taken over."""
    if not spec.reuse:
        return 0
    cells = Cells(spec, owner=owner)
    num_known = reuse.num_known(session, [cells.of(run) for job in planned for run in job.runs])
    return min(num_known, reuse.MOST_ROWS // spec.training.epochs)


def _results(source: Known | None) -> dict[str, Any]:
    if source is None:
        return {"state": RunState.PENDING, "epoch": 0, "reused_from": None, **dict.fromkeys(reuse.FACTS)}
    return {"state": RunState.SUCCEEDED, "epoch": source.epoch, "reused_from": source.run_id, **source.facts}


def _take_over(session: Session, experiment: Experiment, origins: Mapping[str, str]) -> None:
    """Copy the metrics of the runs that were found; the experiments they come from are given by their ids."""
    if not origins:
        return
    reuse.copy_metrics(session, list(origins))
    experiment.epochs_before += len(origins) * experiment.num_epochs
    named = {*origins.values(), *experiment.provenance.get("reused_from", ())}
    experiment.provenance = {**experiment.provenance, "reused_from": sorted(named)}
