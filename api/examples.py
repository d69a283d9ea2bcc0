"""The examples of the OpenAPI document. Tests post the requests and hold the answers against their schemas."""

from http import HTTPStatus
from typing import Any

from shared.catalog.presets import PRESETS
from shared.spec import resolve

ID = "0199c2f0-7d3a-7c1e-9b52-3f6f1f0a5c11"
RUN_ID = "0199c2f0-7d3b-7f00-8a51-0d1e6a4f2b90"
PRESET_NAME = "harrison-multivariate"

_SPEC: dict[str, Any] = resolve({"preset": PRESET_NAME}).model_dump(mode="json")

REQUESTS: dict[str, dict[str, Any]] = {
    "preset": {"summary": "A preset as it is", "value": {"preset": PRESET_NAME}},
    "overrides": {
        "summary": "A preset with other seeds and epochs",
        "value": {"preset": PRESET_NAME, "name": "a first look", "num_seeds": 5, "training": {"epochs": 10}},
    },
    "dataset": {"summary": "Nothing but a data set", "value": {"dataset": {"kind": "digits"}}},
    "sweep": {
        "summary": "A sweep over rates of label noise, with an activation's parameter changed",
        "value": {
            "name": "label noise on digits",
            "dataset": {"kind": "digits"},
            "corruption": {"kind": "symmetric", "rates": [0.1, 0.2, 0.4]},
            "activations": ["relu", "gelu", {"kind": "leaky_relu", "negative_slope": 0.2, "label": "leaky 0.2"}],
            "training": {"epochs": 30, "optimizer": {"kind": "sgd", "lr": 0.05, "momentum": 0.9}},
            "num_seeds": 10,
            "margin": {"accuracy": 0.02},
        },
    },
    "until": {
        "summary": "As many seeds as it takes for intervals of at most 0.002 to either side",
        "value": {
            "preset": PRESET_NAME,
            "margin": {"loss": 0.004},
            "until": {"ci_half_width": 0.002, "max_seeds": 30},
        },
    },
}

EXPERIMENT: dict[str, Any] = {
    "id": ID,
    "name": PRESET_NAME,
    "state": "running",
    "spec": _SPEC,
    "progress": {
        "runs_total": 140, "runs_finished": 20, "runs_failed": 0, "runs_reused": 0,
        "epochs_total": 2800, "epochs_done": 700, "eta_s": 41.5,
    },
    "created_at": "2026-01-15T20:04:11.482913Z",
    "started_at": "2026-01-15T20:04:11.903227Z",
    "finished_at": None,
    "provenance": {
        "actrobust": "0.1.0", "python": "3.11.9", "preset": PRESET_NAME,
        "spec_sha256": "6f1d3c0c1b0f7f9f3f0a2a4b8f6d5f0b7c9f1c2d3e4f5061728394a5b6c7d8e9",
        "numerics": [{"engine": "compiled", "device": "cpu", "threads": 1, "precision": "float32", "torch": "2.13.0"}],
    },
    "error": None,
}  # fmt: skip

QUEUED: dict[str, Any] = {
    **EXPERIMENT,
    "state": "queued",
    "progress": {**EXPERIMENT["progress"], "runs_finished": 0, "epochs_done": 0, "eta_s": None},
    "started_at": None,
    "provenance": {**EXPERIMENT["provenance"], "numerics": []},
}

CANCELLING: dict[str, Any] = {
    **EXPERIMENT,
    "state": "cancelling",
    "progress": {**EXPERIMENT["progress"], "eta_s": None},
}

PLAN: dict[str, Any] = {
    "jobs": 14,
    "runs": 140,
    "runs_reusable": 0,
    "epochs_total": 2800,
    "metric_rows": 2800,
    "estimated_training_flops": 9.2e11,
    "estimated_memory_bytes": 9_000_000,
    "warnings": [],
    "spec": _SPEC,
}

_NUMBERS: dict[str, Any] = {
    "train_loss": 0.0412,
    "val_loss": 0.0398,
    "train_accuracy": None,
    "val_accuracy": None,
    "val_loss_a": 0.0391,
    "val_accuracy_a": None,
    "memorization": 0.12,
    "recovery": None,
    "nonfinite": None,
}

METRICS_ROW: dict[str, Any] = {
    "run_id": RUN_ID, "activation": "relu", "rate": 0.1, "seed": 0, "epoch": 20, **_NUMBERS,
}  # fmt: skip

