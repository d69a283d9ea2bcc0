import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import FieldProblem, InvalidSpecError
from shared.spec import ExperimentSpec, pointer_to, resolve
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION, tiny


def problems_of(document: object) -> list[FieldProblem]:
    with pytest.raises(InvalidSpecError) as caught:
        resolve(document)
    return caught.value.problems


# --- bad input: exactly these pointers


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"activatons": ["relu"]}, "/activatons", "extra_forbidden"),
    ({"training": {"epoch": 3}}, "/training/epoch", "extra_forbidden"),
    ({"dataset": {"kind": "fbm", "rows": 5}}, "/dataset/rows", "extra_forbidden"),
    ({"training": {"optimizer": {"kind": "adam", "momentum": 0.9}}}, "/training/optimizer/momentum", "extra_forbidden"),
    ({"activations": ["relu", {"kind": "elu", "a": 1}]}, "/activations/1/a", "extra_forbidden"),
    ({"a/b~c": 1}, "/a~1b~0c", "extra_forbidden"),
    ({"training": {"": 1}}, "/training/", "extra_forbidden"),
    ({"preset": "harrison"}, "/preset", "unknown_preset"),
    ({"preset": 5}, "/preset", "unknown_preset"),
    ({"preset": ["harrison-mnist"]}, "/preset", "unknown_preset"),
    ({"activations": ["relu", "geluu"]}, "/activations/1", "unknown_kind"),
    ({"activations": [{"kind": "geluu"}]}, "/activations/0/kind", "unknown_kind"),
    ({"activations": [{"negative_slope": 0.1}]}, "/activations/0", "missing_kind"),
    ({"activations": [5]}, "/activations/0", "missing_kind"),
    ({"activations": [None]}, "/activations/0", "missing_kind"),
    ({"activations": "relu"}, "/activations", "tuple_type"),
    ({"activations": []}, "/activations", "too_short"),
    ({"activations": ["relu"] * 101}, "/activations", "too_long"),
    ({"activations": [{"kind": "elu", "alpha": 101}]}, "/activations/0/alpha", "less_than_equal"),
    ({"activations": [{"kind": "rrelu", "lower": 1, "upper": 0}]}, "/activations/0", "value_error"),
    ({"activations": ["relu", "elu", "relu"]}, "/activations/2", "duplicate_label"),
    ({"activations": ["relu", {"kind": "elu", "label": "relu"}]}, "/activations/1", "duplicate_label"),
    ({"activations": ["elu", {"kind": "elu", "alpha": 1.0}]}, "/activations/1", "duplicate_label"),
    ({"dataset": {"kind": "fmb"}}, "/dataset/kind", "unknown_kind"),
    ({"dataset": {}}, "/dataset", "missing_kind"),
    ({"dataset": "fbm"}, "/dataset", "missing_kind"),
    ({"dataset": {"kind": ["fbm"]}}, "/dataset", "missing_kind"),
    ({"dataset": {"kind": "fbm", "train_size": -1}}, "/dataset/train_size", "greater_than_equal"),
    ({"dataset": {"kind": "fbm", "train_size": 10**9}}, "/dataset/train_size", "less_than_equal"),
    ({"dataset": {"kind": "fbm", "train_size": 10**400}}, "/dataset/train_size", "less_than_equal"),
    ({"dataset": {"kind": "fbm", "train_size": "5000"}}, "/dataset/train_size", "int_type"),
    ({"dataset": {"kind": "fbm", "train_size": True}}, "/dataset/train_size", "int_type"),
    ({"dataset": {"kind": "digits", "train_size": 1700, "val_size": 98}}, "/dataset", "value_error"),
    ({"until": {"max_seeds": 4}}, "/until/max_seeds", "greater_than_equal"),
    ({"until": {"max_seeds": 1001}}, "/until/max_seeds", "less_than_equal"),
    ({"until": {"ci_half_width": 0}}, "/until/ci_half_width", "greater_than"),
    ({"until": {"ci_width": 0.1}}, "/until/ci_width", "extra_forbidden"),
    ({"until": True}, "/until", "model_type"),
    ({"dataset": {"kind": "digits"}, "until": {"ci_half_width": 1}}, "/until/ci_half_width", "misfit"),
    (
        {"dataset": {"kind": "digits", "split": "per_seed", "train_size": 1000, "val_size": 500}, "until": {}},
        "/until", "misfit",
    ),
    ({"corruption": {"kind": "symmetric"}}, "/corruption/kind", "misfit"),
    ({"dataset": {"kind": "digits"}, "corruption": {"kind": "gaussian"}}, "/corruption/kind", "misfit"),
    ({"corruption": {"rates": []}}, "/corruption/rates", "too_short"),
    ({"corruption": {"rates": [0.1, 0.0]}}, "/corruption/rates/1", "greater_than"),
    ({"corruption": {"rates": [1]}}, "/corruption/rates/0", "less_than"),
    ({"corruption": {"rates": [0.1, 0.2, 0.1]}}, "/corruption/rates", "value_error"),
    ({"corruption": {"rates": [0.5, 1e-6]}}, "/corruption/rates/1", "misfit"),
    ({"corruption": {"sd": -1}}, "/corruption/sd", "greater_than"),
    ({"corruption": {"on": "target_and_inputs"}}, "/corruption/on", "literal_error"),
    ({"architecture": {"hidden": [0]}}, "/architecture/hidden/0", "greater_than_equal"),
    ({"architecture": {"hidden": [8] * 21}}, "/architecture/hidden", "too_long"),
    ({"architecture": {"dropout": 1}}, "/architecture/dropout", "less_than"),
    ({"architecture": {"kind": "harrison_cnn"}}, "/architecture", "misfit"),
    ({"dataset": {"kind": "digits"}, "architecture": {"kind": "harrison_cnn"}}, "/architecture", "misfit"),
    ({"training": {"epochs": 0}}, "/training/epochs", "greater_than_equal"),
    ({"training": {"epochs": 10**9}}, "/training/epochs", "less_than_equal"),
    ({"training": {"batch_size": 1}}, "/training/batch_size", "misfit"),
    ({"training": {"loss": "cross_entropy"}}, "/training/loss", "misfit"),
    ({"dataset": {"kind": "digits"}, "training": {"loss": "mse"}}, "/training/loss", "misfit"),
    ({"training": {"loss": "hinge"}}, "/training/loss", "literal_error"),
    ({"training": {"optimizer": {"lr": 0}}}, "/training/optimizer/lr", "greater_than"),
    ({"training": {"optimizer": {"lr": 10**400}}}, "/training/optimizer/lr", "float_type"),
    ({"training": {"optimizer": {"betas": [0.9]}}}, "/training/optimizer/betas/1", "missing"),
    ({"training": {"optimizer": {"kind": "sgd", "nesterov": True}}}, "/training/optimizer", "value_error"),
    ({"training": {"schedule": {"kind": "step", "gamma": 1.1}}}, "/training/schedule/gamma", "less_than_equal"),
    ({"training": {"device": "tpu"}}, "/training/device", "literal_error"),
    ({"training": 5}, "/training", "model_type"),
    ({"num_seeds": 0}, "/num_seeds", "greater_than_equal"),
    ({"num_seeds": 1001}, "/num_seeds", "less_than_equal"),
    ({"base_seed": -1}, "/base_seed", "greater_than_equal"),
    ({"base_seed": 2**53}, "/base_seed", "less_than"),
    ({"metric": "accuracy"}, "/metric", "misfit"),
    ({"metric": "f1"}, "/metric", "literal_error"),
    ({"score": "median"}, "/score", "string_pattern_mismatch"),
    ({"score": "epoch:0"}, "/score", "string_pattern_mismatch"),
    ({"score": "final\n"}, "/score", "string_pattern_mismatch"),
    ({"score": "epoch:21"}, "/score", "misfit"),
    ({"margin": {"loss": 0}}, "/margin/loss", "greater_than"),
    ({"margin": {"accuracy": 1}}, "/margin/accuracy", "less_than"),
    ({"name": ""}, "/name", "string_too_short"),
    ({"name": "x" * 201}, "/name", "string_too_long"),
    ({"name": "two\nlines"}, "/name", "value_error"),
    ({"name": 5}, "/name", "string_type"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "pointer", "kind"), BAD, ids=[f"{pointer} {kind}" for _, pointer, kind in BAD])
