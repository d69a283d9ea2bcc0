"""`python -m benchmarks [SECTION ...]`: measure what is claimed about speed, and write docs/performance.*.

Without a section all are measured and written; with some, they are printed only. The section `service` is what the
service costs beside training.
"""

import sys
from pathlib import Path

from benchmarks import machine, service
from benchmarks.report import Report, as_markdown, write
from benchmarks.sections import SECTIONS, bench

DOCS = Path(__file__).parent.parent / "docs"


def main(names: list[str]) -> int:
    """Measure and print; exit code 0 when everything could be measured."""
    unknown = set(names) - {*SECTIONS, "service"}
    if unknown:
        print(f"no section {', '.join(sorted(unknown))}; there are: {', '.join([*SECTIONS, 'service'])}")
        return 2
    with bench(lambda line: print(line, flush=True)) as on:
        tables = [measure(on) for name, measure in SECTIONS.items() if not names or name in names]
    figures = service.measure() if not names or "service" in names else {}
    report = Report(machine.describe(), tables, figures)
    if names:
        print(as_markdown(report))
    else:
        write(report, DOCS)
        print(f"written: {DOCS}/performance.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
