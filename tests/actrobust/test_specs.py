from typing import Any

import pytest

from actrobust.specs import document_of
from shared.spec import resolve


@pytest.mark.parametrize(
    ("spec", "fields", "document"),
    [
        ("harrison-mnist", {}, {"preset": "harrison-mnist"}),
        ("aa-check", {"num_seeds": 3}, {"preset": "aa-check", "num_seeds": 3}),
        (None, {"dataset": "digits"}, {"dataset": {"kind": "digits"}}),
        (None, {}, {}),
        (
            {"training": {"epochs": 3, "optimizer": {"kind": "adam", "lr": 0.1}}},
            {"training": {"batch_size": 8, "optimizer": {"lr": 0.2}}},
            {"training": {"epochs": 3, "batch_size": 8, "optimizer": {"kind": "adam", "lr": 0.2}}},
        ),
        (
            {"corruption": {"kind": "gaussian", "sd": 2}},
            {"corruption": {"kind": "missing"}},
            {"corruption": {"kind": "missing"}},
        ),
        ({"activations": ["relu"]}, {"activations": ["tanh"]}, {"activations": ["tanh"]}),
        ({"preset": "aa-check", "margin": {"loss": 1.0}}, {"margin": None}, {"preset": "aa-check", "margin": None}),
    ],
)
def test_fields_are_merged_into_what_they_stand_beside(
    spec: Any, fields: dict[str, Any], document: dict[str, Any]
) -> None:
    assert document_of(spec, fields) == document


def test_merging_here_or_in_the_service_comes_to_the_same() -> None:
    preset = {"preset": "harrison-multivariate", "training": {"optimizer": {"lr": 0.1}}}
    fields = {"training": {"epochs": 7}, "corruption": {"kind": "missing"}}
    at_once = {
        "preset": "harrison-multivariate",
        "training": {"epochs": 7, "optimizer": {"lr": 0.1}},
        "corruption": {"kind": "missing"},
    }
    assert resolve(document_of(preset, fields)) == resolve(at_once)


def test_what_was_given_is_not_altered() -> None:
    given = {"training": {"epochs": 3}}
    document_of(given, {"training": {"epochs": 4}})
    assert given == {"training": {"epochs": 3}}