def test_bad_input_is_refused_with_a_pointer_to_it(document: dict[str, Any], pointer: str, kind: str) -> None:
    assert [(problem.pointer, problem.type) for problem in problems_of(document)] == [(pointer, kind)]


@pytest.mark.parametrize(("document", "pointer", "kind"), BAD, ids=[f"{pointer} {kind}" for _, pointer, kind in BAD])
def test_what_is_said_of_bad_input_is_json_and_not_python(document: dict[str, Any], pointer: str, kind: str) -> None:
    (problem,) = problems_of(document)
    for word in ("tuple", "dictionary", "instance of", "Value error", "None", "Traceback", "self"):
        assert word not in problem.detail.replace("allowed: ", "")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        (("training", "optimizer", "lr"), "/training/optimizer/lr"),
        (("corruption", "sd"), "/corruption/sd"),
        (("margin", "loss"), "/margin/loss"),
        (("training", "epochs"), "/training/epochs"),
        (("num_seeds",), "/num_seeds"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(number: float, path: tuple[str, ...], pointer: str) -> None:
    document: dict[str, Any] = {}
    here = document
    for step in path[:-1]:
        here = here.setdefault(step, {})
    here[path[-1]] = number
    assert [problem.pointer for problem in problems_of(document)] == [pointer]


@pytest.mark.parametrize("document", [None, [], "harrison-mnist", 5, [{"preset": "harrison-mnist"}]], ids=str)
def test_a_document_that_is_no_object_is_refused(document: object) -> None:
    assert [(problem.pointer, problem.type) for problem in problems_of(document)] == [("", "object_type")]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"dataset": {"kind": "fbm", "fbm": {"train_size": 5}}}, "/dataset/fbm"),
        ({"training": {"optimizer": {"kind": "adam", "adam": 1}}}, "/training/optimizer/adam"),
        ({"activations": [{"kind": "relu", "relu": 1}]}, "/activations/0/relu"),
    ],
    ids=str,
)
def test_an_unknown_field_named_like_its_kind_is_pointed_at_exactly(document: dict[str, Any], pointer: str) -> None:
    assert [problem.pointer for problem in problems_of(document)] == [pointer]


