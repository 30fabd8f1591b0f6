"""The agent's HTTP interface: one exchange with the controller, and health. The only user of bottle.

Every route but health needs the bearer token; it is checked before anything is parsed.
"""

import hmac
import json
from collections.abc import Callable
from typing import Any

import bottle

from hyper.core.admission import Refusal
from hyper.ledger import LedgerError
from manifests.codec import CodecError, dump, load
from manifests.wire import Exchange, Report

MAX_BODY = 64 * 1024 * 1024
STATUS = {"cluster": 403, "node": 403, "term": 409, "protocol": 400}


def make_app(exchange: Callable[[Exchange], Report], token: str) -> Any:
    """The WSGI application. `exchange` blocks while the controller is willing to wait."""
    app = bottle.Bottle()

    def handle() -> str:
        if not _authorised(token):
            return _error(401, "unauthorised", "a valid bearer token is needed")
        try:
            return _json(dump(exchange(load(Exchange, _body()))))
        except (CodecError, ValueError) as error:
            return _error(400, "invalid", str(error))
        except Refusal as refusal:
            return _error(STATUS[refusal.code], refusal.code, str(refusal))
        except LedgerError as error:
            return _error(507, "ledger", str(error))

    app.route("/v1/exchange", "POST", handle)
    app.route("/health", "GET", lambda: _json({"status": "ok"}))
    app.default_error_handler = _plain_error
    return app


def _authorised(token: str) -> bool:
    header: str = bottle.request.environ.get("HTTP_AUTHORIZATION", "")
    scheme, _, given = header.partition(" ")
    return scheme == "Bearer" and hmac.compare_digest(given.encode("latin-1"), token.encode())


def _body() -> Any:
    length = bottle.request.content_length
    if not 0 < length <= MAX_BODY:
        raise ValueError("the request needs a body of at most 64 MiB")
    try:
        return json.loads(bottle.request.environ["wsgi.input"].read(length), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _json(data: Any) -> str:
    bottle.response.content_type = "application/json"
    return json.dumps(data, separators=(",", ":"))


def _error(status: int, code: str, message: str) -> str:
    bottle.response.status = status
    return _json({"error": code, "message": message})


def _plain_error(error: Any) -> str:
    return _error(error.status_code, "http", str(error.status_line))
