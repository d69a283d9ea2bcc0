import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actrobust.commands.embedded import (
    RunningService,
    find_running,
    is_locked,
    only_service,
    read_service_file,
    service_file,
    start_embedded,
    write_service_file,
)
from actrobust.commands.output import CommandError
from actrobust.commands.supervisor import own_environment
from tests.actrobust.conftest import Reply, TinyService


def test_a_data_directory_has_one_service(tmp_path: Path) -> None:
    with only_service(tmp_path / "new"):
        write_service_file(tmp_path / "new", RunningService("http://127.0.0.1:4711", 42))
        assert is_locked(tmp_path / "new")
        said = r"already runs on .*new at http://127\.0\.0\.1:4711 \(process 42\)"
        with pytest.raises(CommandError, match=said), only_service(tmp_path / "new"):
            pass
    assert not is_locked(tmp_path / "new")
    with only_service(tmp_path / "new"):
        pass


def test_the_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from actrobust.commands.embedded import only_service\n"
        f"with only_service(Path({str(tmp_path)!r})): print('mine', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, **own_environment()}
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    assert is_locked(tmp_path)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not is_locked(tmp_path)


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CommandError, match=r"file/below cannot be used.*--data-dir"),
        only_service(tmp_path / "file/below"),
    ):
        pass


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"url": "http://x"}', '{"url": "http://x", "pid": "many"}', "null"]
)
def test_a_broken_service_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    service_file(tmp_path).write_text(content)
    assert read_service_file(tmp_path) is None
    assert find_running(tmp_path) is None


def test_a_service_is_found_while_it_lives_and_answers(tmp_path: Path, tiny_service: TinyService) -> None:
    tiny_service.answer = lambda _: Reply({"status": "ok"})
    assert find_running(tmp_path) is None
    write_service_file(tmp_path, RunningService(tiny_service.url, os.getpid(), for_a_command=True))
    found = find_running(tmp_path)
    assert found == RunningService(tiny_service.url, os.getpid(), for_a_command=True)
    assert set(json.loads(service_file(tmp_path).read_text())) == {"url", "pid", "for_a_command"}


def test_a_service_whose_process_is_gone_is_not_found_though_its_port_answers(
    tmp_path: Path, tiny_service: TinyService
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_service_file(tmp_path, RunningService(tiny_service.url, ended.pid))
    assert find_running(tmp_path) is None


def test_an_embedded_service_that_cannot_start_leaves_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTROBUST_DATABASE_URL", "nonsense")
    with pytest.raises(CommandError, match=r"did not start: ACTROBUST_DATABASE_URL names no database"):
        start_embedded(tmp_path)
