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

    items: Sequence[ItemT] = Field(description="The items of this page.")
    next_page_token: str = Field("", description="`page_token` of the next page; absent on the last one.")


class Progress(Document):
    """How far an experiment is. After a lost worker `epochs_done` may go back to the worker's last checkpoint."""

    runs_total: int = Field(description="Networks to train.")
    runs_finished: int = Field(description="Trained, diverged ones included.")
    runs_failed: int = Field(description="Ended by an error.")
    runs_reused: int = Field(description="Taken over from earlier experiments instead of trained; among the finished.")
    epochs_total: int = Field(description="Epochs of all networks.")
    epochs_done: int = Field(description="Those that are stored.")
    eta_s: float | None = Field(description="Estimated seconds left; null unless running.")


class Provenance(Document):
    """What the results came from: who planned it, and under `numerics` what the workers decided, each variant once."""

    model_config = ConfigDict(extra="allow")

    actrobust: str = Field("", description="Version of the service that planned the experiment.")
    python: str = Field("", description="Version of its Python.")
    preset: str | None = Field(None, description="The preset that the request named.")
    spec_sha256: str = Field("", description="Of the resolved spec without its name: equal for equal experiments.")
    reused_from: list[str] = Field(
        default_factory=list, description="The experiments that have trained what was taken over here."
    )
    numerics: list[dict[str, Any]] = Field(
        description="Engine, device and versions, as fixed at the jobs' first claim."
    )


class Experiment(Document):
    """One posted spec and everything that came of it."""

    id: str = Field(json_schema_extra={"format": "uuid"}, description="UUIDv7.")
    name: str = Field(description="For people.")
    state: ExperimentState = Field(description="Final are `succeeded`, `failed` and `cancelled`.")
    spec: ResolvedSpec = Field(description="The spec, resolved to its last default.")
    progress: Progress = Field(description="How far it is.")
    created_at: datetime = Field(description="When it was posted.")
    started_at: datetime | None = Field(description="When its first job was claimed.")
    finished_at: datetime | None = Field(description="When it reached a final state.")
    provenance: Provenance = Field(description="What the results came from.")
    error: str | None = Field(description="Why it failed.")


class Plan(Document):
    """What an experiment would cost; nothing was stored."""

    jobs: int = Field(description="Units of work that workers take.")
    runs: int = Field(description="Networks to train; with a precision target those of the first five seeds.")
    runs_reusable: int = Field(description="Of these, trained before: results that will be taken over.")
    runs_at_most: int = Field(0, description="With a precision target: networks if it needs all seeds; else absent.")
    epochs_total: int = Field(description="Epochs of all networks.")
    metric_rows: int = Field(description="Rows that `/metrics` will have.")
    estimated_training_flops: float = Field(description="Of all networks together.")
    estimated_memory_bytes: int = Field(description="Of one training process.")
    warnings: list[str] = Field(
        description="What is allowed and perhaps not meant, such as one function under two labels."
    )
    spec: ResolvedSpec = Field(description="The spec, resolved to its last default.")


class Numbers(Document):
    """What one run measured after one epoch. A number that is not finite is null beside its name in `nonfinite`."""

    train_loss: float | None = Field(description="In training mode, on the labels trained on, weighted by samples.")
    val_loss: float | None = Field(description="On the clean validation rows.")
    train_accuracy: float | None = Field(description="As `train_loss`; null for regression.")
    val_accuracy: float | None = Field(description="On the clean validation rows; null for regression.")
    val_loss_a: float | None = Field(description="On the half of the validation set that `best` selects by.")
    val_accuracy_a: float | None = Field(description="As `val_loss_a`; null for regression.")
    memorization: float | None = Field(description="Of the corrupted rows: 0 ignored the dirt, 1 memorised it.")
    recovery: float | None = Field(description="Share of the corrupted rows answered with their true label.")
    nonfinite: Literal["nan", "inf", "-inf"] | None = Field(description="What the null loss really was.")


class Run(Document):
    """One trained network."""

    run_id: str = Field(json_schema_extra={"format": "uuid"}, description="UUIDv7.")
    activation: str = Field(description="The activation's label.")
    rate: float = Field(description="Share of corrupted training rows asked for; 0 is clean.")
    seed: int = Field(description="Which trial, from 0.")
    state: RunState = Field(description="Of the job that trains it.")
    outcome: Outcome | None = Field(description="`diverged` when something was no longer finite; null before the end.")
    epoch: int = Field(description="Epochs done.")
    null_loss: float | None = Field(description="Validation loss of a network that learned nothing.")
    null_accuracy: float | None = Field(description="Its accuracy; null for regression.")
    realised_rate: float | None = Field(description="Share of training rows that really differ.")
    mask_hash: str | None = Field(description="SHA-256 of which rows are corrupted.")
    reused_from: str | None = Field(
        json_schema_extra={"format": "uuid"},
        description="The run of an earlier experiment that was taken over; null for one that was trained here.",
    )
    metrics: Numbers | None = Field(description="Of its latest epoch.")


class Experiments(Page[Experiment]):
    """A page of experiments."""


class Runs(Page[Run]):
    """A page of runs."""


