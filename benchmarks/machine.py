"""The machine that something was measured on, and what it can do at best."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.engine import available_cores
from benchmarks.measuring import Alternative, run_once

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "numpy", "jax", "jaxlib", "optax", "lightning")
SIMD_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "asimd", "sve")
MATRIX_SIZES = (256, 512, 1024, 2048)
SECONDS_PER_SIZE = 0.5


@dataclass(frozen=True)
class Machine:
    """What the speed of a program depends on; peaks are of float32 matrix products in torch."""

    cpu: str
    num_cores: int
    caches: Mapping[str, str]
    simd: tuple[str, ...]
    memory_gib: float
    operating_system: str
    python: str
    packages: Mapping[str, str]
    peak_gflops_one_core: float
    peak_gflops_all_cores: float


def describe() -> Machine:
    """This machine; measuring its peaks takes seconds."""
    fields = _cpu_fields()
    known = set(fields.get("flags", fields.get("Features", "")).split())
    return Machine(
        cpu=fields.get("model name") or platform.processor() or platform.machine(),
        num_cores=available_cores(),
        caches=_caches(),
        simd=tuple(flag for flag in SIMD_FLAGS if flag in known),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        operating_system=_operating_system(),
        python=platform.python_version(),
        packages=_versions(),
        peak_gflops_one_core=_peak_gflops(1),
        peak_gflops_all_cores=_peak_gflops(None),
    )


def matrix_peak(
    *, sizes: tuple[int, ...] = MATRIX_SIZES, seconds_per_size: float = SECONDS_PER_SIZE
) -> dict[str, float]:
    """The fastest product of two float32 matrices, on the cores that this process may use."""
    import torch

    torch.set_num_threads(available_cores())
    rates = {size: _flops_per_s(torch.rand(size, size), seconds_per_size) for size in sizes}
    best = max(rates, key=lambda size: rates[size])
    return {"gflops": rates[best] / 1e9, "size": best}


def _flops_per_s(matrix: "torch.Tensor", seconds: float) -> float:
    import torch

    product = torch.empty_like(matrix)
    fastest = float("inf")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        torch.mm(matrix, matrix, out=product)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * len(matrix) ** 3 / fastest


def _peak_gflops(num_cores: int | None) -> float:
    figures = run_once(Alternative("matrix peak", "benchmarks.machine:matrix_peak", num_cores=num_cores))
    return round(float(figures["gflops"]), 1)


def _cpu_fields() -> dict[str, str]:
    """The first processor in `/proc/cpuinfo`; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    lines = path.read_text().split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _caches() -> dict[str, str]:
    """Size of each cache of the first core; empty where the system does not tell."""
    caches = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        caches[f"L{level} {kind.lower()}"] = size
    return caches


def _operating_system() -> str:
    if hasattr(os, "uname") and Path("/etc/os-release").exists():
        return f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}"
    return platform.platform()


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
