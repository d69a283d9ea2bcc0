"""All metrics of an experiment as one file, written while it is sent: memory stays small however long it is."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

from shared.store.db import Database
from shared.store.metrics import NAMES, ROWS_PER_CHUNK, MetricsFilter, metrics_page

Chunk = list[tuple[Any, ...]]
Writer = Callable[[Iterator[Chunk]], Iterator[bytes]]

TEXT_COLUMNS = {"run_id", "activation", "nonfinite"}
WHOLE_COLUMNS = {"seed", "epoch"}


def download(database: Database, experiment_id: str, wanted: MetricsFilter, writer: Writer) -> Iterator[bytes]:
    """The pieces of the file."""
    yield from writer(_chunks(database, experiment_id, wanted))


def _chunks(database: Database, experiment_id: str, wanted: MetricsFilter) -> Iterator[Chunk]:
    """Rows in pieces, each read by itself: whoever reads slowly holds no connection meanwhile."""
    after = None
    while True:
        with database.read() as session:
            page = metrics_page(session, experiment_id, wanted, limit=ROWS_PER_CHUNK, after=after)
        if not page:
            return
        after = page[-1][1]
        yield [tuple(item[name] for name in NAMES) for item, _ in page]


def as_csv(chunks: Iterator[Chunk]) -> Iterator[bytes]:
    """A header line and a line a row (RFC 4180); a number that does not exist is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(NAMES)
    for chunk in chunks:
        writer.writerows(chunk)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def as_parquet(chunks: Iterator[Chunk]) -> Iterator[bytes]:
    """A Parquet file with a row group a chunk."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    sink = _Sink()
    schema = pa.schema([(name, _arrow_type(pa, name)) for name in NAMES])
    with ParquetWriter(sink, schema) as writer:
        for chunk in chunks:
            columns = [
                pa.array(column, kind.type) for column, kind in zip(zip(*chunk, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            yield sink.take()
    yield sink.take()


def _arrow_type(pa: Any, name: str) -> Any:
    if name in TEXT_COLUMNS:
        return pa.string()
    return pa.int32() if name in WHOLE_COLUMNS else pa.float64()


class _Sink(io.RawIOBase):
    """A file that gives away what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._length += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._length

    def take(self) -> bytes:
        """Everything since the last time."""
        pieces = b"".join(self._pieces)
        self._pieces.clear()
        return pieces
