"""What is asked of an experiment's results."""

from dataclasses import dataclass

CONFIDENCE = 0.95
# With a precision target intervals and tests make half the error: seeds are added until the intervals are narrow, and
# intervals that were chosen for being narrow hold the truth less often than others.
CONFIDENCE_WITH_TARGET = 1 - (1 - CONFIDENCE) / 2


@dataclass(frozen=True)
class Question:
    """Metric and score to compare by, and which parts of the answer are wanted.

    `rates` are the dirty ones to report, in rising order; verdicts and ranks are those of the whole sweep.
    `reference` is the label of the activation that errors are relative to. `overlap` is num_val / num_train where the
    split differs from seed to seed, else 0; `exploratory` says that metric or score are not those of the spec.
    `is_final` is false while seeds may still be added, so that there is nothing to test yet.
    """

    metric: str
    score: str
    rates: tuple[float, ...]
    declared_margin: float | None
    include_curves: bool = False
    include_pairs: bool = False
    include_raw: bool = False
    reference: str | None = None
    fixed_split: bool = False
    overlap: float = 0.0
    exploratory: bool = False
    confidence: float = CONFIDENCE
    is_final: bool = True

    @property
    def alpha(self) -> float:
        """The error that intervals and tests may make."""
        return 1 - self.confidence
