"""The embedded broker, for tests that ring the doorbell for real."""

import json
from pathlib import Path
from typing import Any

import redis

from actrobust.commands.broker import broker_program, wait_until_it_answers
from actrobust.commands.supervisor import Child
from shared.store.doorbell import QUEUES


class Broker:
    """A Valkey server on a socket, which may be killed and started again, empty, at the same address."""

    def __init__(self, folder: Path) -> None:
        self.socket_path = folder / "broker.sock"
        self.url = f"redis+socket://{self.socket_path}"
        self._child: Child | None = None

    def start(self) -> None:
        self._child = Child(broker_program(self.socket_path, log=self.socket_path.parent / "broker.log"))
        assert wait_until_it_answers(self.socket_path, timeout_s=10)

    def stop(self) -> None:
        if self._child is not None:
            self._child.end(grace_s=5)
            self._child = None

    def forget_everything(self) -> None:
        with redis.Redis(unix_socket_path=str(self.socket_path)) as client:
            client.flushall()

    def messages(self, device: str = "any") -> list[str]:
        """The job ids that wait to be delivered, oldest first."""
        with redis.Redis(unix_socket_path=str(self.socket_path)) as client:
            waiting: Any = client.lrange(QUEUES[device], 0, -1)
        return [self._job_id(json.loads(message)) for message in reversed(waiting)]

    def _job_id(self, message: dict[str, Any]) -> str:
        import base64

        assert message["content-type"] == "application/json"
        assert message["headers"]["task"] == "actrobust.train"
        arguments, keywords, _ = json.loads(base64.b64decode(message["body"]))
        assert keywords == {}
        (job_id,) = arguments
        assert isinstance(job_id, str)
        return job_id
