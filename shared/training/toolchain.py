"""Shared libraries from C++: compiled when first needed, kept in a folder, taken from there ever after.

A library's file name is a hash of everything that it was made of: source, flags, compiler, kind of processor. Machines
that share the folder share what fits them and never load what does not.
"""

import ctypes
import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)

NATIVE = Path(__file__).parent / "native"
COMPILERS = ("c++", "g++", "clang++")
COMPILE_TIMEOUT_S = 120
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-shared", "-fPIC")


class CompilationError(Exception):
    """There is no compiler, or it could not compile our code."""


class Toolchain:
    """The C++ compiler of this machine and the folder of what it made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def compiler(self) -> list[str] | None:
        """The command that compiles C++: `$CXX`, else the first that is installed; None without one."""
        try:
            wanted = shlex.split(os.environ.get("CXX", ""))
        except ValueError:  # a quotation that does not end
            return None
        names = [wanted[0]] if wanted else COMPILERS
        found = next((path for name in names if (path := shutil.which(name))), None)
        return None if found is None else [found, *wanted[1:]]

    @property
    def description(self) -> str | None:
        """Name and version of the compiler; None without one."""
        return None if self.compiler is None else _version(tuple(self.compiler)).splitlines()[0]

    def load(self, name: str, source: Callable[[], str], *, made_of: str, defines: Sequence[str]) -> ctypes.CDLL:
        """Load a library, compiling it where the folder does not have it yet.

        Args:
            name: beginning of the file's name, for people.
            source: makes the C++; not called when the library is there.
            made_of: everything that the source depends on.
            defines: preprocessor names that choose the kind of numbers, such as `REAL=double`.
        Raises: CompilationError.
        """
        if self.compiler is None:
            raise CompilationError("no C++ compiler is installed")
        path = self._path(name, made_of, defines)
        if path in _failed:
            raise CompilationError(_failed[path])
        try:
            if not _is_whole(path):
                self._compile(source(), path, defines)
            return ctypes.CDLL(str(path))
        except OSError as error:
            _failed[path] = f"{path.name} cannot be had: {error}"
            raise CompilationError(_failed[path]) from error
        except CompilationError as error:
            _failed[path] = str(error)
            raise

    def has(self, name: str, *, made_of: str, defines: Sequence[str]) -> bool:
        """Whether `load` would find it in the folder."""
        if self.compiler is None:
            return False
        return _is_whole(self._path(name, made_of, defines))

    def _path(self, name: str, made_of: str, defines: Sequence[str]) -> Path:
        return self.folder / f"{name}-{self._digest(made_of, defines)}.so"

    def _digest(self, made_of: str, defines: Sequence[str]) -> str:
        assert self.compiler is not None
        parts = (
            made_of,
            native_sources(),
            *defines,
            *FLAGS,
            *self.compiler,
            _version(tuple(self.compiler)),
            _processor(),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]

    def _compile(self, source: str, path: Path, defines: Sequence[str]) -> None:
        assert self.compiler is not None
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path.with_suffix(".lock")):
            if _is_whole(path):  # another process was faster
                return
            unfinished = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
            options = [*FLAGS, *_processor_flags(), *(f"-D{name}" for name in defines), f"-I{NATIVE}"]
            command = [*self.compiler, *options, "-x", "c++", "-"]
            log.info("compiling", library=path.name)
            try:
                _run([*command, "-o", str(unfinished), "-lm"], source)
                _digest_of(path).write_text(hashlib.sha256(unfinished.read_bytes()).hexdigest())
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)


def _digest_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether a library is there as it was made: loading one that a full disk cut short would end the process."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == _digest_of(path).read_text()
    except OSError:
        return False


# What could not be had once in this process is not tried again: a compiler that hangs costs its time once.
_failed: dict[Path, str] = {}


def _run(command: Sequence[str], source: str) -> None:
    """Compile; a compiler that takes too long is ended with all that it started."""
    with subprocess.Popen(  # noqa: S603 (a compiler that the operator installed, on our own code) # nosec B603
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _, said = process.communicate(source, timeout=COMPILE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise CompilationError(f"{command[0]} took longer than {COMPILE_TIMEOUT_S} s") from None
    if process.returncode != 0:
        raise CompilationError(f"{command[0]} failed: {said.strip()[-500:]}")


@cache
def native_sources() -> str:
    """All C++ that is not generated."""
    return "\0".join(path.read_text() for path in sorted(NATIVE.glob("*.[hc]pp")))


@cache
def _version(compiler: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (as above) # nosec B603
            [*compiler, "--version"], capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown version ({error})"
    return done.stdout


@cache
def _processor() -> str:
    """What code for this processor may not run without: its kind and its instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {line.split(":")[0].strip(): line for line in lines if line.startswith(("flags", "Features", "model name"))}
    return "\n".join([platform.machine(), *told.values()])


def _processor_flags() -> list[str]:
    if platform.machine() in {"arm64", "aarch64"}:
        return ["-mcpu=native"]
    # Compilers hold back from the widest vectors, which on some old processors lowered the clock.
    return ["-march=native", *(["-mprefer-vector-width=512"] if "avx512f" in _processor() else [])]


@contextmanager
def _locked(path: Path) -> "Iterator[None]":
    """One process at a time. The file stays: whoever unlinked it would let two in."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
