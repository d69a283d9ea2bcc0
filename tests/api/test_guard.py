import pytest
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.conftest import SettingsFor
from tests.api.support import TINY, post, problem


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "[::1]:8000", "LOCALHOST", "testserver"]
)
def test_this_machines_names_and_those_listed_are_answered(sqlite_client: TestClient, host: str) -> None:
    assert sqlite_client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "testserver.evil.example", "", "[::2]"]
)
def test_a_page_whose_name_was_pointed_at_this_machine_gets_nothing(sqlite_client: TestClient, host: str) -> None:
    response = sqlite_client.get("/experiments", headers={"Host": host})
    assert "ACTROBUST_ALLOWED_HOSTS" in problem(response, 421)["detail"]


def test_beyond_loopback_the_operator_says_which_names_are_answered(sqlite_url: str, settings_for: SettingsFor) -> None:
    for allowed, status in (("", 200), ("actrobust.example, other.example", 421)):
        settings = settings_for(sqlite_url, host="0.0.0.0", allowed_hosts=allowed)
        with TestClient(create_app(settings)) as client:
            assert client.get("/healthz", headers={"Host": "unlisted.example"}).status_code == status
            assert client.get("/healthz", headers={"Host": "actrobust.example"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_may_not_change_anything(sqlite_client: TestClient, site: str) -> None:
    experiment_id = post(sqlite_client)["id"]
    foreign = {"Sec-Fetch-Site": site}
    problem(sqlite_client.post(f"/experiments/{experiment_id}/cancel", headers=foreign), 403)
    problem(sqlite_client.post("/experiments", json=TINY, headers=foreign), 403)
    assert sqlite_client.get(f"/experiments/{experiment_id}", headers=foreign).json()["state"] == "queued"
    own = {"Sec-Fetch-Site": "same-origin"}
    assert sqlite_client.post(f"/experiments/{experiment_id}/cancel", headers=own).status_code == 202