def test_everything_wrong_is_told_at_once() -> None:
    document = {"training": {"epochs": 0, "loss": "hinge"}, "num_seeds": -1, "activations": ["geluu", "relux"]}
    pointers = {problem.pointer for problem in problems_of(document)}
    assert pointers == {"/training/epochs", "/training/loss", "/num_seeds", "/activations/0", "/activations/1"}


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    document = {
        "corruption": {"kind": "symmetric"},
        "training": {"loss": "cross_entropy"},
        "metric": "accuracy",
        "architecture": {"kind": "harrison_cnn"},
    }
    pointers = {problem.pointer for problem in problems_of(document)}
    assert pointers == {"/corruption/kind", "/training/loss", "/metric", "/architecture"}


@pytest.mark.parametrize(
    ("kind", "meant"),
    [("geluu", "gelu"), ("Relu", "relu"), ("leakyrelu", "leaky_relu"), ("soft_sign", "softsign")],
)
def test_an_unknown_activation_is_answered_with_the_closest_name(kind: str, meant: str) -> None:
    assert f"did you mean '{meant}'?" in problems_of({"activations": [kind]})[0].detail


def test_a_name_close_to_nothing_is_answered_with_all_that_is_allowed() -> None:
    detail = problems_of({"dataset": {"kind": "12345"}})[0].detail
    for kind in ("fbm", "mnist", "fashion_mnist", "digits"):
        assert f"'{kind}'" in detail


@pytest.mark.parametrize("label", ["a\0b", "two\nlines", "bell\a", "\x1b[31mred", "right\u202eleft"])
def test_a_label_must_be_one_line_of_printable_characters(label: str) -> None:
    """It becomes a text column, where PostgreSQL takes no NUL, and a cell of tables in terminals."""
    problems = problems_of({"activations": [{"kind": "relu", "label": label}]})
    assert [problem.pointer for problem in problems] == ["/activations/0/label"]


