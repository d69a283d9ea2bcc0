"""The document that `/robustness` answers with. Optional parts are absent unless asked for."""

from typing import Literal

from pydantic import Field

from api.schemas import Document
from shared.analysis.verdicts import Verdict
from shared.store.states import ExperimentState


class Metric(Document):
    """What is compared."""

    name: Literal["loss", "accuracy"] = Field(description="Which validation metric.")
    unit: str = Field(description="What a value of 1 means.")
    better: Literal["lower", "higher"] = Field(description="Which direction is good.")


class MarginUsed(Document):
    """The degradation that is called too small to matter, in the metric's own unit."""

    value: float | None = Field(description="Null where none can be known yet.")
    declared: bool = Field(description="Whether the spec said so; else it is the default.")


class Mean(Document):
    """A mean on its own."""

    mean: float | None = Field(description="Over seeds.")


class Summary(Document):
    """Mean and standard deviation over seeds, in the metric's own unit."""

    mean: float | None = Field(description="Over seeds.")
    sd: float | None = Field(description="Over seeds; null for fewer than two.")
    n: int = Field(description="Number of seeds.")


class Interval(Document):
    """A value with its interval; null where it cannot be known."""

    value: float | None = Field(description="Best estimate.")
    ci_low: float | None = Field(description="Lower end.")
    ci_high: float | None = Field(description="Upper end.")


class MeanInterval(Document):
    """A mean over seeds with Student's t interval."""

    mean: float | None = Field(description="Over seeds.")
    ci_low: float | None = Field(description="Lower end.")
    ci_high: float | None = Field(description="Upper end.")


class Degradation(Document):
    """Dirty against clean, paired by seed; positive means that dirt did harm. The interval is Student's t."""

    mean: float | None = Field(description="Over the pairs.")
    sd: float | None = Field(description="Over the pairs.")
    n: int = Field(description="Number of pairs, clean and dirty of one seed, that are complete.")
    iqm: float | None = Field(description="Interquartile mean.")
    ci_low: float | None = Field(description="Lower end of the interval of the mean.")
    ci_high: float | None = Field(description="Upper end of the interval of the mean.")
    p_value: float | None = Field(description="Two-sided, by the sign-flip test; null before the end.")
    effect_size: float | None = Field(description="Hedges' g.")


class BestLastGap(Document):
    """What training on after the best epoch cost, on the half of the validation set that does not select it."""

    clean: float | None = Field(description="Of the clean runs.")
    dirty: float | None = Field(description="Of the dirty runs.")


class Condition(Document):
    """One activation at one rate. Numbers that do not exist are null, p values and verdict before the end too."""

    rate: float = Field(description="Share of corrupted training rows.")
    dirty: Summary = Field(description="Scores after training on dirty rows.")
    pairing_correlation: float | None = Field(description="Of clean and dirty scores over seeds.")
    degradation: Degradation = Field(description="What dirt cost.")
    normalized: Interval = Field(
        description="Degradation as a share of what was learned, with Fieller's interval; null where nothing was."
    )
    noninferiority_p: float | None = Field(description="Of H0: the degradation is at least the margin; unadjusted.")
    inferiority_p: float | None = Field(description="Of H0: the degradation is at most the margin; unadjusted.")
    equivalence_p: float | None = Field(
        description="Of H0: the degradation is beyond the margin on either side; unadjusted."
    )
    verdict: Verdict | None = Field(
        description="`robust`: shown to stay within the margin, `harmed`: shown to exceed it, by Holm over all "
        "activations and rates; `not_learned`: no better than nine tenths of the null score."
    )
    provisional: bool = Field(description="Whether the verdict stands on a margin that nobody declared.")
    smallest_margin: float | None = Field(
        description="Upper end of the interval: the smallest margin that would have passed had this been the only "
        "activation and rate."
    )
    share_beyond_margin: Interval = Field(description="Share of seeds whose degradation exceeds the margin.")
    best_last_gap: BestLastGap = Field(description="What training on after the best epoch cost.")
    memorization: float | None = Field(
        description="Of the corrupted rows: 0 ignored the dirt, 1 memorised it. Runs without a value at the score's "
        "epoch are left out."
    )
    recovery: float | None = Field(
        description="Share of the corrupted rows answered with their true label. Runs without a value at the score's "
        "epoch are left out."
    )
    relative_error: float | None = Field(description="Dirty score in percent of ReLU's; null without ReLU.")


class CurvePoint(Document):
    """One epoch of one rate; means over seeds. The band holds for all epochs of the rate together."""

    rate: float = Field(description="Share of corrupted training rows.")
    epoch: int = Field(description="From 1.")
    clean: float | None = Field(description="Mean score of the clean runs.")
    dirty: float | None = Field(description="Mean score of the dirty runs.")
    degradation: float | None = Field(description="Mean over the pairs.")
    ci_low: float | None = Field(description="Pointwise.")
    ci_high: float | None = Field(description="Pointwise.")
    band_low: float | None = Field(description="Simultaneous.")
    band_high: float | None = Field(description="Simultaneous.")


class BreakdownRate(Interval):
    """The rate at which half of what was learned is lost, over seeds with all rates; null if nothing was learned."""

    censored_above: float | None = Field(description="The largest rate, where it is not reached within the sweep.")


