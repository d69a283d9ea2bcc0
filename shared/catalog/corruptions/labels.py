"""Label noise. Shape letters: N rows, F inputs, C classes."""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from shared.catalog.base import Task
from shared.catalog.corruptions.base import Corruption, Misfit, Replacements, in_parts, num_corrupted
from shared.catalog.datasets.base import Dataset, DatasetEntry
from shared.seeds import numpy_stream

ClassNumber = Annotated[int, Field(ge=0, le=999)]


class LabelNoise(Corruption):
    """Wrong classes on some training rows; inputs stay as they are."""

    def fits(self, task: Task) -> bool:
        return task == "classification"

    def replacements(self, dataset: Dataset, *, base_seed: int, seed: int) -> Replacements:
        return Replacements(targets=self.labels(dataset, numpy_stream(base_seed, seed, "corruption_targets")))

    def labels(self, dataset: Dataset, generator: np.random.Generator) -> NDArray[np.int64]:
        """What the class of each row would become, (N,)."""
        raise NotImplementedError


class Symmetric(LabelNoise):
    title = "Symmetric label noise"
    formula = "y~ uniform over the other classes; with exclusive = false over all classes, the true one included"
    source = (
        "Patrini, Rozza, Menon, Nock & Qu 2017, Making deep neural networks robust to label noise; "
        "concentrated: Drory, Avidan & Giryes 2018, On the resistance of neural nets to label noise"
    )
    kind: Literal["symmetric"] = "symmetric"
    exclusive: bool = Field(True, description="Whether the new label always differs from the true one.")
    exact: bool = Field(True, description="false: each row by itself with the probability `rate`, as in the notebooks.")
    concentrated: bool = Field(
        False, description="The corrupted rows are the nearest neighbours of one row, not spread over the inputs."
    )

    @model_validator(mode="after")
    def _one_way_to_choose_rows(self) -> Self:
        if self.concentrated and not self.exact:
            raise ValueError("'concentrated' takes the nearest rows, exactly as many as asked for: leave 'exact' true")
        return self

    def mask(self, dataset: Dataset, rate: float, *, base_seed: int, seed: int) -> NDArray[np.bool_]:
        if self.exact:
            return super().mask(dataset, rate, base_seed=base_seed, seed=seed)
        return numpy_stream(base_seed, seed, "corruption_rows").random(len(dataset.train_targets)) < rate

    def ranks(self, dataset: Dataset, *, base_seed: int, seed: int) -> NDArray[np.int64]:
        if not self.concentrated:
            return super().ranks(dataset, base_seed=base_seed, seed=seed)
        centre = numpy_stream(base_seed, seed, "corruption_rows").integers(len(dataset.train_targets))
        order = _squared_distances(dataset, centre).argsort(kind="stable")
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        return ranks

    def labels(self, dataset: Dataset, generator: np.random.Generator) -> NDArray[np.int64]:
        assert dataset.num_classes is not None
        first = 1 if self.exclusive else 0
        offsets = generator.integers(first, dataset.num_classes, len(dataset.train_targets))
        turned: NDArray[np.int64] = (dataset.train_targets + offsets) % dataset.num_classes
        return turned


def _squared_distances(dataset: Dataset, centre: np.int64) -> NDArray[np.float64]:
    """Euclidean, of every training row from one of them, in the inputs as they are stored; (N,)."""
    rows, origin = dataset.train_inputs, dataset.train_inputs[centre].astype(np.float64)
    parts = [np.square(rows[part] - origin) for part in in_parts(len(rows))]
    return np.concatenate([part.reshape(len(part), -1).sum(axis=1) for part in parts])


class PairFlip(LabelNoise):
    title, formula = "Pair flips", "y~ = (y + 1) mod C"
    source = "Han et al. 2018, Co-teaching: robust training of deep neural networks with extremely noisy labels"
    kind: Literal["pairflip"] = "pairflip"

    def labels(self, dataset: Dataset, generator: np.random.Generator) -> NDArray[np.int64]:
        del generator
        assert dataset.num_classes is not None
        turned: NDArray[np.int64] = (dataset.train_targets + 1) % dataset.num_classes
        return turned


