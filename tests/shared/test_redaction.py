import pytest

from shared.redaction import redact

KEY = "actrobust_0123456789_c2VjcmV0LXNlY3JldA-_x"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cannot connect to postgresql+psycopg://me:hunter2@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("redis://:hunter2@host/0: refused", "redis://:***@host/0: refused"),
        ("two: redis://:hunter2@a/0 and redis://u:hunter2@b/1", "redis://:***@a/0 and redis://u:***@b/1"),
        ('{"url": "amqp://u:hunter2/p@ss:hunter2@host"}', '{"url": "amqp://u:***@host"}'),
        (f"no such key: {KEY}", "no such key: actrobust_0123456789_***"),
        (f"Authorization: Bearer {KEY}", "Bearer actrobust_0123456789_***"),
        ("{'authorization': 'bearer hunter2'}", "{'authorization': 'bearer ***'}"),
    ],
)
def test_secrets_are_taken_out_and_the_rest_stays(text: str, kept: str) -> None:
    redacted = redact(text)
    assert kept in redacted
    assert "hunter2" not in redacted
    assert "c2VjcmV0" not in redacted


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/experiments of a@b", "redis+socket:///tmp/broker.sock", "sqlite:////tmp/a.db",
        "actrobust_epochs_trained_total 3", "ein Bearer-Token fehlt", "worker-1@host ready: 10:20",
    ],
)  # fmt: skip
def test_text_without_secrets_is_left_alone(text: str) -> None:
    assert redact(text) == text
