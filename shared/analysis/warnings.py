"""What a reader of the comparison should be told beside the numbers."""

from collections.abc import Iterator
from math import ceil, log2

from shared.analysis.question import Question
from shared.analysis.scores import Scored
from shared.analysis.statistics import moments
from shared.analysis.verdicts import FEWEST_SEEDS


def warnings_about(scored: Scored, question: Question, learned_A: list[bool | None]) -> list[str]:
    """Sentences, the weightiest first.

    Args:
        learned_A: see `verdicts.learning`; empty before the end.
    """
    found = (_few_seeds, _diverged, _not_learned, _no_spread, _scope)
    return [warning for about in found for warning in about(scored, question, learned_A)]


def _few_seeds(scored: Scored, question: Question, _learned_A: list[bool | None]) -> Iterator[str]:
    num_seeds = scored.clean_AS.shape[-1]
    seeds = f"{num_seeds} seed{'' if num_seeds == 1 else 's'}"
    if num_seeds < FEWEST_SEEDS:
        yield f"{seeds} are too few for a verdict: take at least {FEWEST_SEEDS}, better 10"
    elif num_seeds < fewest_seeds_for_pairs(question.alpha):
        enough = fewest_seeds_for_pairs(question.alpha)
        yield f"with {seeds} no pair of activations can differ significantly: take at least {enough}"


def fewest_seeds_for_pairs(alpha: float) -> int:
    """With fewer the smallest possible p of the sign-flip test, 2 / 2^n, is above alpha."""
    return ceil(log2(2 / alpha))


def _diverged(scored: Scored, _question: Question, _learned_A: list[bool | None]) -> Iterator[str]:
    count = int(scored.diverged_dirty_ARS.sum() + scored.diverged_clean_AS.sum())
    if count:
        runs = f"{count} run{'' if count == 1 else 's'} diverged; each rules out 'robust'"
        yield f"{runs} and is scored, from the epoch of the divergence on, as the worse of null score and worst epoch"


def _not_learned(scored: Scored, _question: Question, learned_A: list[bool | None]) -> Iterator[str]:
    labels = [label for label, learned in zip(scored.activations, learned_A, strict=False) if learned is False]
    if labels:
        yield f"on clean data these learned too little to lose anything: {', '.join(labels)}"


def _no_spread(scored: Scored, _question: Question, _learned_A: list[bool | None]) -> Iterator[str]:
    if (moments(scored.degradation_ARS).sd == 0).any():
        yield "a degradation without spread has no interval and no p value, and is neither 'robust' nor 'harmed'"


def _scope(_scored: Scored, question: Question, _learned_A: list[bool | None]) -> Iterator[str]:
    if question.overlap:
        yield "the splits of the seeds overlap: intervals and t tests are approximate, by Nadeau and Bengio's variance"
    elif question.fixed_split:
        yield "all seeds share one split of the data: the intervals describe retraining, not new data"
