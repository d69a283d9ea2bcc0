"""Jobs and runs as they come into the database: to be trained, or taken over from where they were trained before."""

from collections.abc import Iterable, Sequence
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
    device = "cuda" if spec.training.device == "cuda" else "any"
    jobs: list[dict[str, Any]] = []
    # As plain rows: thousands of objects would take most of the time that a POST takes.
    runs: list[dict[str, Any]] = []
    for job, cells_of_job in zip(planned, names, strict=True):
        taken = reuse.alike([known.get(cell) for cell in cells_of_job])
        numerics = next((source.numerics for source in taken if source), None)
        row = {
            "id": new_id(), "experiment_id": experiment.id, "activation": job.activation,
            "activation_kind": kinds[job.activation],
            "state": JobState.SUCCEEDED if all(taken) else JobState.PENDING,
            "finished_at": experiment.created_at if all(taken) else None,
            # The rest is trained as what is there was: on the same kind of device, by the same engine.
            "numerics": numerics, "device": "cuda" if numerics and numerics["device"] == "cuda" else device,
        }  # fmt: skip
        jobs.append(row)
        runs += [
            {
                "id": new_id(), "experiment_id": experiment.id, "job_id": row["id"], "position": run.position,
                "activation": run.activation, "rate": run.rate, "seed": run.seed, "cell": cell, **_results(source),
            }
            for run, cell, source in zip(job.runs, cells_of_job, taken, strict=True)
        ]  # fmt: skip
    session.execute(insert(Job), jobs)
    session.execute(insert(Run), runs)
    sources = {source.run_id: source for source in known.values()}
    _note_reuse(session, experiment, [(run, sources[run["reused_from"]]) for run in runs if run["reused_from"]])
    events.jobs_changed(
        session, experiment.id, (job["id"] for job in jobs if job["state"] == JobState.SUCCEEDED), JobState.SUCCEEDED
    )


def _results(source: Known | None) -> dict[str, Any]:
    if source is None:
        return {"state": RunState.PENDING, "epoch": 0, "reused_from": None, **dict.fromkeys(reuse.FACTS)}
    return {"state": RunState.SUCCEEDED, "epoch": source.epoch, "reused_from": source.run_id, **source.facts}


def _note_reuse(session: Session, experiment: Experiment, taken: Iterable[tuple[dict[str, Any], Known]]) -> None:
    taken = list(taken)
    if not taken:
        return
    reuse.copy_metrics(session, [run["id"] for run, _ in taken])
    experiment.epochs_before += len(taken) * experiment.num_epochs
    origins = {source.experiment_id for _, source in taken} | set(experiment.provenance.get("reused_from", ()))
    experiment.provenance = {**experiment.provenance, "reused_from": sorted(origins)}