class ComparedActivation(Document):
    """One activation."""

    activation: str = Field(description="The activation's label.")
    rank: int | None = Field(description="1 suffers least; null before the end.")
    rank_low: int | None = Field(
        description="1 + the number of activations that are significantly better, or `rank` where that is less. Of two "
        "without harm none is better. Activations that did not learn, or diverged on clean data, are not counted; they "
        "stand between their own rank and the last."
    )
    rank_high: int | None = Field(
        description="The number of all activations less those, counted in the same way, that are significantly worse, "
        "or `rank` where that is more."
    )
    clean: Summary = Field(description="Scores after training on clean rows.")
    conditions: list[Condition] = Field(description="One for each rate of dirt.")
    audc: MeanInterval = Field(
        description="Area under the degradation over rates, from 0 to the largest, over the seeds that have all rates."
    )
    breakdown_rate: BreakdownRate = Field(description="How much dirt it takes to lose half of what was learned.")
    relative_error: float | None = Field(description="Sum of the dirty scores over all rates, in percent of ReLU's.")
    curve: list[CurvePoint] = Field([], description="With `include=curves`.")


class Pair(Document):
    """Two activations, seed by seed; differences are a minus b, so that below 0 a is the better one."""

    a: str = Field(description="An activation's label.")
    b: str = Field(description="Another one's.")
    rate: float | None = Field(description="Null for the area under the degradation, which is over all rates.")
    of: Literal["degradation", "dirty", "audc"] = Field(description="What is compared.")
    family: Literal["primary", "exploratory"] = Field(description="`primary`: the question that was asked in advance.")
    difference: float | None = Field(description="Mean over seeds.")
    ci_low: float | None = Field(description="Lower end, for this pair alone.")
    ci_high: float | None = Field(description="Upper end, for this pair alone.")
    effect_size: float | None = Field(description="Hedges' g.")
    p_value: float | None = Field(description="Two-sided, by the sign-flip test.")
    p_adjusted: float | None = Field(description="By step-down max-|t| over all pairs of this rate and kind.")
    probability_a_lower: Interval = Field(description="Share of seeds in which a is lower, ties counting half.")


class SeedScore(Document):
    """The scores of one seed, in the metric's own unit."""

    activation: str = Field(description="The activation's label.")
    rate: float = Field(description="Share of corrupted training rows.")
    seed: int = Field(description="Which trial, from 0.")
    clean: float | None = Field(description="Of the clean run.")
    dirty: float | None = Field(description="Of the dirty run.")


class RunKey(Document):
    """Which run."""

    activation: str = Field(description="The activation's label.")
    rate: float = Field(description="Share of corrupted training rows.")
    seed: int = Field(description="Which trial, from 0.")


class Precision(Document):
    """How narrow the intervals are against the spec's precision target, by which seeds were added.

    Always by the spec's own metric and score, also where the query asks for others: those decided.
    """

    target: float | None = Field(
        description="What a half-width may be, in the unit of the spec's metric; null while the margin is not known."
    )
    half_width: float | None = Field(
        description="Of the widest interval of a degradation, over all activations and rates; null before all runs of "
        "this batch have finished, or where a score is not finite."
    )
    reached: bool = Field(description="Whether the half-width is at most the target.")
    num_seeds: int = Field(description="Trials that there are by now.")
    max_seeds: int = Field(description="Trials after which it ends in any case.")
    overall_confidence: float = Field(
        description="How often an interval holds the truth although seeds were added until it was narrow: the error of "
        "all intervals and tests is halved for that, see `confidence`."
    )


class Robustness(Document):
    """The comparison of all activations, clean against dirty."""

    experiment_id: str = Field(json_schema_extra={"format": "uuid"}, description="UUIDv7.")
    state: ExperimentState = Field(description="Of the experiment.")
    complete: bool = Field(
        description="Whether every run has finished and no more are to come; before that no verdict, p or rank."
    )
    inference_scope: Literal["fresh_data", "resampled_split", "fixed_split"] = Field(
        description="`fixed_split`: the intervals describe retraining, not new data; `resampled_split`: the splits of "
        "a finite set overlap."
    )
    exploratory: bool = Field(False, description="Metric or score are not those that the spec declared.")
    approximate: bool = Field(False, description="Splits overlap between seeds: t tests only, variance corrected.")
    metric: Metric = Field(description="What is compared.")
    score: str = Field(description="Which epoch of a run counts.")
    epoch: int | None = Field(description="The epoch of the score; null where each run has its own.")
    num_seeds: int = Field(description="Trials that the spec asked for; with a precision target those so far.")
    margin: MarginUsed = Field(description="The degradation that is called too small to matter.")
    confidence: float = Field(
        description="Of all intervals, and 1 minus the error of all tests: 0.95, or 0.975 with a precision target."
    )
    precision: Precision | None = Field(None, description="Absent unless the spec has a precision target, `until`.")
    null_score: Mean = Field(description="Of a network that learned nothing.")
    activations: list[ComparedActivation] = Field(description="In the order of the spec.")
    pairs: list[Pair] = Field([], description="With `include=pairs`.")
    raw: list[SeedScore] = Field([], description="With `include=raw`.")
    diverged: list[RunKey] = Field(description="Runs that ended because something was no longer finite.")
    missing_pairs: list[RunKey] = Field(description="Dirty runs without a complete clean partner, or incomplete.")
    warnings: list[str] = Field(description="What a reader should know before believing the numbers.")
