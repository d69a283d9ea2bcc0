"""Faults for a while: `python -m tests.faults [--seed N] [--stack sqlite|postgres] [--case NAME] [--minutes M]`."""

import argparse
import secrets
import signal
import sys
import time

from tests.faults.driver import Item, items, run, stories
from tests.faults.stack import Kind

BEGAN_S = time.monotonic()


def main() -> int:
    """0: everything held. 1: something broke; the replay command is printed."""
    options = _options()
    # As with Ctrl-C: whatever runs is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    kinds = [Kind(options.stack)] if options.stack else list(Kind)
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    _say(f"seed {seed}")
    if options.case:
        rounds = [[Item(kind, options.case, seed)] for kind in kinds if options.case in stories(kind)]
    else:
        rounds = [[item for number in range(100) for item in items(kind, seed + number)] for kind in kinds]
    report = run(rounds, _say, seconds=60 * options.minutes, num_faults=options.faults)
    _say(f"all that was injected\n{report.table()}")
    return 1 if report.failed else 0


def _say(line: str) -> None:
    print(f"{time.monotonic() - BEGAN_S:7.1f} {line}", flush=True)  # noqa: T201 (a command line's output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Injects faults and checks I1 to I7.")
    parser.add_argument("--seed", type=int, help="what the schedule is drawn from; random when absent")
    parser.add_argument("--stack", choices=[str(kind) for kind in Kind], help="both in turns when absent")
    parser.add_argument(
        "--case", choices=sorted({name for kind in Kind for name in stories(kind)}), help="only this one"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="no story begins later than that")
    parser.add_argument("--faults", type=int, help="no story begins after that many faults")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
