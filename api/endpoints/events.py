"""What happens to an experiment, while it happens."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.concurrency import run_in_threadpool

from api import examples
from api.auth import Owner
from api.deps import ExperimentId, NoParameters, Parts, TheParts
from api.event_batches import position_of
from api.openapi import problems
from api.streams import EventStream
from shared.store import repository
from shared.store.event_log import EventKind

router = APIRouter(prefix="/experiments/{experiment_id}", tags=["experiments"])

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID", pattern=r"^[0-9]{1,18}-[0-9]{1,9}$",
        description="The id of the last event that came through; the stream goes on behind it.",
    ),
]  # fmt: skip
# Of one event, as those who read such streams give it: the text itself has no schema.
EVENT_SCHEMA = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "Where to go on: the next `Last-Event-ID`."},
        "event": {"type": "string", "enum": [kind.value for kind in EventKind], "description": "What it tells of."},
        "data": {"type": "string", "description": "A JSON object with the fields that its kind has."},
    },
}


@router.get(
    "/events", status_code=200, summary="Follow an experiment", response_class=EventStream, dependencies=[NoParameters],
    responses={
        200: {
            "description": "Events as they happen, each once it is stored.",
            "content": {"text/event-stream": {"schema": EVENT_SCHEMA, "example": examples.EVENTS}},
        },
        **problems(404, 422),
    },
)  # fmt: skip
async def stream_events(
    parts: TheParts, owner: Owner, experiment_id: ExperimentId, last_event_id: LastEventId = None
) -> EventStream:
    """Server-sent events: everything that happened so far, then what happens, until the experiment has ended.

    - `experiment.state`: `state`, `error`.
    - `job.state`: `job_id`, `activation`, `state`, `error`; a job waits (`pending`) until it is `running`.
    - `run.epoch`: `run_id`, `activation` (its label), `rate`, `seed`, `epoch`, `train_loss`, `val_loss`,
      `train_accuracy`, `val_accuracy`, `nonfinite`. Runs that were taken over tell nothing; `/metrics` has theirs, too.
    - `done`: `state`; the stream ends with it. One that ends without it goes on with `Last-Event-ID`.

    After a lost worker the epochs since its last checkpoint are told again; the later one counts. A day after the end
    only the state and `done` are left; `/metrics` keeps all numbers. Lines that begin with a colon are heartbeats.
    """
    await run_in_threadpool(_require_experiment, parts, experiment_id, owner)
    # Nothing is waited for between this and the moment when the stream takes its place.
    parts.streams.require_place(owner)
    return EventStream(parts.streams, owner, experiment_id, position_of(last_event_id))


def _require_experiment(parts: Parts, experiment_id: str, owner: str) -> None:
    with parts.database.read() as session:
        repository.get_experiment(session, experiment_id, owner=owner)
