"""`python -m benchmarks.listeners [--listeners 200] [URL]`: many who listen to one experiment that trains.

Each connection is cut once at a random moment and taken up again with `Last-Event-ID`. The exit code is 1 when a
listener missed an epoch, heard one twice or out of order.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.load.processes import Stack, running_stack

SPEC: dict[str, Any] = {
    "dataset": {"kind": "fbm", "num_columns": 10, "train_size": 5000, "val_size": 2000},
    "activations": ["relu", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "softsign"],
    "corruption": {"rates": [0.1]},
    "training": {"epochs": 20},
    "num_seeds": 10,
}
NUM_EPOCHS = 7 * 2 * 10 * 20


async def main() -> int:
    """Start a service, post an experiment and listen; what it cost is printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.listeners")
    parser.add_argument("url", nargs="?", help="an empty database; a SQLite file of its own unless given")
    parser.add_argument("--listeners", type=int, default=200)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ar-") as name:
        folder = Path(name)
        with running_stack(folder, wanted.url or f"sqlite:///{folder / 'actrobust.db'}") as stack:
            return await _measure(stack, wanted.listeners)


async def _measure(stack: Stack, num_listeners: int) -> int:
    experiment_id = httpx2.post(f"{stack.url}/experiments", json=SPEC, trust_env=False).json()["id"]
    began_s, before = time.perf_counter(), stack.cpu_s()["api"]
    found = await asyncio.gather(*(_listen(stack.url, experiment_id, number) for number in range(num_listeners)))
    wall_s, cpu_s = time.perf_counter() - began_s, stack.cpu_s()["api"] - before
    faulty = [problem for problem in found if problem]
    print(
        f"{num_listeners} listeners, {NUM_EPOCHS} epochs each: {cpu_s:.1f} CPU s of the API in {wall_s:.1f} s "
        f"({cpu_s / wall_s:.0%} of a core); {len(faulty)} listeners with gaps or repetitions {faulty[:3]}"
    )
    return 1 if faulty else 0


async def _listen(url: str, experiment_id: str, number: int) -> str:
    """Listen to the end, with one interruption; what was wrong with what came."""
    chance = random.Random(number)
    cut_after, last_id, heard = chance.randrange(NUM_EPOCHS), None, defaultdict(list)
    num = 0
    while True:
        async for event_id, kind, data in _events(url, experiment_id, last_id):
            last_id = event_id
            if kind == "done":
                whole = list(range(1, 21))
                wrong = sum(epochs != whole for epochs in heard.values())
                return f"{wrong} wrong of {len(heard)} runs" if wrong or len(heard) * 20 != NUM_EPOCHS else ""
            if kind == "run.epoch":
                heard[data["run_id"]].append(data["epoch"])
                num += 1
                if num == cut_after:
                    break
        await asyncio.sleep(chance.random())


async def _events(url: str, experiment_id: str, last_id: str | None) -> AsyncIterator[tuple[str, str, Any]]:
    """One connection, read as simply as can be: the listeners share the machine with what is measured."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**24)
    head = f"GET /experiments/{experiment_id}/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
    writer.write((head + (f"Last-Event-ID: {last_id}\r\n" if last_id else "") + "\r\n").encode())
    try:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        kept = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            *blocks, kept = (kept + (await reader.readexactly(size + 2))[:-2]).split(b"\n\n")
            for block in blocks:
                if not block.startswith(b":"):
                    fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
                    yield fields["id"], fields["event"], json.loads(fields["data"])
    except asyncio.IncompleteReadError:
        return
    finally:
        writer.close()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
