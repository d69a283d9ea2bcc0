import json
import math
from typing import Any

import pytest

from shared.catalog.presets import PRESETS
from shared.errors import FieldProblem, InvalidSpecError
from shared.spec import ExperimentSpec, merge_patch, resolve
from tests.shared.specs import TINY_CLASSIFICATION, tiny


def problems_of(document: object) -> list[FieldProblem]:
    with pytest.raises(InvalidSpecError) as caught:
        resolve(document)
    return caught.value.problems


# --- what is complete by itself


def test_an_empty_document_is_the_studys_data_with_all_its_activations() -> None:
    spec = resolve({})
    assert spec.dataset.kind == spec.name == "fbm"
    assert spec.rates == (0.0, 0.1)
    assert [activation.name for activation in spec.activations] == [
        "relu", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "softsign",
    ]  # fmt: skip
    assert (spec.num_seeds, spec.base_seed) == (10, 0)
    assert (spec.training.epochs, spec.training.batch_size, spec.training.loss) == (20, 64, "mse")
    assert spec.training.optimizer.weight_decay == 1e-10
    assert spec.metric == "loss"


def test_the_multivariate_preset_is_the_studys_setting() -> None:
    document = resolve({"preset": "harrison-multivariate"}).model_dump(mode="json")
    assert document["dataset"] == {
        "kind": "fbm", "num_columns": 10, "train_size": 5000, "val_size": 2000,
        "frequency": 1.0, "dirty_split": "shared",
    }  # fmt: skip
    assert document["corruption"] == {"kind": "gaussian", "rates": [0.1], "sd": 0.5, "on": "inputs_and_target"}
    assert document["architecture"]["hidden"] == [128, 64]
    assert document["architecture"]["batch_norm"] is True
    assert document["architecture"]["dropout"] == 0.0
    assert (document["training"]["epochs"], document["training"]["batch_size"]) == (20, 64)
    assert document["training"]["optimizer"] == {
        "kind": "adam", "lr": 0.001, "betas": [0.9, 0.999], "weight_decay": 1e-10, "decay_activations": True,
    }  # fmt: skip
    assert document["num_seeds"] == 10


@pytest.mark.parametrize(
    ("name", "dropout", "weight_decay"), [("harrison-mnist", 0.0, 1e-10), ("harrison-mnist-regularized", 0.25, 1e-5)]
)
def test_the_mnist_presets_are_the_studys_settings(name: str, dropout: float, weight_decay: float) -> None:
    document = resolve({"preset": name}).model_dump(mode="json")
    assert document["dataset"] == {
        "kind": "mnist", "train_size": 31_500, "val_size": 10_500, "image_size": 64, "pixels": "0-255",
        "split": "fixed",
    }  # fmt: skip
    assert document["corruption"] == {
        "kind": "symmetric", "rates": [0.1], "exclusive": True, "exact": True, "concentrated": False,
    }  # fmt: skip
    assert document["architecture"]["kind"] == "harrison_cnn"
    assert document["architecture"]["dropout"] == dropout
    assert (document["training"]["epochs"], document["training"]["batch_size"]) == (25, 128)
    assert document["training"]["optimizer"]["weight_decay"] == weight_decay
    assert document["training"]["schedule"] == {"kind": "step", "step_size": 2, "gamma": 0.7}
    assert document["metric"] == "accuracy"


def differences(one: object, other: object, path: str = "") -> dict[str, tuple[object, object]]:
    if isinstance(one, dict) and isinstance(other, dict):
        found: dict[str, tuple[object, object]] = {}
        for key in [*one, *(key for key in other if key not in one)]:
            found |= differences(one.get(key), other.get(key), f"{path}/{key}")
        return found
    return {} if one == other else {path: (one, other)}


def between(name: str, other: str) -> dict[str, tuple[object, object]]:
    """What resolving tells two presets apart by, but for their names."""
    one, two = (resolve({"preset": preset}).model_dump(mode="json") for preset in (name, other))
    return {pointer: values for pointer, values in differences(one, two).items() if pointer != "/name"}


SIX_RATES = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8]


