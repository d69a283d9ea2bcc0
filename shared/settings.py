"""Every setting of the service: an `ACTROBUST_*` environment variable, a line of `.env`, or the default."""

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

# A Unix socket's address holds 104 bytes on macOS and 108 on Linux, the closing zero included.
LONGEST_SOCKET_PATH = 100


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "actrobust"


class Settings(BaseSettings):
    """What an operator may set; the field `lease_ttl_s` is the variable `ACTROBUST_LEASE_TTL_S`."""

    model_config = SettingsConfigDict(env_prefix="ACTROBUST_", env_file=".env", extra="ignore", env_ignore_empty=True)

    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="State: database file, checkpoints, compiled code, broker socket, logs. When unset: "
        "`$XDG_DATA_HOME/actrobust`, else `~/.local/share/actrobust`.",
    )
    datasets_dir: Path | None = Field(
        None,
        description="Where data sets on disk lie, torchvision's root; `datasets` in the data directory when unset.",
    )
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL, `postgresql://` means psycopg 3; a SQLite file in the data directory when unset.",
    )
    broker_url: str | None = Field(
        None, description="Redis or Valkey, such as `redis://:password@host:6379/0`; the embedded broker when unset."
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 picks a free one.")
    api_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that answer on the same address; each counts requests and metrics of its own.",
    )
    allowed_hosts: str = Field(
        "", description="Names in the Host header that are answered beside this machine's own, separated by commas."
    )
    url: str | None = Field(
        None,
        description="Service that the command line and the Python client talk to; see there when unset.",
    )
    api_key: SecretStr | None = Field(
        None, description="Key that the command line and the Python client show to the service."
    )

    worker_processes: int | None = Field(
        None, ge=1, le=1024, description="Training processes of one worker; one per core when unset."
    )
    worker_device: Literal["cpu", "cuda"] = Field("cpu", description="`cuda` also takes the jobs that ask for a GPU.")
    lease_ttl_s: float = Field(
        30.0, gt=0, description="A job whose worker was silent for longer, in seconds, is taken back."
    )
    reconcile_interval_s: float = Field(2.0, gt=0, description="Seconds between two sweeps of the reconciler.")
    checkpoint_interval_s: float = Field(5.0, ge=0, description="Seconds of training between two checkpoints of a job.")
    max_losses: int = Field(3, ge=1, description="A job that lost this many workers is failed.")
    idempotency_ttl_s: float = Field(86_400.0, gt=0, description="Seconds for which an Idempotency-Key is remembered.")

    max_requests_per_minute: int = Field(
        6_000, ge=1, description="Most requests of one owner to one API process; beyond it 429."
    )
    max_waiting_experiments: int = Field(
        1_000, ge=1, description="Most experiments of one owner that have not begun; beyond it 429."
    )
    max_body_bytes: int = Field(1_048_576, ge=1, description="Largest request body; beyond it 413.")
    max_runs: int = Field(20_000, ge=1, description="Most runs of one experiment.")
    max_metric_rows: int = Field(5_000_000, ge=1, description="Most runs x epochs of one experiment.")
    max_training_flops: float = Field(1e18, gt=0, description="Most estimated training FLOPs of one experiment.")
    max_memory_bytes: int = Field(8 * 2**30, ge=1, description="Most estimated memory of one training process.")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")
    log_format: Literal["console", "json"] = Field("console", description="`json` writes one JSON object a line.")

    @cached_property
    def effective_database_url(self) -> str:
        """The database that is used: `database_url`, else the SQLite file in `data_dir`."""
        url = self.database_url or f"sqlite:///{self.data_dir.absolute() / 'actrobust.db'}"
        # SQLAlchemy would look for psycopg2 behind the plain name that most hosting environments hand out.
        for plain in ("postgres://", "postgresql://"):
            if url.startswith(plain):
                return "postgresql+psycopg://" + url.removeprefix(plain)
        return url

    @cached_property
    def effective_broker_url(self) -> str:
        """The broker that is used: `broker_url`, else the embedded one's socket."""
        return self.broker_url or f"redis+socket://{self.broker_socket}"

    @cached_property
    def broker_socket(self) -> Path:
        """Where the embedded broker listens; the same path for the same `data_dir`, short enough for a socket."""
        in_data_dir = self.data_dir.absolute() / "broker.sock"
        if len(os.fsencode(in_data_dir)) <= LONGEST_SOCKET_PATH:
            return in_data_dir
        digest = hashlib.sha256(os.fsencode(in_data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"actrobust-{os.getuid()}-{digest}" / "broker.sock"

    @cached_property
    def effective_datasets_dir(self) -> Path:
        """Where data sets on disk are looked for."""
        return (self.datasets_dir or self.data_dir / "datasets").absolute()

    @cached_property
    def checkpoints_dir(self) -> Path:
        """Where checkpoints are written."""
        return self.data_dir.absolute() / "checkpoints"

    @cached_property
    def compiled_dir(self) -> Path:
        """Where compiled code is kept."""
        return self.data_dir.absolute() / "compiled"