# Digits that look alike (Patrini et al. 2017).
DIGITS_THAT_LOOK_ALIKE = ((7, 1), (2, 7), (3, 8), (5, 6), (6, 5))
SETS_OF_DIGITS = ("mnist", "digits")


class Asymmetric(LabelNoise):
    title = "Asymmetric label noise"
    formula = "y~ = map(y); the rate is the share of the rows whose class the map names, other rows stay"
    source = "Patrini, Rozza, Menon, Nock & Qu 2017, Making deep neural networks robust to label noise"
    kind: Literal["asymmetric"] = "asymmetric"
    class_map: Annotated[
        tuple[Annotated[tuple[ClassNumber, ClassNumber], Field(strict=False)], ...],
        Field(strict=False, min_length=1, max_length=1000, description="Pairs of a class and what it is taken for."),
    ] = DIGITS_THAT_LOOK_ALIKE

    @field_validator("class_map")
    @classmethod
    def _is_a_map(cls, pairs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if any(true == wrong for true, wrong in pairs):
            raise ValueError("no class can be mistaken for itself")
        if len({true for true, _ in pairs}) < len(pairs):
            raise ValueError("each class may stand first in one pair only")
        return pairs

    def misfit(self, dataset: DatasetEntry) -> Misfit | None:
        assert dataset.num_classes is not None
        if "class_map" not in self.model_fields_set and dataset.kind not in SETS_OF_DIGITS:
            return Misfit("class_map", f"the default is for digits; say which classes of '{dataset.kind}' are confused")
        if max(max(pair) for pair in self.class_map) >= dataset.num_classes:
            return Misfit("class_map", f"the classes of '{dataset.kind}' are 0 to {dataset.num_classes - 1}")
        return None

    def mask(self, dataset: Dataset, rate: float, *, base_seed: int, seed: int) -> NDArray[np.bool_]:
        named = np.isin(dataset.train_targets, [true for true, _ in self.class_map])
        ranks = self.ranks(dataset, base_seed=base_seed, seed=seed)
        mask = np.zeros(len(ranks), dtype=np.bool_)
        candidates = np.flatnonzero(named)[ranks[named].argsort()]
        mask[candidates[: num_corrupted(rate, len(candidates))]] = True
        return mask

    def labels(self, dataset: Dataset, generator: np.random.Generator) -> NDArray[np.int64]:
        del generator
        assert dataset.num_classes is not None
        table = np.arange(dataset.num_classes)
        for true, wrong in self.class_map:
            table[true] = wrong
        return table[dataset.train_targets]


class Instance(LabelNoise):
    title = "Instance-dependent label noise"
    formula = (
        "y~ over the other classes with probabilities softmax(x W_y), W_y ~ N(0, 1) of shape (F, C) for each class y, "
        "x the pixels of 0 to 1 or the features"
    )
    # The paper draws a flip rate for each row around the mean rate, independently of the row: over the draws that is
    # one rate for all, as here, where it is met exactly.
    source = "Xia et al. 2020, Part-dependent label noise: towards instance-dependent label noise (algorithm 2)"
    kind: Literal["instance"] = "instance"

    def labels(self, dataset: Dataset, generator: np.random.Generator) -> NDArray[np.int64]:
        assert dataset.num_classes is not None
        num_inputs, num_classes = int(np.prod(dataset.train_inputs.shape[1:])), dataset.num_classes
        weights_CFC = generator.standard_normal((num_classes, num_inputs, num_classes))
        scores_NC = generator.gumbel(size=(len(dataset.train_targets), num_classes))
        for true in range(num_classes):
            rows = np.flatnonzero(dataset.train_targets == true)
            inputs_NF = dataset.train_inputs[rows].reshape(len(rows), num_inputs) / dataset.white
            # The largest of logits with Gumbel noise is a draw from their softmax.
            scores_NC[rows] += inputs_NF @ weights_CFC[true]
            scores_NC[rows, true] = -np.inf
        answers: NDArray[np.int64] = scores_NC.argmax(axis=1)
        return answers
