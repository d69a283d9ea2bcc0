"""`python -m benchmarks.scale fill|measure URL`: are lists, looks, claims and sweeps quick on a full database?

`fill` migrates an empty database and writes 10,000 experiments with five million rows of metrics; `measure` times each
transaction and request on it, and changes it a little. Everything has to stay below 50 ms.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load.processes import broker
from benchmarks.scale import http, transactions
from benchmarks.scale.filling import Mixture, fill
from benchmarks.scale.timing import HEADER
from shared.settings import Settings
from shared.store.db import Database, upgrade


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill or measure."""
    options = _options(arguments)
    settings = Settings(_env_file=None, database_url=options.url)
    if options.action == "fill":
        upgrade(settings.effective_database_url)
    database = Database(settings.effective_database_url)
    if options.action == "fill":
        fill(database, Mixture(num_experiments=options.experiments))
    else:
        _measure(database, options.times)
    database.close()
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("action", choices=["fill", "measure"])
    parser.add_argument("url", help="SQLAlchemy's, such as sqlite:////tmp/full.db; fill wants an empty database")
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=300, help="how often each thing is done")
    return parser.parse_args(arguments)


def _measure(database: Database, times: int) -> None:
    print(HEADER)
    with tempfile.TemporaryDirectory(prefix="ar-") as folder, broker(Path(folder)) as broker_url:
        url = database.engine.url.render_as_string(hide_password=False)
        settings = Settings(
            _env_file=None, database_url=url, broker_url=broker_url, data_dir=Path(folder), log_level="WARNING",
            allowed_hosts="testserver", max_requests_per_minute=1_000_000,
        )  # fmt: skip
        for measured in (http.measure, transactions.measure):
            for timing in measured(database, settings, times=times):
                print(timing.line(), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
