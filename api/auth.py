"""Who a request comes from: every call but those on health and documentation asks for it."""

from typing import Annotated

from fastapi import Depends, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.requests import Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from api.deps import Parts, TheParts
from shared.errors import InvalidKeyError
from shared.store.keys import LOCAL_OWNER, keys_exist, owner_of

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    bearerFormat="actrobust_...",
    description="A key from `actrobust keys create`. A service for which none was ever made asks for none; it listens "
    "on loopback only.",
)


async def _owner(
    request: Request, parts: TheParts, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
) -> str:
    """Whose experiments the request may see and change.

    Raises: InvalidKeyError: no key came, or one that lets nobody in; TooManyRequestsError.
    """
    key = bearer.credentials if bearer else None
    owner = parts.acquaintances.owner_of(key)
    if owner is None:
        owner = await run_in_threadpool(_identify, request, parts, key)
    request.state.owner = owner  # for the access log
    parts.rate_limit.count_request(owner)
    return owner


def _identify(request: Request, parts: Parts, key: str | None) -> str:
    try:
        with parts.database.look() as session:
            owner = _found(session, key)
    except InvalidKeyError:
        parts.rate_limit.count_failure(request.client.host if request.client else "unknown")
        raise
    parts.acquaintances.remember(key, owner)
    return owner


def _found(session: Session, key: str | None) -> str:
    if key is not None:
        try:
            return owner_of(session, key)
        except InvalidKeyError:
            if keys_exist(session):
                raise
    elif keys_exist(session):
        raise InvalidKeyError("an API key is needed; send the header 'Authorization: Bearer actrobust_...'")
    return LOCAL_OWNER


Owner = Annotated[str, Depends(_owner)]
Authenticated = Depends(_owner)