RUN: dict[str, Any] = {
    "run_id": RUN_ID, "activation": "relu", "rate": 0.1, "seed": 0, "state": "succeeded", "outcome": "ok", "epoch": 20,
    "null_loss": 0.1003, "null_accuracy": None, "realised_rate": 0.1,
    "mask_hash": "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8", "reused_from": None,
    "metrics": _NUMBERS,
}  # fmt: skip

_CONDITION: dict[str, Any] = {
    "rate": 0.1,
    "dirty": {"mean": 0.04, "sd": 0.003, "n": 10},
    "pairing_correlation": 0.6,
    "degradation": {
        "mean": 0.01, "sd": 0.0028, "n": 10, "iqm": 0.01, "ci_low": 0.008, "ci_high": 0.012,
        "p_value": 0.00195, "effect_size": 3.26,
    },
    "normalized": {"value": 0.143, "ci_low": 0.11, "ci_high": 0.18},
    "noninferiority_p": 0.9999, "inferiority_p": 0.0002, "equivalence_p": 0.9999,
    "verdict": "harmed", "provisional": True, "smallest_margin": 0.012,
    "share_beyond_margin": {"value": 0.9, "ci_low": 0.555, "ci_high": 0.9975},
    "best_last_gap": {"clean": 0.0, "dirty": 0.001},
    "memorization": 0.12, "recovery": None, "relative_error": 100.0,
}  # fmt: skip

ROBUSTNESS: dict[str, Any] = {
    "experiment_id": ID,
    "state": "succeeded",
    "complete": True,
    "inference_scope": "fresh_data",
    "exploratory": False,
    "metric": {"name": "loss", "unit": "mse", "better": "lower"},
    "score": "final",
    "epoch": 20,
    "num_seeds": 10,
    "margin": {"value": 0.005, "declared": False},
    "confidence": 0.95,
    "null_score": {"mean": 0.1},
    "activations": [
        {
            "activation": "relu", "rank": 1, "rank_low": 1, "rank_high": 2,
            "clean": {"mean": 0.03, "sd": 0.002, "n": 10},
            "conditions": [_CONDITION],
            "audc": {"mean": 0.005, "ci_low": 0.004, "ci_high": 0.006},
            "breakdown_rate": {"value": None, "ci_low": None, "ci_high": None, "censored_above": 0.1},
            "relative_error": 100.0,
            "curve": [
                {
                    "rate": 0.1, "epoch": 1, "clean": 0.09, "dirty": 0.1, "degradation": 0.01, "ci_low": 0.0,
                    "ci_high": 0.02, "band_low": -0.01, "band_high": 0.03,
                }
            ],
        }
    ],
    "pairs": [
        {
            "a": "relu", "b": "elu", "rate": 0.1, "of": "degradation", "family": "primary",
            "difference": -0.001, "ci_low": -0.0021, "ci_high": 0.0001, "effect_size": -0.6, "p_value": 0.08,
            "p_adjusted": 0.08, "probability_a_lower": {"value": 0.8, "ci_low": 0.444, "ci_high": 0.975},
        }
    ],
    "raw": [{"activation": "relu", "rate": 0.1, "seed": 0, "clean": 0.03, "dirty": 0.04}],
    "diverged": [],
    "missing_pairs": [],
    "warnings": [],
}  # fmt: skip

_PRESET = PRESETS[PRESET_NAME]
PRESET_SUMMARY: dict[str, Any] = {
    "name": _PRESET.name, "title": _PRESET.title, "description": _PRESET.description, "source": _PRESET.source,
}  # fmt: skip
PRESET: dict[str, Any] = {**PRESET_SUMMARY, "spec": dict(_PRESET.spec), "resolved_spec": _SPEC}

_RELU: dict[str, Any] = {
    "kind": "relu",
    "title": "Rectified linear unit",
    "formula": "f(x) = max(0, x)",
    "source": "Nair & Hinton 2010, Rectified linear units improve restricted Boltzmann machines",
    "parameters": {"type": "object", "properties": {"kind": {"const": "relu"}, "label": {"type": "string"}}},
    "learnable": False,
}
CATALOG: dict[str, Any] = {
    "activations": [_RELU], "datasets": [], "corruptions": [], "architectures": [], "optimizers": [], "schedules": [],
    "losses": [], "presets": [PRESET_SUMMARY],
}  # fmt: skip

WORKER: dict[str, Any] = {
    "id": "7f1c2e9a4b60", "device": "cpu", "slots": 1, "started_at": "2026-01-15T19:58:40.120377Z",
    "heartbeat_at": "2026-01-15T20:04:20.733015Z", "state": "busy",
    "job": {"id": "0199c2f0-7d3a-7c1e-9b52-3f6f1f0a5c12", "experiment_id": ID, "activation": "relu"},
}  # fmt: skip

