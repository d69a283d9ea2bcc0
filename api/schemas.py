"""The documents that the API answers with. What is written here is the OpenAPI contract."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from shared.catalog.base import Task
from shared.spec import ExperimentSpec
from shared.store.states import ExperimentState, Outcome, RunState

ItemT = TypeVar("ItemT")


class _SpecInOpenApi:
    """Specs are answered as they were stored, under whichever version that was; OpenAPI describes today's."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(ExperimentSpec.__pydantic_core_schema__)


ResolvedSpec = Annotated[dict[str, Any], _SpecInOpenApi]


class Document(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(ser_json_inf_nan="null")


class Page(Document, Generic[ItemT]):
    """Part of a listing; the token is absent on the last page."""

    items: Sequence[ItemT]
    next_page_token: str = Field("", description="`page_token` of the next page; absent on the last one.")


class Progress(Document):
    """How far an experiment is. After a lost worker `epochs_done` may go back to the worker's last checkpoint."""

    runs_total: int
    runs_finished: int
    runs_failed: int
    epochs_total: int
    epochs_done: int
    eta_s: float | None = Field(description="Estimated seconds left; null unless running.")


class Provenance(Document):
    """What the results came from: who planned it, and under `numerics` what the workers decided, each variant once."""

    model_config = ConfigDict(extra="allow")

    actrobust: str = Field("", description="Version of the service that planned the experiment.")
    python: str = Field("", description="Version of its Python.")
    preset: str | None = Field(None, description="The preset that the request named.")
    spec_sha256: str = Field("", description="Of the resolved spec without its name: equal for equal experiments.")
    numerics: list[dict[str, Any]] = Field(
        description="Engine, device and versions, as fixed at the jobs' first claim."
    )


class Experiment(Document):
    """One posted spec and everything that came of it."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    name: str
    state: ExperimentState
    spec: ResolvedSpec
    progress: Progress
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    provenance: Provenance
    error: str | None = Field(description="Why it failed.")


class Plan(Document):
    """What an experiment would cost; nothing was stored."""

    jobs: int
    runs: int
    epochs_total: int
    metric_rows: int
    estimated_training_flops: float
    estimated_memory_bytes: int = Field(description="Of one training process.")
    warnings: list[str] = Field(
        description="What is allowed and perhaps not meant, such as one function under two labels."
    )
    spec: ResolvedSpec


class Numbers(Document):
    """What one run measured after one epoch. A number that is not finite is null beside its name in `nonfinite`."""

    train_loss: float | None = Field(description="In training mode, on the labels trained on, weighted by samples.")
    val_loss: float | None
    train_accuracy: float | None
    val_accuracy: float | None
    val_loss_a: float | None = Field(description="On the half of the validation set that `best` selects by.")
    val_accuracy_a: float | None
    memorization: float | None = Field(description="Of the corrupted rows: 0 ignored the dirt, 1 memorised it.")
    recovery: float | None = Field(description="Share of the corrupted rows answered with their true label.")
    nonfinite: Literal["nan", "inf", "-inf"] | None


class Run(Document):
    """One trained network."""

    run_id: str = Field(json_schema_extra={"format": "uuid"})
    activation: str = Field(description="The activation's label.")
    rate: float = Field(description="Share of corrupted training rows asked for; 0 is clean.")
    seed: int
    state: RunState
    outcome: Outcome | None
    epoch: int = Field(description="Epochs done.")
    null_loss: float | None = Field(description="Validation loss of a network that learned nothing.")
    null_accuracy: float | None
    realised_rate: float | None = Field(description="Share of training rows that really differ.")
    mask_hash: str | None = Field(description="SHA-256 of which rows are corrupted.")
    metrics: Numbers | None = Field(description="Of its latest epoch.")


class Experiments(Page[Experiment]):
    """A page of experiments."""


class Runs(Page[Run]):
    """A page of runs."""


class MetricsRow(Numbers):
    """One epoch of one run."""

    run_id: str = Field(json_schema_extra={"format": "uuid"})
    activation: str = Field(description="The activation's label.")
    rate: float
    seed: int
    epoch: int = Field(ge=1)


class Metrics(Page[MetricsRow]):
    """A page of per-epoch rows."""


class CatalogEntry(Document):
    """One thing that a spec may name."""

    kind: str
    title: str
    formula: str
    source: str
    parameters: dict[str, Any] = Field(description="JSON Schema of the object that names it.")


class ActivationEntry(CatalogEntry):
    """An activation."""

    learnable: bool = Field(description="Whether it has parameters that are trained.")


class LossEntry(CatalogEntry):
    """A loss."""

    task: Task


class DatasetEntry(CatalogEntry):
    """A data set."""

    task: Task
    inference_scope: Literal["fresh_data", "fixed_split"]
    defaults: dict[str, Any] = Field(description="The other parts of a spec that names nothing but this data set.")


class CorruptionEntry(CatalogEntry):
    """A corruption."""

    fits: list[Task]


class PresetSummary(Document):
    """A named spec."""

    name: str
    title: str
    description: str
    source: str


class Preset(PresetSummary):
    """A named spec: what it says, and what that resolves to."""

    spec: dict[str, Any]
    resolved_spec: ResolvedSpec


class Presets(Document):
    """All presets."""

    items: list[PresetSummary]


class Catalog(Document):
    """Everything that a spec may name."""

    activations: list[ActivationEntry]
    datasets: list[DatasetEntry]
    corruptions: list[CorruptionEntry]
    architectures: list[CatalogEntry]
    optimizers: list[CatalogEntry]
    schedules: list[CatalogEntry]
    losses: list[LossEntry]
    presets: list[PresetSummary]


class WorkerJob(Document):
    """What a worker trains."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    experiment_id: str = Field(json_schema_extra={"format": "uuid"})
    activation: str = Field(description="The activation's label.")


class Worker(Document):
    """A training process that is alive."""

    id: str = Field(description="Tells workers apart; it changes when one is started again.")
    device: str = Field(description="`cpu`, or `cuda`: also takes the jobs that ask for a GPU.")
    slots: int = Field(description="Jobs that it trains at a time.")
    started_at: datetime
    heartbeat_at: datetime = Field(description="When it was last heard of.")
    state: Literal["busy", "idle"]
    job: WorkerJob | None = Field(description="What it trains; null when that is nothing, or another owner's.")


class Workers(Document):
    """All workers that are alive."""

    items: list[Worker]


class Alive(Document):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Document):
    """Whether experiments are taken, and whether they start at once."""

    status: Literal["ok", "degraded"]
    reason: str = Field("", description="What is away or wrong, joined by semicolons; absent when nothing is.")


class Fault(Document):
    """One thing that is wrong with the input."""

    pointer: str = Field("", description="JSON pointer (RFC 6901) into the body.")
    parameter: str = Field("", description="Name of the query parameter or header.")
    detail: str
    type: str


class Problem(Document):
    """An error (RFC 9457), sent as `application/problem+json`."""

    type: str = Field(json_schema_extra={"format": "uri-reference"})
    title: str
    status: int
    detail: str
    instance: str = Field(json_schema_extra={"format": "uri-reference"})
    request_id: str | None = Field(description="Also in the header `X-Request-ID` and in the log.")
    errors: list[Fault] = Field([], description="For invalid input: everything that is wrong with it.")