@pytest.mark.parametrize(
    ("name", "base", "expected"),
    [
        (
            "harrison-multivariate-as-run", "harrison-multivariate",
            {"/dataset/dirty_split": ("independent", "shared")},
        ),
        (
            "harrison-mnist-as-run", "harrison-mnist-regularized",
            {"/architecture/output_layer": (False, True), "/corruption/exact": (False, True)},
        ),
        ("fbm-learnable", "harrison-multivariate", {"/dataset/frequency": (math.pi / 875, 1.0)}),
        ("fbm-sweep", "harrison-multivariate", {"/corruption/rates": (SIX_RATES, [0.1])}),
        ("mnist-sweep", "harrison-mnist", {"/corruption/rates": (SIX_RATES, [0.1])}),
        (
            "aa-check", "harrison-multivariate",
            {
                "/corruption/kind": ("none", "gaussian"), "/corruption/pairing": ("independent", None),
                "/corruption/sd": (None, 0.5), "/corruption/on": (None, "inputs_and_target"),
            },
        ),
    ],
)  # fmt: skip
def test_a_variant_of_a_preset_differs_from_it_in_what_it_is_for_alone(
    name: str, base: str, expected: dict[str, object]
) -> None:
    assert between(name, base) == expected


@pytest.mark.parametrize("name", ["glorot-shapeset", "glorot-mnist"])
def test_the_presets_of_glorot_and_bengio_are_their_setting(name: str) -> None:
    document = resolve({"preset": name}).model_dump(mode="json")
    assert document["architecture"] == {
        "kind": "mlp", "hidden": [1000] * 5, "batch_norm": False, "dropout": 0.0, "init": "glorot_normalized",
    }  # fmt: skip
    assert [activation["kind"] for activation in document["activations"]] == ["sigmoid", "tanh", "softsign"]
    assert (document["training"]["batch_size"], document["training"]["loss"]) == (10, "cross_entropy")
    assert document["training"]["optimizer"]["kind"] == "sgd"
    assert document["training"]["optimizer"]["momentum"] == document["training"]["optimizer"]["weight_decay"] == 0
    assert document["training"]["schedule"] == {"kind": "constant"}


RESOLVABLE: list[dict[str, Any]] = [
    {},
    {"dataset": {"kind": "digits"}},
    {"dataset": {"kind": "mnist"}, "training": {"schedule": {"kind": "cosine", "min_factor": 0.1}}},
    *({"preset": name} for name in PRESETS),
    {"preset": "harrison-mnist", "metric": "loss", "score": "epoch:25", "margin": {"loss": 0.1}, "name": "mine"},
    {"activations": [{"kind": "leaky_relu", "negative_slope": 1}, {"kind": "relu", "label": "a/b~c"}, "gelu"]},
    {"training": {"optimizer": {"kind": "sgd", "momentum": 0.9}, "loss": "huber"}, "corruption": {"rates": [0.2, 0.1]}},
    dict(TINY_CLASSIFICATION),
    {"until": {}},
    {"until": {"ci_half_width": 0.002, "max_seeds": 12}, "num_seeds": 40},
]


@pytest.mark.parametrize("document", RESOLVABLE, ids=str)
def test_a_resolved_spec_resolves_to_itself(document: dict[str, Any]) -> None:
    spec = resolve(document)
    echoed = json.loads(json.dumps(spec.model_dump(mode="json"), allow_nan=False))
    assert resolve(echoed) == spec
    assert resolve(echoed).model_dump(mode="json") == echoed
    assert ExperimentSpec.model_validate(echoed) == spec


def test_clean_is_always_trained_before_the_dirty_rates() -> None:
    assert tiny(corruption={"rates": [0.4, 0.1]}).rates == (0.0, 0.4, 0.1)


def test_whole_numbers_are_taken_for_fractions_but_not_the_other_way_round() -> None:
    assert resolve({"training": {"optimizer": {"lr": 1}}}).training.optimizer.lr == 1.0
    assert problems_of({"num_seeds": 3.0})[0].pointer == "/num_seeds"


def test_two_names_of_one_function_are_allowed_and_warned_of() -> None:
    assert tiny(activations=["elu", "tanh", "celu"]).warnings == ("'elu' and 'celu' are the same function",)
    assert resolve({}).warnings == ()


# --- merging


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
    ids=str,
)
def test_merging_follows_the_examples_of_rfc_7396(target: object, patch: dict[str, Any], merged: object) -> None:
    assert merge_patch(target, patch) == merged


