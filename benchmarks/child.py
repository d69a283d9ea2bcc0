"""`python -m benchmarks.child`: one measurement in a fresh process, so that its threads and memory are its own.

Reads a JSON object from standard input, `{"target": "module:function", "arguments": {...}, "num_cores": null}`; the
last line on standard output is the function's figures as JSON, with the process's peak of memory unless they have one
of their own.
"""

import json
import os
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def keep_to_cores(num_cores: int) -> None:
    """Use the first so many cores only; libraries that start a thread for every core look at these."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(num_cores)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:num_cores])


def peak_memory_mib() -> float:
    """Peak of resident memory of this process.

    On Linux from `/proc`: the peak that `getrusage` tells includes that of the parent before the program was started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def call(target: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The figures of `module:function`, called with keyword arguments."""
    module, function = target.split(":")
    figures: dict[str, Any] = getattr(import_module(module), function)(**arguments)
    return {"peak_memory_mib": peak_memory_mib(), **figures}


if __name__ == "__main__":
    request = json.load(sys.stdin)
    if request["num_cores"] is not None:
        keep_to_cores(request["num_cores"])
    print("\n" + json.dumps(call(request["target"], request["arguments"])))
