import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str, tmp_path: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACTROBUST_")}
    environment |= {"ACTROBUST_DATA_DIR": str(tmp_path), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CONFIGURATION = """
import json, sys
from worker.app import celery_app as app
print(json.dumps({
    "torch": "torch" in sys.modules,
    "queues": [queue.name for queue in app.conf.task_queues],
    "tasks": [name for name in app.tasks if not name.startswith("celery.")],
    "broker": app.conf.broker_url,
    "accepts": app.conf.accept_content,
    "late": app.conf.task_acks_late,
    "prefetch": app.conf.worker_prefetch_multiplier,
    "backend": app.conf.result_backend,
}))
"""


@pytest.mark.parametrize(
    ("device", "queues"), [("cpu", ["actrobust.any"]), ("cuda", ["actrobust.any", "actrobust.cuda"])]
)
def test_the_parent_of_training_processes_loads_no_torch_and_listens_to_its_queues(
    device: str, queues: list[str], tmp_path: Path
) -> None:
    told = json.loads(run(CONFIGURATION, tmp_path, ACTROBUST_WORKER_DEVICE=device))
    assert told == {
        "torch": False,
        "queues": queues,
        "tasks": ["actrobust.train"],
        "broker": f"redis+socket://{tmp_path / 'broker.sock'}",
        "accepts": ["json"],
        "late": False,
        "prefetch": 1,
        "backend": None,
    }
