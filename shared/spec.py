"""The experiment spec: what a client posts, checked, and resolved to every last default."""

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from shared.catalog.activations import AnyActivation, ReLU, same_functions
from shared.catalog.architectures import AnyArchitecture, Mlp
from shared.catalog.base import ClosedModel, one_line, suggestion
from shared.catalog.corruptions import AnyCorruption, Gaussian, num_corrupted
from shared.catalog.datasets import DATASETS, AnyDataset
from shared.catalog.datasets.fbm import Fbm
from shared.catalog.layers import cost
from shared.catalog.losses import LOSSES, LossName
from shared.catalog.optimizers import Adam, AnyOptimizer
from shared.catalog.presets import PRESETS, STUDY_ACTIVATIONS
from shared.catalog.schedules import AnySchedule, Constant
from shared.errors import FieldProblem, InvalidSpecError

MetricName = Literal["loss", "accuracy"]
SCORE_PATTERN = r"^(final|best|last5|epoch:[1-9][0-9]{0,4})$"
# With a precision target: so many seeds at first, and as many more each time.
SEEDS_PER_LOOK = 5


class Training(ClosedModel):
    """How every network of the experiment is trained."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="Passes over the training rows.")] = 20
    batch_size: Annotated[
        int, Field(ge=1, le=65_536, description="Rows of a batch; a last batch of one row joins the one before it.")
    ] = 64
    loss: LossName = Field("mse", description="What training minimises; it must fit the data set's task.")
    optimizer: AnyOptimizer = Field(Adam(), description="Update rule of the weights.")
    schedule: AnySchedule = Field(Constant(), description="Factor on the learning rate, by epoch.")
    precision: Literal["float32", "float64", "bfloat16"] = Field(
        "float32",
        description=(
            "`bfloat16` is mixed precision: products of matrices and convolutions take bfloat16 operands, weights and "
            "sums stay in float32. It pays on GPUs and on processors with AVX-512 BF16 or AMX."
        ),
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`cuda` waits for a worker with a GPU.")
    engine: Literal["auto", "serial", "stacked", "compiled"] = Field(
        "auto",
        description=(
            "`serial` trains one network at a time, `stacked` those of a job as one tensor program, `compiled` one "
            "after another in C++ made for the activation (`auto`'s choice where that cannot be had)."
        ),
    )


class Margin(ClosedModel):
    """The degradation that is declared too small to matter, in the metric's own unit."""

    loss: Annotated[float, Field(gt=0)] | None = Field(None, description="For comparisons of the loss.")
    accuracy: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="For comparisons of the accuracy, as a fraction."
    )


class Until(ClosedModel):
    """A precision target: seeds are added, five at a time, until every activation's interval is narrow enough.

    Looks are at 5, 10, ... seeds and at `max_seeds`, each when all runs up to there have finished. Only the width of
    the intervals ends it, never what they say; they and all tests take half the error, to allow for the looks.
    """

    ci_half_width: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="In the metric's own unit: what the widest interval of a degradation, over all activations and "
        "rates, may reach to either side of its mean. Half of the margin unless given.",
    )
    max_seeds: Annotated[int, Field(ge=SEEDS_PER_LOOK, le=1000)] = Field(
        50,
        description="Seeds after which it ends in any case. The last batch is smaller where this is no multiple of 5.",
    )