class MetricsRow(Numbers):
    """One epoch of one run."""

    run_id: str = Field(json_schema_extra={"format": "uuid"}, description="UUIDv7.")
    activation: str = Field(description="The activation's label.")
    rate: float = Field(description="Share of corrupted training rows asked for; 0 is clean.")
    seed: int = Field(description="Which trial, from 0.")
    epoch: int = Field(ge=1, description="From 1.")


class Metrics(Page[MetricsRow]):
    """A page of per-epoch rows."""


class CatalogEntry(Document):
    """One thing that a spec may name."""

    kind: str = Field(description="What a spec names it by.")
    title: str = Field(description="What people call it.")
    formula: str = Field(description="What it does.")
    source: str = Field(description="Where it was published.")
    parameters: dict[str, Any] = Field(description="JSON Schema of the object that names it.")


class ActivationEntry(CatalogEntry):
    """An activation."""

    learnable: bool = Field(description="Whether it has parameters that are trained.")


class LossEntry(CatalogEntry):
    """A loss."""

    task: Task = Field(description="Which data sets it fits.")


class DatasetEntry(CatalogEntry):
    """A data set."""

    task: Task = Field(description="What its targets are.")
    inference_scope: Literal["fresh_data", "fixed_split"] = Field(
        description="What intervals over seeds speak about: new data, or training again on one split."
    )
    defaults: dict[str, Any] = Field(description="The other parts of a spec that names nothing but this data set.")


class CorruptionEntry(CatalogEntry):
    """A corruption."""

    fits: list[Task] = Field(description="Which data sets it fits.")


class PresetSummary(Document):
    """A named spec."""

    name: str = Field(description="What a request names it by.")
    title: str = Field(description="What people call it.")
    description: str = Field(description="What it trains, and how long that takes.")
    source: str = Field(description="Where the setting comes from.")


class Preset(PresetSummary):
    """A named spec: what it says, and what that resolves to."""

    spec: dict[str, Any] = Field(description="What it says; the rest comes from the data set.")
    resolved_spec: ResolvedSpec = Field(description="What that comes to with every default.")


class Presets(Document):
    """All presets."""

    items: list[PresetSummary] = Field(description="All presets.")


class Catalog(Document):
    """Everything that a spec may name."""

    activations: list[ActivationEntry] = Field(description="The functions that are compared.")
    datasets: list[DatasetEntry] = Field(description="What is learned.")
    corruptions: list[CorruptionEntry] = Field(description="Kinds of dirt.")
    architectures: list[CatalogEntry] = Field(description="The networks.")
    optimizers: list[CatalogEntry] = Field(description="Update rules.")
    schedules: list[CatalogEntry] = Field(description="Factors on the learning rate.")
    losses: list[LossEntry] = Field(description="What training minimises.")
    presets: list[PresetSummary] = Field(description="Named specs.")


class WorkerJob(Document):
    """What a worker trains."""

    id: str = Field(json_schema_extra={"format": "uuid"}, description="UUIDv7.")
    experiment_id: str = Field(json_schema_extra={"format": "uuid"}, description="UUIDv7.")
    activation: str = Field(description="The activation's label.")


class Worker(Document):
    """A training process that is alive."""

    id: str = Field(description="Tells workers apart; it changes when one is started again.")
    device: str = Field(description="`cpu`, or `cuda`: also takes the jobs that ask for a GPU.")
    slots: int = Field(description="Jobs that it trains at a time.")
    started_at: datetime = Field(description="When it said hello.")
    heartbeat_at: datetime = Field(description="When it was last heard of.")
    state: Literal["busy", "idle"] = Field(description="Whether it trains.")
    job: WorkerJob | None = Field(description="What it trains; null when that is nothing, or another owner's.")


class Workers(Document):
    """All workers that are alive."""

    items: list[Worker] = Field(description="Those heard of lately.")


class Alive(Document):
    """The process answers."""

    status: Literal["ok"] = Field("ok", description="Nothing else is ever answered.")


class Readiness(Document):
    """Whether experiments are taken, and whether they start at once."""

    status: Literal["ok", "degraded"] = Field(description="`degraded` still takes experiments.")
    reason: str = Field("", description="What is away or wrong, joined by semicolons; absent when nothing is.")


class Fault(Document):
    """One thing that is wrong with the input."""

    pointer: str = Field("", description="JSON pointer (RFC 6901) into the body.")
    parameter: str = Field("", description="Name of the query parameter or header.")
    detail: str = Field(description="What is wrong, and what is allowed.")
    type: str = Field(description="The kind of fault, for programs.")


class Problem(Document):
    """An error (RFC 9457), sent as `application/problem+json`."""

    type: str = Field(json_schema_extra={"format": "uri-reference"}, description="Names the kind of problem.")
    title: str = Field(description="The kind of problem, for people.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened to this request.")
    instance: str = Field(json_schema_extra={"format": "uri-reference"}, description="The path that was asked for.")
    request_id: str | None = Field(description="Also in the header `X-Request-ID` and in the log.")
    errors: list[Fault] = Field([], description="For invalid input: everything that is wrong with it.")
