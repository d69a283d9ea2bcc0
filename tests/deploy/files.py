"""Reads the files that deploy the service, the way their own tools do."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")


def read(name: str) -> str:
    """The text of a file of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


def pyproject() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    return tomllib.loads(read("pyproject.toml"))


def compose(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The compose file with its variables filled in from `environment`, else from their defaults."""
    document = _filled(yaml.safe_load(read("docker-compose.yml")), environment or {})
    assert isinstance(document, dict)
    return document


def _filled(node: Any, given: Mapping[str, str]) -> Any:
    """`node` with its variables filled in; in the file's order of things, YAML comes first and values stay text."""
    if isinstance(node, dict):
        return {key: _filled(value, given) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, given) for value in node]
    if not isinstance(node, str):
        return node
    return _VARIABLE.sub(lambda m: "$" if m[0] == "$$" else given.get(m["name"]) or m["default"] or "", node)


def compose_variables() -> dict[str, str | None]:
    """Every variable that the compose file reads, with its default; None where it has none."""
    matches = _VARIABLE.finditer(read("docker-compose.yml"))
    return {match["name"]: match["default"] for match in matches if match["name"]}


def example_variables() -> dict[str, str]:
    """Every variable of .env.example, all of which stand there as comments, with the value shown."""
    return dict(re.findall(r"^# ([A-Z][A-Z_]+)=(.*)$", read(".env.example"), re.MULTILINE))


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: name and argument, continued lines joined."""
    lines = [line for line in read("Dockerfile").splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name.upper(), argument.strip()) for name, argument in (line.split(" ", 1) for line in joined.splitlines())]


def final_stage() -> list[tuple[str, str]]:
    """The instructions that make the image which is kept."""
    instructions = dockerfile()
    starts = [index for index, (name, _) in enumerate(instructions) if name == "FROM"]
    return instructions[starts[-1] :]


def make_targets() -> list[str]:
    """The targets that `make help` lists."""
    return re.findall(r"^([a-z]+):.*## ", read("Makefile"), re.MULTILINE)
