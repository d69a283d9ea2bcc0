"""`python -m docs.replicate [SETTING ...]`: the study as it was run and as it was meant, through the service.

Starts an embedded service on a folder of its own, posts every setting, and writes for each `docs/replication/NAME.json`
(spec, comparison and what was measured) and `NAME.svg`. MNIST is looked for where ACTROBUST_DATASETS_DIR points.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.service import running_service
from shared.analysis import charts

FOLDER = Path(__file__).with_name("replication")
THREE = {"activations": ["sigmoid", "tanh", "relu"], "num_seeds": 1}
SHAPES = {
    "preset": "glorot-shapeset",
    "dataset": {"train_size": 5000, "val_size": 2000},
    "architecture": {"hidden": [200] * 3},
    "training": {"epochs": 30},
    "num_seeds": 5,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "multivariate-as-run": {"preset": "harrison-multivariate-as-run"},
    "multivariate": {"preset": "harrison-multivariate"},
    "mnist-as-run": {"preset": "harrison-mnist-as-run", **THREE},
    "mnist-regularized": {"preset": "harrison-mnist-regularized", **THREE},
    "shapeset-standard": {**SHAPES, "architecture": {"hidden": [200] * 3, "init": "glorot_standard"}},
    "shapeset-normalized": SHAPES,
}
METRICS = ("val_loss", "val_accuracy", "train_loss", "train_accuracy", "memorization", "recovery")
POLL_S = 2.0


def main(names: list[str]) -> int:
    """Run the settings of these names, or all."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="actrobust-replicate-") as folder,
        running_service(Path(folder)) as (http, _),
    ):
        for name, document in SETTINGS.items():
            if not names or name in names:
                began = time.monotonic()
                found, compared = _replicate(http, document)
                (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
                (FOLDER / f"{name}.svg").write_text(charts.as_svg(charts.degradation(compared)))
                if compared["num_seeds"] > 1:
                    (FOLDER / f"{name}-forest.svg").write_text(charts.as_svg(charts.forest(compared)))
                print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _replicate(http: httpx2.Client, document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What to keep of a setting, and its comparison with all curves."""
    experiment = http.post("/experiments", json=document).raise_for_status().json()
    path = f"/experiments/{experiment['id']}"
    while experiment["state"] not in {"succeeded", "failed"}:
        time.sleep(POLL_S)
        experiment = http.get(path).raise_for_status().json()
    assert experiment["state"] == "succeeded", experiment["error"]
    compared = http.get(f"{path}/robustness?include=curves").raise_for_status().json()
    without_curves = http.get(f"{path}/robustness").raise_for_status().json()
    runs = http.get(f"{path}/runs?page_size=1000").raise_for_status().json()["items"]
    final = [{name: run[name] for name in ("activation", "rate", "seed")} | _measured(run["metrics"]) for run in runs]
    kept = {
        "posted": document, "spec": experiment["spec"], "provenance": experiment["provenance"],
        "robustness": without_curves, "final": final,
    }  # fmt: skip
    return kept, compared


def _measured(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in METRICS if metrics[name] is not None}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
