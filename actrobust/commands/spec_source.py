"""What `run` is given: a preset's name, a JSON file, or `-` for standard input."""

import difflib
import json
import sys
from pathlib import Path
from typing import NoReturn

from actrobust.client import Json
from actrobust.commands.output import CommandError


def read_document(source: str) -> Json:
    """The document to post.

    Raises: CommandError: the file is missing, is not JSON, or holds no object.
    """
    if source == "-":
        return _parse(sys.stdin.read(), "standard input")
    path = Path(source)
    if path.is_file():
        try:
            return _parse(path.read_text(encoding="utf-8"), source)
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{source} cannot be read: {error}") from None
    if path.suffix == ".json" or len(path.parts) != 1:
        raise CommandError(f"there is no file {source}; {_hint(path.stem)}")
    if source not in _preset_names():
        raise CommandError(f"there is no preset and no file '{source}'; {_hint(source)}")
    return {"preset": source}


def _parse(text: str, name: str) -> Json:
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise CommandError(f"{name}, line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError as error:
        raise CommandError(f"{name}: {error}") from None
    except RecursionError:
        raise CommandError(f"{name}: nested too deeply") from None
    if not isinstance(document, dict):
        raise CommandError(f'{name} must hold a JSON object such as {{"dataset": {{"kind": "fbm"}}}}')
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _hint(name: str) -> str:
    names = _preset_names()
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean the preset '{close[0]}'?"
    return f"give a JSON file, '-' for standard input, or one of the presets {', '.join(names)}"


def _preset_names() -> list[str]:
    from shared.catalog.presets import PRESETS

    return list(PRESETS)
