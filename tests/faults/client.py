"""A client that remembers what it was promised, and every answer that should not have been given."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.faults.servers import wait_until
from tests.faults.specs import SPECS

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Post:
    """An experiment that was asked for. `experiment_id` is None where no answer came: it may exist, once, or not."""

    name: str
    spec: str
    experiment_id: str | None
    duration_s: float


class Client:
    """Speaks HTTP to one stack."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self.posts: list[Post] = []
        # Everything of 500 and more; a case that expects some takes them out.
        self.failures: list[str] = []

    def close(self) -> None:
        self.http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        response = self.http.request(method, path, **options)
        if response.status_code >= 500:
            self.failures.append(f"{method} {path}: {response.status_code} {response.text}")
        return response

    def get(self, path: str, **query: Any) -> Any:
        response = self.request("GET", path, params=query)
        assert response.status_code == 200, f"{path}: {response.status_code} {response.text}"
        return response.json()

    def wait_until_it_answers(self) -> None:
        wait_until(self._answers, "the API answers")

    def _answers(self) -> bool:
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx2.HTTPError:
            return False

    def post(self, spec: str) -> str:
        """Post a spec, which must be accepted; the experiment's id."""
        post = self.try_post(spec)
        assert post.experiment_id is not None, f"a POST was not accepted: {self.failures}"
        return post.experiment_id

    def try_post(self, spec: str) -> Post:
        """Post a spec under a name of its own; it may fail."""
        name, began = f"{spec} {uuid.uuid4()}", time.monotonic()
        experiment_id = None
        try:
            response = self.request("POST", "/experiments", json={**SPECS[spec], "name": name})
            if response.status_code == 202:
                experiment_id = response.json()["id"]
        except httpx2.HTTPError:
            pass  # whether it was stored nobody knows
        post = Post(name, spec, experiment_id, time.monotonic() - began)
        self.posts.append(post)
        return post

    def post_at_once(self, spec: str, num_posts: int) -> list[httpx2.Response]:
        """The same request many times at once, with one Idempotency-Key."""
        name = f"{spec} {uuid.uuid4()}"
        document, headers = {**SPECS[spec], "name": name}, {"Idempotency-Key": name}

        def send(_: int) -> httpx2.Response:
            return self.request("POST", "/experiments", json=document, headers=headers)

        began = time.monotonic()
        with ThreadPoolExecutor(num_posts) as pool:
            responses = list(pool.map(send, range(num_posts)))
        ids = {response.json()["id"] for response in responses if response.status_code == 202}
        for experiment_id in ids:
            self.posts.append(Post(name, spec, experiment_id, time.monotonic() - began))
        return responses

    def cancel(self, experiment_id: str) -> int:
        """Ask for the end of an experiment; the status of the answer."""
        return self.request("POST", f"/experiments/{experiment_id}/cancel").status_code
