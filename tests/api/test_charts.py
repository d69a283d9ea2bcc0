import json
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from api.endpoints.charts import MEDIA_TYPES, FormatName, ViewName
from shared.analysis.charts import VIEWS
from shared.store.db import Database
from tests.api.support import ON_DIGITS, TINY, faults, post, train

FORMATS: tuple[FormatName, ...] = get_args(FormatName)
BEGINNINGS: dict[FormatName, bytes] = {"svg": b"<svg", "png": b"\x89PNG", "vega-lite": b"{"}


@pytest.fixture
def trained(sqlite_client: TestClient, sqlite_url: str) -> str:
    experiment_id: str = post(sqlite_client)["id"]
    database = Database(sqlite_url)
    train(database, experiment_id)
    database.close()
    return experiment_id


def chart(client: TestClient, experiment_id: str, **query: Any) -> Any:
    return client.get(f"/experiments/{experiment_id}/robustness/chart", params=query)


def test_the_views_are_those_that_can_be_drawn() -> None:
    assert set(get_args(ViewName)) == set(VIEWS)
    assert set(FORMATS) == set(MEDIA_TYPES)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_drawn_in_every_format(sqlite_client: TestClient, trained: str, view: str) -> None:
    for name in FORMATS:
        response = chart(sqlite_client, trained, view=view, format=name)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith(MEDIA_TYPES[name])
        assert response.content.startswith(BEGINNINGS[name])


def test_without_parameters_it_is_the_studys_figure_as_svg(sqlite_client: TestClient, trained: str) -> None:
    response = chart(sqlite_client, trained)
    assert "10 % of the rows dirty" in response.text
    assert "leaky, 0.2" in response.text


def test_the_definition_holds_the_numbers_of_the_comparison(sqlite_client: TestClient, trained: str) -> None:
    compared = sqlite_client.get(f"/experiments/{trained}/robustness").json()
    drawn = json.loads(chart(sqlite_client, trained, view="forest", format="vega-lite").text)
    rows = [row for rows in drawn["datasets"].values() for row in rows if "verdict" in row]
    expected = {entry["activation"]: entry["conditions"][0]["degradation"]["mean"] for entry in compared["activations"]}
    assert {row["activation"]: row["mean"] for row in rows} == expected


def test_a_picture_that_has_not_changed_is_not_sent_again(sqlite_client: TestClient, trained: str) -> None:
    tag = chart(sqlite_client, trained).headers["etag"]
    url = f"/experiments/{trained}/robustness/chart"
    assert sqlite_client.get(url, headers={"If-None-Match": tag}).status_code == 304
    assert sqlite_client.get(f"{url}?view=forest", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("view", VIEWS)
def test_there_is_a_picture_before_anything_was_trained(sqlite_client: TestClient, view: str) -> None:
    assert chart(sqlite_client, post(sqlite_client)["id"], view=view).status_code == 200


def test_one_of_several_rates_and_another_metric_may_be_shown(sqlite_client: TestClient) -> None:
    experiment_id = post(sqlite_client, ON_DIGITS)["id"]
    assert "40 % of the rows dirty" in chart(sqlite_client, experiment_id).text
    assert "20 % of the rows dirty" in chart(sqlite_client, experiment_id, rate=0.2, view="forest").text
    assert "validation loss" in chart(sqlite_client, experiment_id, metric="loss", view="curves").text


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"view": "pie"}, "view"),
        ({"format": "gif"}, "format"),
        ({"rate": 0.5}, "rate"),
        ({"metric": "accuracy"}, "metric"),
        ({"include": "curves"}, "include"),
    ],
)
def test_what_cannot_be_drawn_is_said(sqlite_client: TestClient, query: dict[str, Any], parameter: str) -> None:
    assert set(faults(chart(sqlite_client, post(sqlite_client)["id"], **query))) == {parameter}


def test_an_experiment_without_dirt_has_its_pictures_too(sqlite_client: TestClient) -> None:
    experiment_id = post(sqlite_client, {**TINY, "corruption": {"kind": "none", "pairing": "independent"}})["id"]
    for view in VIEWS:
        assert chart(sqlite_client, experiment_id, view=view).status_code == 200
