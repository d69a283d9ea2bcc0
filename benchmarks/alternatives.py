"""What can be measured in a process of its own: the arguments are JSON, the figures have `seconds` among them."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine import Workshop, run_engine
from benchmarks.rivals import load_rival
from benchmarks.rivals.cells import cells_of, load_rows
from benchmarks.service import final_losses, finish, running_service, wait_for_workers, worker_memory_mib
from shared.plan import plan
from shared.spec import resolve

WARM_UP_BATCHES = 2


def rival(*, name: str, spec: Mapping[str, Any], datasets_dir: str) -> dict[str, Any]:
    """Train all networks of a spec the way of a rival, after a warm-up; its rows lie in memory already.

    Args:
        name: a module of `benchmarks.rivals`.
        spec: as it would be posted.
    """
    resolved = resolve(spec)
    cells = cells_of(resolved)
    rows = load_rows(resolved, cells, datasets_dir=Path(datasets_dir))
    train = load_rival(name)
    training = resolved.training.model_copy(update={"epochs": 1})
    few = rows[0].head(WARM_UP_BATCHES * training.batch_size)
    train(resolved.model_copy(update={"training": training}), cells[:1], [few])
    began = time.perf_counter()
    outcome = train(resolved, cells, rows)
    seconds = time.perf_counter() - began
    warm_flops_per_s = plan(resolved).training_flops / (seconds - outcome.compile_s)
    return {
        "seconds": seconds, "compile_s": outcome.compile_s, "warm_flops_per_s": warm_flops_per_s,
        "final_val_losses": [losses[-1] for losses in outcome.val_losses],
    }  # fmt: skip


def engine(
    *,
    spec: Mapping[str, Any],
    datasets_dir: str,
    compiled_dir: str,
    engine: str = "auto",
    num_workers: int | None = None,
) -> dict[str, Any]:
    """Train all jobs of a spec with our engine, after a warm-up; the loading of the rows is part of the seconds."""
    resolved = resolve(spec)
    run = run_engine(resolved, Workshop(engine, Path(datasets_dir), Path(compiled_dir)), num_workers=num_workers)
    return {
        "seconds": run.wall_s, "load_s": run.load_s, "flops_per_s": run.flops_per_s,
        "peak_memory_mib": run.peak_memory_mib,
        "final_val_losses": [losses[-1] for losses in run.val_losses],
    }  # fmt: skip


def service(*, spec: Mapping[str, Any], datasets_dir: str, num_experiments: int = 1) -> dict[str, Any]:
    """POST a spec to an embedded service of its own, with an empty folder, and wait for its end.

    Args:
        num_experiments: so many one after another; the last is timed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="actrobust-bench-") as folder,
        running_service(Path(folder), Path(datasets_dir)) as (http, process),
    ):
        wait_for_workers(http, process)
        for _ in range(num_experiments):
            experiment_id, seconds = finish(http, spec)
        memory = max(worker_memory_mib(process))
        losses = final_losses(http, experiment_id)
    return {"seconds": seconds, "peak_memory_mib": memory, "final_val_losses": losses}