PROMETHEUS = """# HELP actrobust_queue_depth Jobs that wait, by what they ask for.
# TYPE actrobust_queue_depth gauge
actrobust_queue_depth{device="any"} 12.0
actrobust_queue_depth{device="cuda"} 0.0
# HELP actrobust_epochs_trained_total Epochs of single networks.
# TYPE actrobust_epochs_trained_total counter
actrobust_epochs_trained_total 151200.0
"""

EVENTS = f"""event: experiment.state
data: {{"state":"running","error":null}}
id: 5814-0

event: run.epoch
data: {{"run_id":"{RUN_ID}","activation":"relu","rate":0.1,"seed":3,"epoch":1,"train_loss":0.31,"val_loss":0.27,\
"train_accuracy":null,"val_accuracy":null,"nonfinite":null}}
id: 5821-13

event: done
data: {{"state":"succeeded"}}
id: 6377-1

""".replace("\\\n", "")

# By operation and status.
ANSWERS: dict[tuple[str, str], dict[str, Any]] = {
    ("create_experiment", "200"): PLAN,
    ("create_experiment", "202"): QUEUED,
    ("list_experiments", "200"): {"items": [EXPERIMENT]},
    ("get_experiment", "200"): EXPERIMENT,
    ("cancel_experiment", "200"): {**EXPERIMENT, "state": "cancelled", "finished_at": "2026-01-15T20:05:02.016381Z"},
    ("cancel_experiment", "202"): CANCELLING,
    ("resume_experiment", "202"): QUEUED,
    ("list_runs", "200"): {"items": [RUN]},
    ("list_metrics", "200"): {"items": [METRICS_ROW]},
    ("get_robustness", "200"): ROBUSTNESS,
    ("get_catalog", "200"): CATALOG,
    ("list_presets", "200"): {"items": [PRESET_SUMMARY]},
    ("get_preset", "200"): PRESET,
    ("list_workers", "200"): {"items": [WORKER]},
    ("get_health", "200"): {"status": "ok"},
    ("get_readiness", "200"): {"status": "ok"},
}


def _problem(status: int, detail: str, *, name: str = "", title: str = "", **more: Any) -> dict[str, Any]:
    return {
        "type": f"urn:actrobust:problem:{name}" if name else "about:blank",
        "title": title or HTTPStatus(status).phrase, "status": status, "detail": detail,
        "instance": "/experiments", "request_id": "5e0a8c1d2f3b4a6c8d7e9f0a1b2c3d4e", **more,
    }  # fmt: skip


_ONE_THING = "1 thing is wrong; 'errors' says where, and what is allowed"
PROBLEMS: dict[str, dict[str, Any]] = {
    "400": _problem(
        400, _ONE_THING, name="malformed-body", title="The body is not JSON",
        errors=[{"pointer": "", "detail": "line 1, column 16: Expecting ',' delimiter", "type": "json_invalid"}],
    ),
    "401": _problem(
        401, "an API key is needed; send the header 'Authorization: Bearer actrobust_...'", name="invalid-api-key",
        title="No valid API key",
    ),
    "404": _problem(404, f"there is no experiment {ID}"),
    "406": _problem(406, "metrics come as application/json, text/csv, application/vnd.apache.parquet"),
    "409": _problem(
        409, "the experiment has succeeded already; there is nothing to cancel", name="conflict",
        title="The request does not fit the present state",
    ),
    "413": _problem(413, "the body must be at most 1048576 bytes"),
    "415": _problem(415, "the body must be JSON: send the header 'Content-Type: application/json'"),
    "422": _problem(
        422, _ONE_THING, name="invalid-parameter", title="A parameter is not valid",
        errors=[{"parameter": "nonsense", "detail": "this parameter does not exist", "type": "extra_forbidden"}],
    ),
    "429": _problem(
        429, "more than 6000 requests in a minute; wait as long as 'Retry-After' says", name="too-many-requests",
        title="Too many requests",
    ),
    "500": _problem(500, "something went wrong on our side; the log tells more under this request_id"),
    "503": _problem(503, "a part of the service does not answer; try again in a moment"),
}  # fmt: skip
BAD_SPEC: dict[str, Any] = _problem(
    422, _ONE_THING, name="invalid-spec", title="The spec is not valid",
    errors=[
        {
            "pointer": "/activations/0/kind",
            "detail": "this activation is not in the catalog; did you mean 'gelu'?",
            "type": "unknown_kind",
        }
    ],
)  # fmt: skip