def test_an_object_whose_kind_changes_replaces_the_other() -> None:
    target = {"optimizer": {"kind": "adam", "lr": 0.1, "betas": [0.9, 0.99]}}
    assert merge_patch(target, {"optimizer": {"kind": "sgd"}}) == {"optimizer": {"kind": "sgd"}}
    assert merge_patch(target, {"optimizer": {"kind": "adam", "lr": 0.2}}) == {
        "optimizer": {"kind": "adam", "lr": 0.2, "betas": [0.9, 0.99]}
    }
    assert merge_patch(target, {"optimizer": {"lr": 0.2}}) == {
        "optimizer": {"kind": "adam", "lr": 0.2, "betas": [0.9, 0.99]}
    }


def test_merging_leaves_both_documents_as_they_were() -> None:
    target: dict[str, Any] = {"a": {"b": {"c": 1}}}
    patch: dict[str, Any] = {"a": {"b": {"d": 2, "c": None}}}
    merge_patch(target, patch)
    assert target == {"a": {"b": {"c": 1}}}
    assert patch == {"a": {"b": {"d": 2, "c": None}}}


def test_fields_beside_a_preset_override_it_and_the_rest_stays() -> None:
    spec = resolve({"preset": "harrison-multivariate", "training": {"epochs": 3, "optimizer": {"lr": 0.01}}})
    assert spec.training.epochs == 3
    assert spec.training.optimizer.lr == 0.01
    assert spec.training.optimizer.weight_decay == 1e-10
    assert spec.training.batch_size == 64
    assert spec.name == "harrison-multivariate"


def test_a_list_beside_a_preset_replaces_the_presets() -> None:
    spec = resolve({"preset": "harrison-multivariate", "activations": ["gelu"], "corruption": {"rates": [0.2, 0.4]}})
    assert [activation.name for activation in spec.activations] == ["gelu"]
    assert spec.rates == (0.0, 0.2, 0.4)


def test_an_optimiser_of_another_kind_takes_nothing_from_the_presets() -> None:
    spec = resolve({"preset": "harrison-mnist", "training": {"optimizer": {"kind": "sgd"}}})
    assert spec.training.optimizer.model_dump() == {
        "kind": "sgd", "lr": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "decay_activations": False,
    }  # fmt: skip


def test_presets_are_not_changed_by_what_is_merged_into_them() -> None:
    before = resolve({"preset": "harrison-mnist"})
    resolve(
        {"preset": "harrison-mnist", "training": {"epochs": 1, "schedule": {"gamma": 0.1}}, "activations": ["tanh"]}
    )
    assert resolve({"preset": "harrison-mnist"}) == before


def test_null_takes_a_field_of_the_preset_back_to_its_default() -> None:
    assert resolve({"preset": "harrison-mnist-regularized", "architecture": {"dropout": None}}) == resolve(
        {"preset": "harrison-mnist-regularized", "architecture": {"dropout": 0.0}}
    )


# --- a precision target


def test_with_a_precision_target_the_service_decides_on_the_seeds() -> None:
    spec = tiny(until={"ci_half_width": 0.002}, num_seeds=7)
    assert (spec.num_seeds, spec.num_seeds_at_most) == (5, 50)
    assert spec.until is not None
    assert spec.until.ci_half_width == 0.002
    assert tiny(num_seeds=7).num_seeds_at_most == 7


def test_a_copy_of_an_experiment_that_has_grown_begins_anew() -> None:
    grown = {**tiny(until={}).model_dump(mode="json"), "num_seeds": 25}
    assert ExperimentSpec.model_validate(grown).num_seeds == 25
    assert resolve(grown).num_seeds == 5


@pytest.mark.parametrize(
    ("until", "looks"),
    [
        ({"max_seeds": 15}, [5, 10, 15]), ({"max_seeds": 12}, [5, 10, 12]), ({"max_seeds": 5}, [5]),
        ({"max_seeds": 6}, [5, 6]), ({}, [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]),
    ],
    ids=str,
)  # fmt: skip
def test_looks_are_five_seeds_apart_and_the_last_one_at_the_most_seeds(until: dict[str, int], looks: list[int]) -> None:
    spec = tiny(until=until)
    found = [spec.num_seeds]
    while (num_seeds := spec.next_look(found[-1])) is not None:
        found.append(num_seeds)
    assert found == looks


def test_without_a_precision_target_no_seed_is_added() -> None:
    assert tiny(num_seeds=3).next_look(3) is None


def test_null_takes_a_precision_target_out_again() -> None:
    assert resolve({"preset": "harrison-multivariate", "until": None}).until is None
    until = resolve({"until": {"ci_half_width": None, "max_seeds": 20}}).until
    assert until is not None
    assert (until.ci_half_width, until.max_seeds) == (None, 20)
