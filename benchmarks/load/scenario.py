"""What is asked of the service under load: experiments of one run, and looks at them."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.load.traffic import Request

# One network: clean alone is trained where nothing is corrupted.
SPEC: dict[str, Any] = {
    "dataset": {"kind": "fbm", "num_columns": 6, "train_size": 200, "val_size": 100},
    "architecture": {"kind": "mlp", "hidden": [16, 8], "batch_norm": True},
    "corruption": {"kind": "none"},
    "activations": ["relu"],
    "training": {"epochs": 5, "batch_size": 32},
    "num_seeds": 1,
    "reuse": False,
}
JSON_HEADERS = (("Content-Type", "application/json"),)
# How often each call is made; a list holds 50 experiments.
MIX = {"": 50, "/runs": 20, "/robustness": 20, "list": 10}


def post_for(name: str) -> Callable[[int], Request]:
    """Experiments that no other one equals, each under a key of its own."""

    def post(number: int) -> Request:
        body = json.dumps({**SPEC, "name": f"{name} {number}", "base_seed": number}).encode()
        return Request("POST", "/experiments", body, (*JSON_HEADERS, ("Idempotency-Key", f"{name}-{number}")))

    return post


def looks(experiment_ids: Sequence[str], *, seed: int = 0) -> Callable[[int], Request]:
    """Any call of the mix on any of the experiments."""
    chance = random.Random(seed)

    def look(_number: int) -> Request:
        (call,) = chance.choices(list(MIX), weights=list(MIX.values()))
        path = "/experiments" if call == "list" else f"/experiments/{chance.choice(experiment_ids)}{call}"
        return Request("GET", path)

    return look
