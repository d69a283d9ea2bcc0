"""API keys: bearer secrets of which only the hash is kept. A key speaks for the owner whose name it bears."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.errors import ConflictError, InvalidKeyError, NotFoundError
from shared.store.tables import ApiKey
from shared.store.types import new_id

# Whose everything is while a service has no keys.
LOCAL_OWNER = "local"

# Scanners for leaked secrets find a key by how it begins.
MARK = "actrobust_"
PREFIX_LENGTH = len(MARK) + 10
SECRET_BYTES = 32


@dataclass(frozen=True)
class NewKey:
    """A key just made; `text` is shown this once and kept nowhere."""

    row: ApiKey
    text: str


def create_key(session: Session, name: str, *, expires_at: datetime | None = None) -> NewKey:
    """Make a key for the owner called `name`, who may have several.

    Raises: ConflictError: the time of expiry is over already.
    """
    moment = datetime.now(UTC)
    if expires_at is not None and expires_at <= moment:
        raise ConflictError("a key that has expired already would be of no use; give a later time")
    prefix = MARK + secrets.token_hex((PREFIX_LENGTH - len(MARK)) // 2)
    text = f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    row = ApiKey(id=new_id(), name=name, prefix=prefix, sha256=_hash(text), created_at=moment, expires_at=expires_at)
    session.add(row)
    session.flush()
    return NewKey(row, text)


def _hash(text: str) -> str:
    # Fast on purpose: 256 random bits cannot be guessed, so nothing is won by making each guess slow.
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def list_keys(session: Session) -> list[ApiKey]:
    """All keys ever made, the oldest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)))


def revoke_key(session: Session, prefix: str) -> ApiKey:
    """Make a key worthless from now on; one that was revoked before stays so.

    Raises: NotFoundError: no key begins like this.
    """
    row = session.scalar(select(ApiKey).where(ApiKey.prefix == prefix).with_for_update())
    if row is None:
        raise NotFoundError(f"no API key begins with {prefix}; 'actrobust keys list' shows them all")
    row.revoked_at = row.revoked_at or datetime.now(UTC)
    return row


def keys_exist(session: Session) -> bool:
    """Whether a key was ever made. From then on nothing is answered without one, also when all are revoked."""
    return session.scalar(select(ApiKey.id).limit(1)) is not None


def usable_keys_exist(session: Session) -> bool:
    """Whether anybody could be let in."""
    return any(state_of(key) == "active" for key in list_keys(session))


def shown_part(text: str) -> str:
    """What of a key may be shown and written down."""
    return text[:PREFIX_LENGTH]


def state_of(key: ApiKey) -> str:
    """`active`, `revoked` or `expired`."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "active"


def owner_of(session: Session, text: str) -> str:
    """Who a key speaks for.

    Raises: InvalidKeyError: it is unknown, revoked or expired.
    """
    key = session.scalar(select(ApiKey).where(ApiKey.prefix == shown_part(text)))
    # Compared also where there is no such prefix, so that the time taken does not tell which prefixes exist.
    is_right = hmac.compare_digest(key.sha256 if key else _hash(""), _hash(text))
    if key is None or not is_right:
        raise InvalidKeyError("this API key is not known here")
    if state_of(key) != "active":
        raise InvalidKeyError(f"this API key is {state_of(key)}")
    return key.name
