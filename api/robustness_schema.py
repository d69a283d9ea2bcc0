"""The document that `/robustness` answers with. Optional parts are absent unless asked for."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api.schemas import Document
from shared.store.states import ExperimentState


class Open(Document):
    """A part that other statistics may join."""

    model_config = ConfigDict(extra="allow")


class Metric(Document):
    """What is compared."""

    name: Literal["loss", "accuracy"]
    unit: str
    better: Literal["lower", "higher"]


class MarginUsed(Document):
    """The degradation that is called too small to matter, in the metric's own unit."""

    value: float | None
    declared: bool = Field(description="Whether the spec said so; else it is the default.")


class Mean(Document):
    """A mean on its own."""

    mean: float | None


class Summary(Document):
    """Mean and standard deviation over seeds, in the metric's own unit."""

    mean: float | None
    sd: float | None
    n: int


class Degradation(Open):
    """Dirty against clean, paired by seed; positive means that dirt did harm. The interval is Student's t."""

    mean: float | None
    sd: float | None
    ci_low: float | None
    ci_high: float | None


class Condition(Open):
    """One activation at one rate."""

    rate: float
    dirty: Summary
    pairing_correlation: float | None = Field(description="Of clean and dirty scores over seeds.")
    degradation: Degradation


class CurvePoint(Open):
    """One epoch of one rate; means over seeds."""

    rate: float
    epoch: int
    clean: float | None
    dirty: float | None
    degradation: float | None
    ci_low: float | None
    ci_high: float | None


class ComparedActivation(Open):
    """One activation."""

    activation: str
    rank: float | None = Field(description="1 suffers least; null before the end.")
    clean: Summary
    conditions: list[Condition]
    curve: list[CurvePoint] = Field([], description="With `include=curves`.")


class SeedScore(Document):
    """The scores of one seed, in the metric's own unit."""

    activation: str
    rate: float
    seed: int
    clean: float | None
    dirty: float | None


class RunKey(Document):
    """Which run."""

    activation: str
    rate: float
    seed: int


class Robustness(Open):
    """The comparison of all activations, clean against dirty."""

    experiment_id: str = Field(json_schema_extra={"format": "uuid"})
    state: ExperimentState
    complete: bool = Field(description="Whether every run has finished; before that there are no ranks.")
    inference_scope: Literal["fresh_data", "resampled_split", "fixed_split"] = Field(
        description="`fixed_split`: the intervals describe retraining, not new data; `resampled_split`: the splits of "
        "a finite set overlap."
    )
    exploratory: bool = Field(False, description="Metric or score are not those that the spec declared.")
    metric: Metric
    score: str
    epoch: int | None = Field(description="The epoch of the score; null where each run has its own.")
    num_seeds: int
    margin: MarginUsed
    confidence: float
    null_score: Mean = Field(description="Of a network that learned nothing.")
    activations: list[ComparedActivation]
    pairs: list[dict[str, Any]] = Field([], description="With `include=pairs`.")
    raw: list[SeedScore] = Field([], description="With `include=raw`.")
    diverged: list[RunKey] = Field(description="Runs that ended because something was no longer finite.")
    missing_pairs: list[RunKey] = Field(description="Dirty runs without a complete clean partner, or incomplete.")
    warnings: list[str]
