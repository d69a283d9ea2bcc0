import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from shared.errors import ConflictError, InvalidKeyError, NotFoundError
from shared.store.db import Database
from shared.store.keys import (
    PREFIX_LENGTH,
    NewKey,
    create_key,
    keys_exist,
    list_keys,
    owner_of,
    revoke_key,
    state_of,
    usable_keys_exist,
)
from shared.store.tables import ApiKey


def make(database: Database, name: str = "alice", *, expires_at: datetime | None = None) -> NewKey:
    with database.write() as session:
        return create_key(session, name, expires_at=expires_at)


def owner(database: Database, text: str) -> str:
    with database.read() as session:
        return owner_of(session, text)


def expire(database: Database, key: NewKey) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    with database.write() as session:
        session.execute(update(ApiKey).where(ApiKey.id == key.row.id).values(expires_at=past))


def test_a_key_holds_256_random_bits_behind_a_prefix_that_tells_it_apart() -> None:
    texts = set()
    prefixes = set()
    for _ in range(100):
        database = Database("sqlite://")
        ApiKey.metadata.create_all(database.engine)
        key = make(database)
        database.close()
        assert re.fullmatch(r"actrobust_[0-9a-f]{10}_[A-Za-z0-9_-]{43}", key.text)
        assert key.text.startswith(key.row.prefix + "_")
        texts.add(key.text)
        prefixes.add(key.row.prefix)
    assert len(texts) == len(prefixes) == 100


def test_nothing_that_is_stored_gives_the_key_away(database: Database) -> None:
    key = make(database)
    secret = key.text[PREFIX_LENGTH + 1 :]
    with database.read() as session:
        stored = " ".join(str(vars(row)) for row in list_keys(session))
    assert secret not in stored
    assert key.row.sha256 in stored


def test_a_key_speaks_for_its_name_until_it_expires(database: Database) -> None:
    key = make(database, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert owner(database, key.text) == "alice"
    expire(database, key)
    with pytest.raises(InvalidKeyError, match="expired"):
        owner(database, key.text)


def test_a_revoked_key_lets_nobody_in_and_stays_revoked(database: Database) -> None:
    key, other = make(database), make(database)
    for _ in range(2):
        with database.write() as session:
            revoked_at = revoke_key(session, key.row.prefix).revoked_at
    with pytest.raises(InvalidKeyError, match="revoked"):
        owner(database, key.text)
    assert owner(database, other.text) == "alice"
    with database.read() as session:
        assert [state_of(row) for row in list_keys(session)] == ["revoked", "active"]
        assert list_keys(session)[0].revoked_at == revoked_at


@pytest.mark.parametrize("change", ["last letter", "cut", "longer", "another's secret", "nothing", "half a pair"])
def test_only_the_whole_key_is_the_key(database: Database, change: str) -> None:
    key, other = make(database).text, make(database, "bob").text
    text = {
        "last letter": key[:-1] + ("A" if key[-1] != "A" else "B"), "cut": key[:-1], "longer": key + "A",
        "another's secret": key[:PREFIX_LENGTH] + other[PREFIX_LENGTH:], "nothing": "",
        "half a pair": key + "\ud800",
    }[change]  # fmt: skip
    with pytest.raises(InvalidKeyError, match="not known"):
        owner(database, text)


def test_a_wrong_key_is_not_told_whether_its_prefix_is_known_or_expired(database: Database) -> None:
    key = make(database)
    expire(database, key)
    with pytest.raises(InvalidKeyError, match="not known"):
        owner(database, key.text[:-4] + "AAAA")


def test_a_key_that_was_over_before_it_began_is_refused(database: Database) -> None:
    with pytest.raises(ConflictError, match="later time"):
        make(database, expires_at=datetime.now(UTC))


def test_a_prefix_that_no_key_has_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(NotFoundError, match="keys list"), database.write() as session:
        revoke_key(session, "actrobust_0000000000")


def test_keys_that_are_revoked_or_expired_guard_nothing_yet_close_the_service(database: Database) -> None:
    def found() -> tuple[bool, bool]:
        with database.read() as session:
            return keys_exist(session), usable_keys_exist(session)

    assert found() == (False, False)
    key = make(database)
    assert found() == (True, True)
    expire(database, key)
    assert found() == (True, False)
