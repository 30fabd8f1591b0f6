"""Who asks: bearer tokens, compared in constant time, before anything else of a request is read.

Not here: what a role may do (`roles`), and where the tokens are kept (`tokenfiles`).
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping

from reconciler.api.http import ApiError
from reconciler.api.roles import Role

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="iaas"'}
FINGERPRINT = 8
"""Hexadecimal digits."""


class Tokens:
    """`sources` give the token of a role as it is now, "" where nobody has that role."""

    def __init__(self, sources: Mapping[Role, Callable[[], str]]) -> None:
        self._sources = dict(sources)

    def role(self, authorization: str) -> tuple[Role, str]:
        """(role, who) of whoever sent this Authorization header; ANYBODY without a valid token."""
        scheme, _, given = authorization.partition(" ")
        found = [role for role, source in self._sources.items() if _same(given, source())]
        if scheme.lower() != "bearer" or not given:  # "" is the token of a role that nobody has
            return Role.ANYBODY, "nobody"
        if not found:
            return Role.ANYBODY, f"unknown {fingerprint(given)}"
        role = min(found, key=list(Role).index)  # one token for two roles gives the lesser
        return role, f"{role} {fingerprint(given)}"


def unauthorized() -> ApiError:
    return ApiError(
        401,
        "unauthorized",
        "a valid token is needed",
        hint="send it as `Authorization: Bearer TOKEN`",
        headers=CHALLENGE,
    )


def fingerprint(token: str) -> str:
    """Tells tokens apart in the audit, and is of no use otherwise."""
    return _digest(token).hex()[:FINGERPRINT]


def _same(given: str, token: str) -> bool:
    """In a time that tells nothing, not even the length."""
    return hmac.compare_digest(_digest(given), _digest(token))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
