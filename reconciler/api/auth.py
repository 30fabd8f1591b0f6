"""Who may ask: bearer tokens, compared in constant time, before anything else of a request is read."""

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.api.http import ApiError

SHORTEST = 16
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="iaas"'}


class Role(StrEnum):
    """ADMIN may do everything; AGENT may fetch the bytes of images."""

    ADMIN = "admin"
    AGENT = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    admin: str = field(repr=False)
    agent: str = field(repr=False)

    def __post_init__(self) -> None:
        if min(len(self.admin), len(self.agent)) < SHORTEST or self.admin == self.agent:
            raise ValueError(f"tokens must differ and have at least {SHORTEST} characters")

    def role(self, authorization: str) -> Role:
        """The role of whoever sent this Authorization header. Raises ApiError (401)."""
        scheme, _, token = authorization.partition(" ")
        found = _same(token, self.admin), _same(token, self.agent)
        if scheme.lower() == "bearer" and any(found):
            return Role.ADMIN if found[0] else Role.AGENT
        raise ApiError(
            401,
            "unauthorized",
            "a valid token is needed",
            hint="send it as `Authorization: Bearer TOKEN`",
            headers=CHALLENGE,
        )


def _same(given: str, token: str) -> bool:
    """In a time that tells nothing, not even the length."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, token))
    return hmac.compare_digest(*digests)
