import re

from tests.deploy.files import ROOT, read


def test_every_test_that_the_document_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", read("docs/security.md")))
    exist = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named - exist == set()
    assert len(named) > 20


def test_every_risk_of_the_owasp_list_is_answered() -> None:
    risks = re.findall(r"^\| \*\*API(\d+)\*\* .+? \| .+? \| .*`test_\w+`.* \|$", read("docs/security.md"), re.MULTILINE)
    assert risks == [str(number) for number in range(1, 11)]