@pytest.mark.parametrize("field", ["name", "label"])
def test_half_a_surrogate_pair_is_refused(field: str) -> None:
    text = "a\ud800b"
    document = {"name": text} if field == "name" else {"activations": [{"kind": "relu", "label": text}]}
    assert problems_of(document)[0].pointer in {"/name", "/activations/0/label"}


@pytest.mark.parametrize("where", ["dataset", "training", "nowhere", "activations"])
def test_a_document_nested_without_end_is_refused(where: str) -> None:
    nested: Any = 1
    for _ in range(50_000):
        nested = [nested] if where == "activations" else {"a": nested}
    document = {"activations": [{"kind": "leaky_relu", "negative_slope": nested}]} if where == "activations" else {}
    assert problems_of(document or {where: nested})


SECRET = "hunter2-do-not-repeat"


@pytest.mark.parametrize(
    "document",
    [
        {"name": {"a": SECRET}},
        {"preset": SECRET},
        {"dataset": {"kind": SECRET}},
        {"dataset": SECRET},
        {"dataset": {"kind": "fbm", "train_size": SECRET}},
        {"activations": [SECRET]},
        {"activations": [{"kind": "leaky_relu", "negative_slope": SECRET}]},
        {"activations": [{"kind": "relu", "label": SECRET * 10}]},
        {"activations": [{"kind": "relu", "label": SECRET}, {"kind": "elu", "label": SECRET}]},
        {"training": SECRET},
        {"training": {"loss": SECRET, "device": SECRET, "epochs": SECRET, "optimizer": SECRET}},
        {"score": SECRET},
        {"metric": SECRET},
        {"unknown": SECRET},
        {"margin": [SECRET]},
    ],
    ids=str,
)
def test_no_message_repeats_what_was_sent(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        resolve(document)
    assert SECRET not in str(caught.value)
    assert all(SECRET not in problem.detail for problem in caught.value.problems)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=6,
)
FIELDS = [*ExperimentSpec.model_fields, "preset"]


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), json_values, max_size=4))
def test_any_json_is_a_spec_or_is_refused_with_reasons(document: dict[str, Any]) -> None:
    try:
        spec = resolve(document)
    except InvalidSpecError as error:
        problems = error.problems
    else:
        assert resolve(spec.model_dump(mode="json")) == spec
        return
    assert problems
    for problem in problems:
        assert problem.pointer is not None
        assert problem.pointer == "" or problem.pointer.startswith("/")
        assert problem.detail


# --- pointers


@pytest.mark.parametrize(
    ("loc", "document", "pointer"),
    [
        ((), {}, ""),
        (("a", 0, "b"), {"a": [{"b": 1}]}, "/a/0/b"),
        (("a~b", "c/d", "~1"), {}, "/a~0b/c~1d/~01"),
        (("dataset", "fbm", "train_size"), {"dataset": {"kind": "fbm", "train_size": -1}}, "/dataset/train_size"),
        (("activations", 1, "elu", "alpha"), {"activations": ["relu", {"kind": "elu"}]}, "/activations/1/alpha"),
        (("activations", 0, "relu", "x"), {"activations": ["relu"]}, "/activations/0/x"),
    ],
    ids=str,
)
def test_a_pointer_leads_to_the_place_in_the_document(
    loc: tuple[str | int, ...], document: object, pointer: str
) -> None:
    assert pointer_to(loc, document) == pointer


def test_the_tiny_specs_of_these_tests_are_valid() -> None:
    for base in (TINY_REGRESSION, TINY_CLASSIFICATION):
        assert tiny(base).num_seeds == 2


def test_a_margin_of_accuracy_does_not_fit_regression() -> None:
    [problem] = problems_of({"margin": {"accuracy": 0.01}})
    assert problem.pointer == "/margin/accuracy"
    assert "'loss'" in problem.detail


def test_a_precision_target_on_splits_that_overlap_is_refused_with_the_ways_out() -> None:
    dataset = {"kind": "digits", "split": "per_seed", "train_size": 1000, "val_size": 500}
    (problem,) = problems_of({"dataset": dataset, "until": {}})
    assert '"split": "fixed"' in problem.detail
    assert "'num_seeds' without 'until'" in problem.detail
    assert resolve({"dataset": {**dataset, "split": "fixed"}, "until": {}}).until is not None
