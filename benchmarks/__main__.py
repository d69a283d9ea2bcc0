"""`python -m benchmarks`: measure what is claimed about speed, and say on which machine."""

import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import service


def main() -> int:
    """Measure and print; exit code 0 when everything could be measured."""
    console = Console()
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}"
    )
    table = Table("figure", "value")
    for name, value in service.measure().items():
        table.add_row(name, f"{value:.1f}")
    console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
