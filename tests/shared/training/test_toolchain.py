"""Compiled code: kept, found again, and never a reason for a job to fail."""

import ctypes
import shutil
from pathlib import Path

import pytest

from shared.training.toolchain import CompilationError, Toolchain
from tests.shared.training.populations import needs_compiler
from tests.shared.training.test_engine import STUDY, decided, engines

SOURCE = 'extern "C" int answer() { return sizeof(REAL); }'
DOUBLE, FLOAT = ("REAL=double",), ("REAL=float",)


def compiled(folder: Path, *, source: str = SOURCE, defines: tuple[str, ...] = DOUBLE) -> ctypes.CDLL:
    return Toolchain(folder).load("test", lambda: source, made_of=source, defines=defines)


def never() -> str:
    raise AssertionError("it is there already")


@needs_compiler
def test_what_was_compiled_once_is_taken_from_the_folder(tmp_path: Path) -> None:
    assert not Toolchain(tmp_path).has("test", made_of=SOURCE, defines=DOUBLE)
    assert compiled(tmp_path).answer() == 8
    assert Toolchain(tmp_path).has("test", made_of=SOURCE, defines=DOUBLE)
    assert Toolchain(tmp_path).load("test", never, made_of=SOURCE, defines=DOUBLE).answer() == 8
    assert compiled(tmp_path, defines=FLOAT).answer() == 4


@needs_compiler
def test_a_library_of_which_a_part_was_lost_is_made_anew(tmp_path: Path) -> None:
    compiled(tmp_path)
    (library,) = tmp_path.glob("*.so")
    fresh = tmp_path / "elsewhere"
    fresh.mkdir()
    for path in tmp_path.glob("test-*"):
        shutil.copy(path, fresh)
    (fresh / library.name).write_bytes(library.read_bytes()[:1000])
    assert not Toolchain(fresh).has("test", made_of=SOURCE, defines=DOUBLE)
    assert compiled(fresh).answer() == 8


@needs_compiler
def test_what_the_compiler_is_told_beside_our_flags_makes_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(tmp_path)
    monkeypatch.setenv("CXX", "c++ -DWRONG")
    assert not Toolchain(tmp_path).has("test", made_of=SOURCE, defines=DOUBLE)


@needs_compiler
def test_nothing_unfinished_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(CompilationError, match="failed"):
        compiled(tmp_path, source="this is not C++")
    compiled(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".so", ".sha256", ".lock"}


@pytest.mark.parametrize("wanted", ["no-such-compiler", "g++ 'unfinished", ""])
def test_a_compiler_that_cannot_be_had_is_none(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", wanted)
    assert Toolchain(tmp_path).compiler is None
    assert Toolchain(tmp_path).description is None
    with pytest.raises(CompilationError, match=r"no C\+\+ compiler"):
        compiled(tmp_path)


def test_a_folder_that_cannot_be_written_costs_the_compilation_not_the_job(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert decided(STUDY, on=engines(tmp_path / "file"))["engine"] == "stacked"


@needs_compiler
def test_a_compiler_that_hangs_is_ended_and_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\necho asked >> " + str(tmp_path / "log") + "\nsleep 60 & wait\n")
    slow.chmod(0o700)
    monkeypatch.setenv("CXX", str(slow))
    monkeypatch.setattr("shared.training.toolchain.COMPILE_TIMEOUT_S", 0.5)
    monkeypatch.setattr("shared.training.toolchain._version", lambda _: "slow 1.0")
    for _ in range(2):
        with pytest.raises(CompilationError, match="longer than"):
            compiled(tmp_path / "libraries")
    assert (tmp_path / "log").read_text() == "asked\n"
