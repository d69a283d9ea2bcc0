import shutil
import subprocess
import sys
from typing import Any

import pytest

from shared.settings import Settings
from tests.deploy.files import ROOT, compose, compose_variables, example_variables

OURS = ("api", "worker", "worker-gpu", "reconciler", "migrate", "datasets")
FOREIGN = ("postgres", "redis")
RUNNING = ("api", "worker", "worker-gpu", "reconciler", "postgres", "redis")

# The API's address is given as options, since what it listens on in a container is not what is set for the host; the
# URL is for the command line on the host; the device is the GPU worker's own.
NOT_FOR_ALL = {"host", "port", "url", "api_key", "worker_device"}


def service(name: str) -> dict[str, Any]:
    found = compose()["services"][name]
    assert isinstance(found, dict)
    return found


def variable_of(field: str) -> str:
    return f"ACTROBUST_{field.upper()}"


def test_every_part_of_the_service_has_its_container() -> None:
    assert set(compose()["services"]) == {*OURS, *FOREIGN}


def test_up_alone_starts_the_whole_service_and_nothing_that_needs_a_gpu_or_the_internet() -> None:
    started = {name for name, content in compose()["services"].items() if "profiles" not in content}
    assert started == {"api", "worker", "reconciler", "migrate", "postgres", "redis"}


@pytest.mark.parametrize("name", [*OURS, *FOREIGN])
def test_every_container_is_hardened(name: str) -> None:
    content = service(name)
    assert content["read_only"] is True
    assert content["cap_drop"] == ["ALL"]
    assert content["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in content["tmpfs"]
    assert int(content["user"].split(":")[0]) > 0
    assert "privileged" not in content
    assert "cap_add" not in content


@pytest.mark.parametrize("name", [*OURS, *FOREIGN])
def test_every_container_has_limits_that_can_be_overridden(name: str) -> None:
    prefix = {"worker-gpu": "WORKER"}.get(name, name.upper())
    wider = compose({f"{prefix}_MEMORY": "123m", f"{prefix}_PIDS": "99"})["services"][name]
    assert (wider["mem_limit"], wider["pids_limit"]) == ("123m", "99")
    assert service(name)["mem_limit"]
    assert int(service(name)["pids_limit"]) > 0


def test_ports_are_published_on_loopback_only() -> None:
    published = {name: content["ports"] for name, content in compose()["services"].items() if "ports" in content}
    assert published == {"api": ["127.0.0.1:8000:8000"]}


@pytest.mark.parametrize("name", FOREIGN)
def test_database_and_broker_can_be_reached_from_the_internal_network_only(name: str) -> None:
    assert service(name)["networks"] == ["backend"]
    assert compose()["networks"]["backend"] == {"internal": True}


def test_a_password_reaches_both_the_server_and_those_who_call_it() -> None:
    services = compose({"POSTGRES_PASSWORD": "horse", "REDIS_PASSWORD": "battery"})["services"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "horse"
    assert services["redis"]["environment"]["REDIS_PASSWORD"] == "battery"
    for name in OURS:
        assert ":horse@postgres:" in services[name]["environment"]["ACTROBUST_DATABASE_URL"]
        assert ":battery@redis:" in services[name]["environment"]["ACTROBUST_BROKER_URL"]


def test_the_broker_refuses_callers_without_the_password() -> None:
    script = service("redis")["command"][-1]
    assert "requirepass" in script
    assert '"$REDIS_PASSWORD"' in script


@pytest.mark.parametrize("name", RUNNING)
def test_every_long_running_container_restarts_and_has_a_health_check(name: str) -> None:
    content = service(name)
    assert content["restart"] == "unless-stopped"
    assert content["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize("name", ["api", "worker", "worker-gpu", "reconciler"])
def test_our_processes_wait_until_the_tables_are_up_to_date(name: str) -> None:
    assert service(name)["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert service("migrate")["depends_on"]["postgres"] == {"condition": "service_healthy"}


def actrobust(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "actrobust", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_understood_by_the_command_line(name: str) -> None:
    content = service(name)
    words: list[str] = [*content.get("entrypoint", ["actrobust"]), *content["command"]]
    assert words[0] == "actrobust"
    # Options are parsed before help is shown: a wrong one is an error, a right one does nothing.
    result = actrobust(*words[1:], "--help")
    assert result.returncode == 0, result.stderr


def test_the_command_that_fills_the_data_set_volume_is_understood() -> None:
    result = actrobust(*service("datasets")["entrypoint"][1:], "fetch", "mnist", "--help")
    assert result.returncode == 0, result.stderr


def test_data_sets_are_written_by_their_own_service_only() -> None:
    mounts = {name: service(name).get("volumes", []) for name in OURS}
    assert "datasets:/datasets" in mounts["datasets"]
    for name in ("api", "worker", "worker-gpu"):
        assert "datasets:/datasets:ro" in mounts[name]


def test_all_workers_share_the_volume_of_checkpoints() -> None:
    for name in ("worker", "worker-gpu"):
        assert "state:/data" in service(name)["volumes"]


def test_the_gpu_worker_reserves_one_nvidia_device() -> None:
    (device,) = service("worker-gpu")["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_the_gpu_worker_takes_the_jobs_that_ask_for_cuda_one_at_a_time() -> None:
    own = service("worker-gpu")["environment"].items() - service("worker")["environment"].items()
    assert own == {("ACTROBUST_WORKER_DEVICE", "cuda"), ("ACTROBUST_WORKER_PROCESSES", "1")}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_get_settings_that_exist(name: str) -> None:
    known = {variable_of(field) for field in Settings.model_fields}
    assert set(service(name)["environment"]) <= known


def test_every_setting_reaches_the_containers() -> None:
    expected = {variable_of(field) for field in Settings.model_fields if field not in NOT_FOR_ALL}
    assert set(service("api")["environment"]) == expected


def test_every_variable_has_a_default_so_that_no_env_file_is_needed() -> None:
    assert [name for name, default in compose_variables().items() if default is None] == []


def test_the_example_lists_every_variable_with_its_default() -> None:
    defaults = dict(compose_variables())
    for name, default in compose_variables().items():
        field = name.removeprefix("ACTROBUST_").lower()
        if default == "" and field in Settings.model_fields:
            value = Settings.model_fields[field].default
            defaults[name] = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    assert example_variables() == defaults


def test_docker_accepts_the_compose_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("needs Docker with its compose plugin")
    command = [docker, "compose", "--profile", "*", "config", "--quiet"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
