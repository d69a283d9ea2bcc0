import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.settings import LONGEST_SOCKET_PATH, Settings


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ACTROBUST_")]:
        monkeypatch.delenv(name)


def test_without_any_setting_all_state_lies_in_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = Settings()
    folder = tmp_path / "actrobust"
    assert settings.effective_database_url == f"sqlite:///{folder / 'actrobust.db'}"
    assert settings.checkpoints_dir == folder / "checkpoints"
    assert settings.effective_datasets_dir == folder / "datasets"
    assert settings.host == "127.0.0.1"


def test_settings_are_read_from_the_environment_before_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ACTROBUST_LEASE_TTL_S=7\nACTROBUST_PORT=9000\nOTHER=1\n")
    monkeypatch.setenv("ACTROBUST_PORT", "9001")
    assert (Settings().lease_ttl_s, Settings().port) == (7.0, 9001)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTROBUST_DATABASE_URL", "")
    assert Settings().effective_database_url.startswith("sqlite:///")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_plain_postgresql_addresses_are_opened_with_psycopg(given: str, used: str) -> None:
    assert Settings(database_url=given).effective_database_url == used


def test_the_embedded_broker_listens_in_the_data_folder() -> None:
    settings = Settings(data_dir=Path("/short"))
    assert settings.broker_socket == Path("/short/broker.sock")
    assert settings.effective_broker_url == "redis+socket:///short/broker.sock"
    assert Settings(broker_url="redis://h:1/0").effective_broker_url == "redis://h:1/0"


def test_a_data_folder_with_a_long_name_still_has_a_socket_of_its_own(tmp_path: Path) -> None:
    first, second = (Settings(data_dir=tmp_path / (letter * 120)).broker_socket for letter in "ab")
    assert len(str(first).encode()) <= LONGEST_SOCKET_PATH
    assert first != second
    assert Settings(data_dir=tmp_path / ("a" * 120)).broker_socket == first


@pytest.mark.parametrize(
    "wrong",
    [{"lease_ttl_s": 0}, {"port": 65_536}, {"max_losses": 0}, {"worker_device": "tpu"}, {"log_format": "xml"}],
    ids=str,
)
def test_settings_have_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_every_setting_but_the_obvious_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description or name == "log_level"
