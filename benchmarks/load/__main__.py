"""`python -m benchmarks.load [URL]`: posts and looks at a fixed rate, beside two workers that train.

With `--soak MINUTES`: submissions for that long, then everything has to be drained and no memory to have grown. URL is
that of an empty database; a SQLite file of its own unless given.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.load.processes import Stack, running_stack
from benchmarks.load.scenario import looks, post_for
from benchmarks.load.soak import soak
from benchmarks.load.traffic import Outcome, Request, Traffic

POSTS_PER_S = 50.0
GETS_PER_S = 200.0
WARM_UP_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when anything failed; whether it was quick enough is for the reader."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="ar-") as folder:
        url = options.url or f"sqlite:///{Path(folder) / 'load.db'}"
        with running_stack(Path(folder), url, num_apis=options.apis) as stack:
            if options.soak:
                problems = soak(stack, url, Path(folder) / "data", minutes=options.soak, rate=options.posts or 1.0)
            else:
                problems = _load(stack, options)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    return 1 if problems else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load")
    parser.add_argument("url", nargs="?", help="of an empty database; a SQLite file of its own unless given")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two phases")
    parser.add_argument("--posts", type=float, help="a second; 50, and 1 in a soak")
    parser.add_argument("--gets", type=float, default=GETS_PER_S, help="a second")
    parser.add_argument("--apis", type=int, default=1, help="processes that answer")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    return parser.parse_args(arguments)


def _load(stack: Stack, options: argparse.Namespace) -> list[str]:
    rate = options.posts or POSTS_PER_S
    # What is loaded with the first requests is no growth.
    warm = _phase(stack, "warm-up", 5.0, WARM_UP_S, post_for("warm-up"))
    ids = [json.loads(body)["id"] for body in warm.bodies]
    _phase(stack, "warm-up", 20.0, WARM_UP_S, looks(ids))
    posted = _phase(stack, "POST", rate, options.seconds, post_for("load"))
    ids += [json.loads(body)["id"] for body in posted.bodies]
    looked = _phase(stack, "GET", options.gets, options.seconds, looks(ids))
    return [f"{count} x {error}" for error, count in (posted.errors + looked.errors).items()] + stack.dead()


def _phase(stack: Stack, name: str, rate: float, seconds: float, make: Callable[[int], Request]) -> Outcome:
    cpu_s = stack.cpu_s()
    outcome = asyncio.run(Traffic(stack.url).send_at(rate, seconds, make))
    used = ", ".join(f"{part} {after - cpu_s[part]:.1f}" for part, after in stack.cpu_s().items())
    figures = ", ".join(f"p{percent:g} {outcome.quantile_ms(percent):.0f}" for percent in (50, 90, 99))
    slowest = max(outcome.latencies_ms, default=float("nan"))
    print(f"{name}, {rate:g} a second for {seconds:g} s: {len(outcome.latencies_ms)} answered")
    print(f"    errors: {outcome.errors.total()}; ms: {figures}, max {slowest:.0f}")
    api_mib = sum(size for name, size in stack.memory_mib().items() if name.startswith("api"))
    print(f"    CPU seconds: {used}; memory of the API now: {api_mib:.0f} MiB", flush=True)
    return outcome


if __name__ == "__main__":
    raise SystemExit(main())
