import csv
import io
from typing import Any

import httpx2
import pyarrow.parquet
import pytest
from starlette.testclient import TestClient

from api import downloads
from api.negotiation import preferred
from shared.store import queue
from shared.store.db import Database
from shared.store.metrics import NAMES
from tests.api.support import faults, post, problem, train
from tests.api.test_runs import all_pages

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"


@pytest.fixture
def path(client: TestClient, database: Database) -> str:
    """The metrics of a finished experiment."""
    experiment_id = post(client)["id"]
    train(database, experiment_id)
    return f"/experiments/{experiment_id}/metrics"


def from_csv(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    rows = csv.DictReader(io.StringIO(response.text))
    texts = {"run_id", "activation", "nonfinite"}
    return [
        {name: None if cell == "" else cell if name in texts else float(cell) for name, cell in row.items()}
        for row in rows
    ]


def from_parquet(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(io.BytesIO(response.content)).to_pylist()
    return rows


def test_there_is_a_row_for_every_run_and_epoch(client: TestClient, path: str) -> None:
    rows = client.get(path).json()["items"]
    assert len(rows) == 48
    assert rows[0].keys() == set(NAMES)
    assert [(row["activation"], row["rate"], row["seed"], row["epoch"]) for row in rows] == [
        (activation, rate, seed, epoch)
        for activation in ("relu", "leaky, 0.2") for rate in (0.0, 0.1) for seed in range(3) for epoch in range(1, 5)
    ]  # fmt: skip


@pytest.mark.parametrize("page_size", [1, 7, 47, 48, 49, 10_000])
def test_pages_put_together_are_the_whole(client: TestClient, path: str, page_size: int) -> None:
    assert all_pages(client, path, page_size=page_size) == client.get(path).json()["items"]


def test_pages_repeat_and_skip_nothing_while_epochs_are_added(client: TestClient, database: Database) -> None:
    experiment_id = post(client)["id"]
    train(database, experiment_id, epochs=1, complete=False)
    first = client.get(f"/experiments/{experiment_id}/metrics?page_size=5").json()
    row = first["items"][0]
    job_metrics = queue.MetricsRow(row["run_id"], 2, train_loss=0.5)
    with database.write() as session:
        lease = _lease_of(session, row["run_id"])
        queue.commit_epoch(session, lease, [job_metrics])
    rest = all_pages(client, f"/experiments/{experiment_id}/metrics", page_size=5, page_token=first["next_page_token"])
    keys = [(row["run_id"], row["epoch"]) for row in [*first["items"], *rest]]
    assert len(keys) == len(set(keys)) == 12


def _lease_of(session: Any, run_id: str) -> queue.Lease:
    from shared.store.tables import Job, Run

    job = session.get_one(Job, session.get_one(Run, run_id).job_id)
    return queue.Lease(job.id, job.token)


def test_filters_narrow_the_rows(client: TestClient, path: str) -> None:
    rows = client.get(path).json()["items"]

    def expect(query: dict[str, Any], wanted: Any) -> None:
        expected = [row for row in rows if wanted(row)]
        assert expected
        assert all_pages(client, path, **query) == expected
        assert [row["run_id"] for row in from_csv(client.get(path, params={**query, "format": "csv"}))] == [
            row["run_id"] for row in expected
        ]

    expect({"activation": "leaky, 0.2"}, lambda row: row["activation"] == "leaky, 0.2")
    expect({"rate": 0.1}, lambda row: row["rate"] == 0.1)
    expect({"seed": [0, 2]}, lambda row: row["seed"] != 1)
    expect({"epoch_from": 2, "epoch_to": 3}, lambda row: row["epoch"] in {2, 3})
    expect({"rate": 0, "seed": 1, "epoch_to": 1}, lambda row: (row["rate"], row["seed"], row["epoch"]) == (0, 1, 1))


def test_csv_and_parquet_hold_the_rows_of_the_pages(client: TestClient, path: str) -> None:
    rows = client.get(path).json()["items"]
    assert from_csv(client.get(path, params={"format": "csv"})) == rows
    assert from_parquet(client.get(path, params={"format": "parquet"})) == rows


def test_a_file_of_many_chunks_is_the_same(client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = client.get(path).json()["items"]
    monkeypatch.setattr("api.downloads.ROWS_PER_CHUNK", 7)
    assert from_csv(client.get(path, params={"format": "csv"})) == rows
    response = client.get(path, params={"format": "parquet"})
    assert from_parquet(response) == rows
    assert pyarrow.parquet.ParquetFile(io.BytesIO(response.content)).num_row_groups == 7


def test_a_file_without_rows_still_has_its_columns(client: TestClient) -> None:
    path = f"/experiments/{post(client)['id']}/metrics"
    assert client.get(path).json() == {"items": []}
    assert client.get(path, params={"format": "csv"}).text == ",".join(NAMES) + "\r\n"
    table = pyarrow.parquet.read_table(io.BytesIO(client.get(path, params={"format": "parquet"}).content))
    assert (table.num_rows, tuple(table.column_names)) == (0, NAMES)


def test_a_file_says_what_it_is_and_how_to_call_it(client: TestClient, path: str) -> None:
    experiment_id = path.split("/")[2]
    for format_, media_type in (("csv", "text/csv; charset=utf-8"), ("parquet", PARQUET)):
        response = client.get(path, params={"format": format_})
        assert response.headers["content-type"] == media_type
        assert response.headers["content-disposition"] == f'attachment; filename="metrics-{experiment_id}.{format_}"'
        assert response.headers["vary"] == "Accept"


def test_numbers_survive_every_format_to_the_last_bit(client: TestClient, database: Database) -> None:
    experiment_id = post(client, {"activations": ["relu"], "num_seeds": 1, "training": {"epochs": 1}})["id"]
    awkward: dict[str, Any] = {
        "train_loss": 0.1 + 0.2,
        "val_loss": 5e-324,
        "val_loss_a": 1.7976931348623157e308,
        "nonfinite": "nan",
    }
    run_id = client.get(f"/experiments/{experiment_id}/runs").json()["items"][0]["run_id"]
    train(database, experiment_id, epochs=1, complete=False)
    with database.write() as session:
        queue.commit_epoch(session, _lease_of(session, run_id), [queue.MetricsRow(run_id, 2, **awkward)])
    path = f"/experiments/{experiment_id}/metrics"
    for rows in (
        client.get(path, params={"epoch_from": 2}).json()["items"],
        from_csv(client.get(path, params={"epoch_from": 2, "format": "csv"})),
        from_parquet(client.get(path, params={"epoch_from": 2, "format": "parquet"})),
    ):
        assert {name: rows[0][name] for name in awkward} == awkward
        assert rows[0]["train_accuracy"] is None


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"), ("*/*", "application/json"), ("application/json", "application/json"),
        ("application/*", "application/json"), (CSV, "text/csv; charset=utf-8"), ("text/*", "text/csv; charset=utf-8"),
        (PARQUET, PARQUET), ("text/html, */*;q=0.8", "application/json"),
        ("text/csv;q=0.9, application/json;q=0.5", "text/csv; charset=utf-8"),
        ("application/json;q=0, */*", "text/csv; charset=utf-8"), ("TEXT/CSV", "text/csv; charset=utf-8"),
    ],
)  # fmt: skip
def test_accept_chooses_the_format(client: TestClient, path: str, accept: str | None, media_type: str) -> None:
    headers = {} if accept is None else {"Accept": accept}
    assert client.get(path, headers=headers).headers["content-type"] == media_type


def test_format_wins_over_accept(client: TestClient, path: str) -> None:
    assert client.get(path, params={"format": "json"}, headers={"Accept": CSV}).json()["items"]
    response = client.get(path, params={"format": "csv"}, headers={"Accept": "application/json"})
    assert response.headers["content-type"].startswith(CSV)
    assert client.get(path, params={"format": "csv"}, headers={"Accept": "image/png"}).status_code == 200


@pytest.mark.parametrize("accept", ["image/png", "application/xml", "*/*;q=0", "text/csv;q=0", "nonsense"])
def test_a_format_that_is_not_offered_is_refused(sqlite_client: TestClient, accept: str) -> None:
    path = f"/experiments/{post(sqlite_client)['id']}/metrics"
    assert PARQUET in problem(sqlite_client.get(path, headers={"Accept": accept}), 406)["detail"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("format=xml", "format"), ("format=csv&page_size=5", "page_size"),
        ("format=parquet&page_token=x", "page_token"), ("page_size=10001", "page_size"),
        ("epoch_from=-1", "epoch_from"), ("epoch_to=99999999999", "epoch_to"),
        ("seed=x", "seed"), ("state=running", "state"), ("activation=%00", "activation"),
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named(sqlite_client: TestClient, query: str, parameter: str) -> None:
    assert parameter in faults(sqlite_client.get(f"/experiments/{post(sqlite_client)['id']}/metrics?{query}"))


def test_the_closest_media_range_decides() -> None:
    offered = ["application/json", CSV, PARQUET]
    assert preferred("", offered) == "application/json"
    assert preferred("text/*;q=0.2, text/csv;q=0.9, application/*;q=0.5", offered) == CSV
    assert preferred("application/*;q=0.9, application/json;q=0.1", offered) == PARQUET
    assert preferred("text/csv;q=nonsense", offered) == CSV
    assert preferred("text/csv;q=nan", offered) is None


def test_a_download_is_written_piece_by_piece() -> None:
    row = ("id", "relu", 0.0, 0, 1, *9 * (None,))
    taken = []

    def chunks() -> Any:
        for number in range(5):
            taken.append(number)
            yield [row] * 10

    for writer in (downloads.as_csv, downloads.as_parquet):
        taken.clear()
        pieces = writer(chunks())
        next(pieces)
        assert taken == [0]
        assert len(list(pieces)) == 5