class ExperimentSpec(ClosedModel):
    """One comparison: every activation, clean and at each rate of dirt, over the same seeds."""

    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(one_line)] = Field(
        "experiment", description="For people; the preset's or the data set's unless given."
    )
    dataset: AnyDataset = Field(Fbm(), description="What is learned.")
    corruption: AnyCorruption = Field(Gaussian(), description="What dirt is, and how much of it.")
    architecture: AnyArchitecture = Field(Mlp(), description="The network; the same for every activation.")
    activations: Annotated[tuple[AnyActivation, ...], Field(strict=False, min_length=1, max_length=100)] = Field(
        (ReLU(),), description="The functions that are compared: kinds, or objects with parameters."
    )
    training: Training = Field(Training(), description="How every network is trained.")
    num_seeds: Annotated[int, Field(ge=1, le=1000)] = Field(
        10,
        description="Trials; all activations share them. With `until` the service decides: whatever a posted spec says "
        "here, it begins with 5, also where it is a copy of an experiment that has grown.",
    )
    until: Until | None = Field(
        None, description="Add seeds until the intervals are narrow enough, instead of training a fixed number."
    )
    base_seed: Annotated[int, Field(ge=0, lt=2**53)] = Field(
        0, description="What all randomness derives from; another one is a replication."
    )
    metric: MetricName | None = Field(
        None, description="What is compared; accuracy for classification and loss for regression unless given."
    )
    score: Annotated[str, Field(pattern=SCORE_PATTERN)] = Field(
        "final",
        description="Which epoch of a run counts: `final`, `best` (chosen on one half of the validation rows, read on "
        "the other), `last5` (mean of the last five) or `epoch:N`.",
    )
    margin: Margin | None = Field(
        None, description="The degradation that is declared too small to matter; without it verdicts are provisional."
    )
    reuse: bool = Field(
        True,
        description="Take over the runs that you have trained before with the same data, dirt, network, activation, "
        "training, seeds and code, instead of training them again.",
    )

    @property
    def rates(self) -> tuple[float, ...]:
        """All rates that are trained: 0 (clean), then the dirty ones."""
        return (0.0, *self.corruption.rates)

    @property
    def num_seeds_at_most(self) -> int:
        """How many seeds there may be in the end."""
        return self.num_seeds if self.until is None else self.until.max_seeds

    def next_look(self, num_seeds: int) -> int | None:
        """How many seeds to have next when `num_seeds` do not suffice; None where there are to be no more."""
        if num_seeds >= self.num_seeds_at_most:
            return None
        return min((num_seeds // SEEDS_PER_LOOK + 1) * SEEDS_PER_LOOK, self.num_seeds_at_most)

    @property
    def num_outputs(self) -> int:
        """Width of the network's last layer."""
        return self.dataset.num_classes or 1

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and yet hardly meant."""
        return tuple(f"'{a}' and '{b}' are the same function" for a, b in same_functions(self.activations))


def resolve(document: object) -> ExperimentSpec:
    """Merge a posted document with its preset and its data set's defaults, and check all of it.

    Args:
        document: decoded JSON. Fields beside `preset` override it by JSON merge patch (RFC 7396), except that lists,
            and objects whose `kind` changes, replace the preset's.
    Raises: InvalidSpecError: with a JSON pointer for each thing that is wrong.
    """
    if not isinstance(document, Mapping):
        raise InvalidSpecError([FieldProblem("the spec must be a JSON object", "object_type", pointer="")])
    try:
        merged = _with_defaults(document)
        spec = ExperimentSpec.model_validate(merged)
    except RecursionError:
        raise InvalidSpecError([FieldProblem("the spec is nested too deeply", "too_deep", pointer="")]) from None
    except ValidationError as error:
        raise InvalidSpecError(_field_problems(error, merged)) from None
    problems = _misfits(spec)
    if problems:
        raise InvalidSpecError(problems)
    decided: dict[str, Any] = {"metric": spec.metric or _primary_metric(spec)}
    if spec.until:
        decided["num_seeds"] = SEEDS_PER_LOOK
    return spec.model_copy(update=decided)


def _primary_metric(spec: ExperimentSpec) -> MetricName:
    return "accuracy" if spec.dataset.task == "classification" else "loss"


def _with_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    overrides = dict(document)
    preset_name = overrides.pop("preset", None)
    base: Mapping[str, Any] = {}
    if preset_name is not None:
        if not isinstance(preset_name, str) or preset_name not in PRESETS:
            hint = suggestion(str(preset_name), list(PRESETS))
            raise InvalidSpecError([FieldProblem(f"this preset does not exist; {hint}", "unknown_preset", "/preset")])
        base = {"name": preset_name, **PRESETS[preset_name].spec}
    merged = merge_patch(base, overrides)
    dataset = merged.setdefault("dataset", {"kind": "fbm"})
    kind = dataset.get("kind") if isinstance(dataset, dict) else None
    if not isinstance(kind, str) or kind not in DATASETS:
        return merged  # validation says what is wrong with it
    defaults = {"name": kind, "activations": list(STUDY_ACTIVATIONS), **DATASETS[kind].defaults}
    return merge_patch(defaults, merged)


def merge_patch(target: object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396, except that an object whose `kind` changes replaces the target's."""
    changes_kind = isinstance(target, Mapping) and "kind" in patch and patch["kind"] != target.get("kind")
    result = copy.copy(dict(target)) if isinstance(target, Mapping) and not changes_kind else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merge_patch(result.get(key), value)
        else:
            result[key] = value
    return result


# The validator speaks of Python where a client has written JSON.
IN_WORDS_OF_JSON = {
    "extra_forbidden": "this field does not exist; GET /catalog and /docs list the fields that do",
    "tuple_type": "Input should be a list",
    "model_type": "Input should be an object",
    "model_attributes_type": "Input should be an object",
}


def _field_problems(error: ValidationError, document: object) -> list[FieldProblem]:
    details = error.errors()
    # A list whose items are wrong is also called too short, by the items that did not get in.
    wrong_lists = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    real = [detail for detail in details if not (detail["type"] == "too_short" and detail["loc"] in wrong_lists)]
    return [_field_problem(detail, document) for detail in real]


def _field_problem(error: Any, document: object) -> FieldProblem:
    pointer = pointer_to(error["loc"], document, inside=error["type"] == "unknown_kind")
    said = error["msg"].removeprefix("Value error, ").replace("Tuple should", "List should")
    return FieldProblem(IN_WORDS_OF_JSON.get(error["type"], said), error["type"], pointer=pointer)


def pointer_to(loc: Sequence[str | int], document: object, *, inside: bool = False) -> str:
    """The JSON pointer (RFC 6901) of pydantic's `loc`, without the union tags that the document does not contain.

    Args:
        inside: the fault is the object's `kind`, not the object.
    """
    parts: list[str | int] = []
    here: Any = document
    is_tag_due = False
    for step in loc:
        # An object chosen by its kind has the kind as its first step, and so has a bare kind.
        if is_tag_due and step == (here.get("kind") if isinstance(here, Mapping) else here):
            is_tag_due = False
            continue
        is_tag_due = True
        parts.append(step)
        in_list = isinstance(here, list | tuple) and isinstance(step, int) and step < len(here)
        here = here[step] if in_list else here.get(str(step)) if isinstance(here, Mapping) else None
    if inside and isinstance(here, Mapping):
        parts.append("kind")
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _misfits(spec: ExperimentSpec) -> list[FieldProblem]:
    """What is fine by itself but does not fit the rest."""
    checks = (
        _corruption_misfits,
        _training_misfits,
        _architecture_misfits,
        _label_misfits,
        _analysis_misfits,
        _until_misfits,
    )
    return [problem for check in checks for problem in check(spec)]


def _corruption_misfits(spec: ExperimentSpec) -> list[FieldProblem]:
    task, corruption = spec.dataset.task, spec.corruption
    if not corruption.fits(task):
        fitting = "gaussian" if task == "regression" else "symmetric"
        detail = f"'{corruption.kind}' does not fit a {task} data set such as '{spec.dataset.kind}'; use '{fitting}'"
        return [FieldProblem(detail, "misfit", pointer="/corruption/kind")]
    misfit = corruption.misfit(spec.dataset)
    if misfit:
        return [FieldProblem(misfit.detail, "misfit", pointer=f"/corruption/{misfit.field}")]
    detail = "at this rate not a single training row would be corrupted; raise it or 'dataset.train_size'"
    return [
        FieldProblem(detail, "misfit", pointer=f"/corruption/rates/{index}")
        for index, rate in enumerate(corruption.rates)
        if num_corrupted(rate, spec.dataset.train_size) == 0
    ]


def _training_misfits(spec: ExperimentSpec) -> list[FieldProblem]:
    problems = []
    task, training = spec.dataset.task, spec.training
    if LOSSES[training.loss].task != task:
        allowed = ", ".join(f"'{kind}'" for kind, loss in LOSSES.items() if loss.task == task)
        problems.append(FieldProblem(f"a {task} data set needs one of {allowed}", "misfit", pointer="/training/loss"))
    if training.batch_size == 1 and spec.architecture.normalises_batches:
        detail = "batch normalisation needs batches of at least 2 examples"
        problems.append(FieldProblem(detail, "misfit", pointer="/training/batch_size"))
    return problems


def _architecture_misfits(spec: ExperimentSpec) -> list[FieldProblem]:
    try:
        cost(spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs), spec.dataset.input_shape)
    except ValueError as error:
        return [FieldProblem(str(error), "misfit", pointer="/architecture")]
    return []


def _label_misfits(spec: ExperimentSpec) -> list[FieldProblem]:
    labels = [activation.name for activation in spec.activations]
    detail = "another activation has this label already; give one of them a 'label' of its own"
    return [
        FieldProblem(detail, "duplicate_label", pointer=f"/activations/{index}")
        for index, label in enumerate(labels)
        if label in labels[:index]
    ]


def _analysis_misfits(spec: ExperimentSpec) -> list[FieldProblem]:
    problems = []
    if spec.metric == "accuracy" and spec.dataset.task == "regression":
        problems.append(FieldProblem("a regression data set has no accuracy; use 'loss'", "misfit", pointer="/metric"))
    if spec.margin and spec.margin.accuracy is not None and spec.dataset.task == "regression":
        detail = "a regression data set has no accuracy; give the margin of the 'loss'"
        problems.append(FieldProblem(detail, "misfit", pointer="/margin/accuracy"))
    if spec.score.startswith("epoch:") and int(spec.score.removeprefix("epoch:")) > spec.training.epochs:
        detail = f"there are only {spec.training.epochs} epochs"
        problems.append(FieldProblem(detail, "misfit", pointer="/score"))
    return problems


def _until_misfits(spec: ExperimentSpec) -> list[FieldProblem]:
    problems = []
    if spec.until and spec.dataset.inference_scope == "resampled_split":
        detail = (
            "the splits of the seeds overlap, so that no number of seeds makes their intervals as narrow as one likes; "
            "take \"split\": \"fixed\", or 'num_seeds' without 'until'"
        )
        problems.append(FieldProblem(detail, "misfit", pointer="/until"))
    target = spec.until.ci_half_width if spec.until else None
    if target is not None and target >= 1 and (spec.metric or _primary_metric(spec)) == "accuracy":
        detail = "the accuracy is a fraction, and so is this; half a percentage point is 0.005"
        problems.append(FieldProblem(detail, "misfit", pointer="/until/ci_half_width"))
    return problems
