import io
from pathlib import Path

import pytest

from actrobust.commands.output import CommandError
from actrobust.commands.spec_source import read_document


def test_the_name_of_a_preset() -> None:
    assert read_document("harrison-mnist") == {"preset": "harrison-mnist"}


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "spec").write_text('{"num_seeds": 2}')
    assert read_document(str(tmp_path / "spec")) == {"num_seeds": 2}


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"num_seeds": 3}'))
    assert read_document("-") == {"num_seeds": 3}


def test_a_mistyped_preset_leads_to_the_nearest() -> None:
    with pytest.raises(CommandError, match="did you mean the preset 'harrison-multivariate'"):
        read_document("harison-multivariat")


def test_a_missing_file_leads_to_the_preset_that_was_meant() -> None:
    with pytest.raises(CommandError, match=r"no file harrison-mnist\.json; did you mean the preset 'harrison-mnist'"):
        read_document("harrison-mnist.json")


def test_a_missing_file_in_a_folder_lists_the_presets() -> None:
    with pytest.raises(CommandError, match=r"no file no/where; give .* harrison-mnist-regularized"):
        read_document("no/where")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,\n "b": }', r"spec\.json, line 2, column 7: Expecting value"),
        ("", r"line 1, column 1"),
        ("[]", r"must hold a JSON object"),
        ('{"sd": NaN}', r"NaN is no number in JSON"),
        ('{"sd": -Infinity}', r"-Infinity is no number in JSON"),
        ("[" * 100_000, r"nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(CommandError, match=said):
        read_document(str(tmp_path / "spec.json"))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="cannot be read"):
        read_document(str(tmp_path / "spec.json"))
