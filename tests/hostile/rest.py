"""Group R: hostile requests as the bytes that a socket gets. `@TOKEN@` stands for the admin's token.

Not here: what needs several requests (`test_rest`).
"""

import json
from dataclasses import dataclass
from typing import Any

MIB = 1 << 20
AUTH = b"Authorization: Bearer @TOKEN@\r\n"
JSON = b"Content-Type: application/json\r\n"
EMPTY = b'{"objects":[]}'
SHA256 = "0" * 64


@dataclass(frozen=True)
class Case:
    """`status`: what it is refused with, any of them."""

    id: str
    status: tuple[int, ...]
    data: bytes
    word: str = ""

    @property
    def number(self) -> int:
        return int(self.id[1:].partition("-")[0])


def request(line: str | bytes, *headers: bytes, body: bytes = b"", auth: bytes = AUTH) -> bytes:
    """With a token, and with the length of the body where there is one."""
    line = line.encode() if isinstance(line, str) else line
    length = [b"Content-Length: %d\r\n" % len(body)] if body else []
    return b"".join([line, b" HTTP/1.1\r\nHost: x\r\n", auth, *length, *headers, b"\r\n", body])


def post(body: bytes, path: str = "/iaas/apply") -> bytes:
    return request(f"POST {path}", JSON, body=body)


def framed(headers: bytes) -> bytes:
    """A harmless body with other words on its length, and another request behind it."""
    head = request("POST /iaas/delete", JSON, headers)
    return head + EMPTY + request("GET /health")


def _case(id_: str, status: int | tuple[int, ...], data: bytes, word: str = "") -> Case:
    return Case(id_, status if isinstance(status, tuple) else (status,), data, word)


TOKENS = {
    "none": b"",
    "empty": b"Authorization:\r\n",
    "no-token": b"Authorization: Bearer\r\n",
    "no-scheme": b"Authorization: @TOKEN@\r\n",
    "basic": b"Authorization: Basic @TOKEN@\r\n",
    "longer": b"Authorization: Bearer @TOKEN@x\r\n",
    "two-spaces": b"Authorization: Bearer  @TOKEN@\r\n",
    "list": b"Authorization: Bearer @TOKEN@, Bearer x\r\n",
    "bytes": b"Authorization: Bearer \xff\xfe\r\n",
    "long": b"Authorization: Bearer " + b"x" * 20_000 + b"\r\n",
    "cookie": b"Cookie: token=@TOKEN@\r\n",
    "proxy": b"Proxy-Authorization: Bearer @TOKEN@\r\n",
}
IDENTITIES = [b"X-User: admin", b"X-Roles: admin", b"X-Forwarded-User: admin", b"X-Remote-User: a",
              b"X-Forwarded-For: 127.0.0.1", b"Remote-User: admin"]  # fmt: skip
LENGTHS = {
    "two": b"Content-Length: 14\r\nContent-Length: 15\r\n",
    "twice": b"Content-Length: 14\r\nContent-Length: 14\r\n",
    "plus": b"Content-Length: +14\r\n",
    "minus": b"Content-Length: -1\r\n",
    "hexadecimal": b"Content-Length: 0xe\r\n",
    "underscore": b"Content-Length: 1_4\r\n",
    "list": b"Content-Length: 14, 14\r\n",
    "empty": b"Content-Length:\r\n",
    "unicode": "Content-Length: １４\r\n".encode(),
    "fraction": b"Content-Length: 14.0\r\n",
    "400-digits": b"Content-Length: " + b"9" * 400 + b"\r\n",
    "space-before-colon": b"Content-Length : 14\r\n",
    "folded": b"Content-Length:\r\n 14\r\n",
}
TYPES = [b"", b"text/plain", b"application/jsonx", b"application/json; a; b",
         b"application/json, text/html", b"application/json; charset=latin-1",
         b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x",
         b"x" * 5000 + b";" * 5000]  # fmt: skip
QUERIES = ["limit=-1", "limit=1e9", "limit=1001", "limit=", "limit=%2B5", "limit=1_0", "limit[]=1",
           "limit=%D9%A1", "limit=1&limit=1", "since=-1", "since=9999999999999999", "name=%ff",
           "kind=Pod", "&".join(f"a{n}=1" for n in range(40))]  # fmt: skip
FILTERS = ["colour=red", "__class__=x", "name.x=1", "name=a&name=b", "query=name",
           "query=%00=%00", "query=" + "x" * 5000]  # fmt: skip
TEXTS = {
    "nothing": b" ",
    "half": b"{",
    "rest": b'{"documents":[]}x',
    "bytes": b'{"documents":["\xc3\x28"]}',
    "null": b"null",
    "no-documents": b"{}",
    "object": b'{"documents":{}}',
    "unknown": b'{"documents":[],"__class__":1}',
    "type": b'{"documents":[],"prune":1}',
    "source": b'{"documents":[],"source":"../x"}',
    "of-a-directory": b'{"documents":[],"source":"dir:x"}',
}


def _document(**spec: Any) -> bytes:
    data = {"apiVersion": "iaas/v1", "kind": "Machine", "metadata": {"name": "web"}, "spec": spec}
    return json.dumps({"documents": [data]}).encode()


CASES = [
    *(_case(f"R53-{name}", 401, request("GET /iaas/machines", auth=header))
      for name, header in TOKENS.items()),
    *(_case(f"R53-{name}", 401, request(line, auth=b""))
      for name, line in {"exists": "GET /iaas/machines/web", "no-such": "GET /iaas/machines/no",
                         "no-route": "GET /nowhere", "trace": "TRACE /iaas/machines",
                         "query": "GET /iaas/machines?access_token=@TOKEN@"}.items()),
    *(_case(f"R55-{name}", status, request(f"GET /iaas/machines/{path}"))
      for name, status, path in (
          ("prefix", 404, "we"), ("longer", 404, "web-2"), ("case", 404, "WEB"),
          ("nul", 404, "web%00"), ("homoglyph", 404, "w%D0%B5b"), ("bytes", 400, "w%ff%feb"),
          ("slash", 404, "web/"), ("dots", 404, "../nodes"), ("encoded-dots", 404, "%2e%2e%2fnodes"),
          ("long", 404, "x" * 10_000))),
    _case("R55-blob", 400, request("GET /iaas/blobs/..%2f..%2fetc%2fpasswd")),
    _case("R56-one-more", 413, request("POST /iaas/delete", JSON, body=EMPTY.ljust(MIB + 1))),
    _case("R56-apply", 413, request("POST /iaas/apply", JSON, b"Content-Length: 67108865\r\n")),
    _case("R56-10-gb", 413, request("POST /iaas/apply", JSON, b"Content-Length: 10737418240\r\n") +
          b"x" * 100_000),
    _case("R56-blob", 507, request(f"PUT /iaas/blobs/{SHA256}", b"Content-Length: 99999999999999\r\n")),
    _case("R58-chunked", 400, framed(b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n")),
    _case("R58-reversed", 400, framed(b"Transfer-Encoding: chunked\r\nContent-Length: 14\r\n")),
    _case("R58-identity", 400, framed(b"Transfer-Encoding: identity\r\nContent-Length: 14\r\n")),
    _case("R58-only-chunked", 411, request("POST /iaas/delete", JSON, b"Transfer-Encoding: chunked\r\n")
          + b"e\r\n" + EMPTY + b"\r\n0\r\n\r\n"),
    _case("R58-cow", 501, framed(b"Transfer-Encoding: cow\r\n")),
    *(_case(f"R59-{name}", (400, 411), framed(header)) for name, header in LENGTHS.items()),
    _case("R61-256-kb", 431, request("GET /health", b"X-A: " + b"x" * 262_144 + b"\r\n")),
    _case("R61-1000-headers", 431, request("GET /health", *(b"X-%d: y\r\n" % n for n in range(1000)))),
    _case("R61-long-line", 431, request("GET /health?" + "x" * 262_144)),
    _case("R65-no-end", 431, b"GET /" + b"x" * 100_000),
    *(_case(f"R68-{method}", 405, request(f"{method} /iaas/machines"))
      for method in ("TRACE", "PATCH", "PUT", "DELETE", "OPTIONS", "HELLO")),
    _case("R68-lower-case", 400, request("get /iaas/machines")),
    _case("R68-connect", (400, 405), request("CONNECT x:1")),
    _case("R68-http-2", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    _case("R68-http-0.9", 400, b"GET /health\r\nHost: x\r\n\r\n"),
    _case("R68-tls", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    _case("R68-nul", 404, request(b"GET /\x00")),
    _case("R68-other-place", (400, 404), request("GET http://169.254.169.254/latest")),
    *(_case(f"R70-{value.decode()}", 400, post(b'{"documents":[' + value + b"]}"), "JSON")
      for value in (b"NaN", b"Infinity", b"-Infinity")),
    _case("R70-1e999", 400, post(b'{"documents":[1e999]}'), "too large"),
    _case("R70-digits", 400, post(b'{"documents":[' + b"9" * 5000 + b"]}"), "too many digits"),
    _case("R71-top", 400, post(b'{"documents":[],"documents":[]}'), "occurs twice"),
    _case("R71-inside", 400, post(b'{"documents":[{"a":{"b":1,"b":1}}]}'), "occurs twice"),
    _case("R71-escaped", 400, post(b'{"documents":[{"a":1,"\\u0061":1}]}'), "occurs twice"),
    _case("R71-lab", 400, post(b'{"image":"a","image":"b"}', "/iaas/machines"), "occurs twice"),
    *(_case(f"R73-{n}", 400, post(b'{"documents":[' + text + b"]}"), "surrogate")
      for n, text in enumerate((b'"\\ud800"', b'"\\udc00\\ud800"', b'{"\\ud800":1}'))),
    _case("R73-lab", 400, post(b'{"image":"\\udfff"}', "/iaas/machines"), "surrogate"),
    *(_case(f"R74-{n}", 415, request("POST /iaas/apply", b"Content-Type: " + type_ + b"\r\n",
                                     body=b'{"documents":[]}'), "JSON")
      for n, type_ in enumerate(TYPES)),
    _case("R74-gzip", 415, request("POST /iaas/apply", JSON, b"Content-Encoding: gzip\r\n", body=b"x")),
    *(_case(f"R76-{query[:20]}", 400, request(f"GET /iaas/events?{query}")) for query in QUERIES),
    *(_case(f"R76-{query[:20]}", 400, request(f"GET /iaas/machines?{query}")) for query in FILTERS),
    *(_case(f"R76-{query}", 400, request(f"POST /iaas/apply?{query}", JSON, body=b'{"documents":[]}'))
      for query in ("dryRun=1", "dryRun=", "dryrun=true", "dryRun=true&dryRun=false")),
    _case("R77-since", 400, request("GET /iaas/events?since=abc")),
    _case("R77-cursor", 400, request("GET /iaas/events?cursor=eyJpZCI6MX0")),
    _case("R77-audit", 400, request("GET /iaas/audit?since=1%27%20OR%201=1")),
    _case("R77-if-match", 412, request("DELETE /iaas/machines/web", b'If-Match: "x"\r\n')),
    _case("R80-path", 404, request("GET /iaas/machines/web%0d%0aSet-Cookie:%20a=b")),
    _case("R80-query", 400, request("GET /iaas/machines?%0d%0aSet-Cookie:%20a=b=1")),
    _case("R80-key", 400, request("POST /iaas/machines", JSON, b"Idempotency-Key: a\rb\r\n",
                                  body=b'{"image":"disk"}')),
    _case("R80-name", 422, post(b'{"image":"disk","name":"a\\r\\nSet-Cookie: a=b"}', "/iaas/machines")),
    _case("R80-bare", 400, request("GET /iaas/machines", b"X-A: b\nX-B: c\r\n")),
    *(_case(f"R82-{header.partition(b':')[0].decode()}", 401,
            request("GET /iaas/machines", header + b"\r\n", auth=b"")) for header in IDENTITIES),
    _case("R83-form", 401, request("POST /iaas/machines", b"Origin: null\r\nCookie: a=b\r\n"
          b"Content-Type: application/x-www-form-urlencoded\r\n", body=b"image=disk", auth=b"")),
    _case("R83-preflight", 401, request("OPTIONS /iaas/machines", b"Origin: https://evil.test\r\n"
          b"Access-Control-Request-Method: POST\r\n", auth=b"")),
    _case("R83-text", 415, request("POST /iaas/machines", b"Origin: https://evil.test\r\n"
          b"Content-Type: text/plain\r\n", body=b'{"image":"disk"}')),
    *(_case(f"R89-{name}", status, post(body)) for name, status, body in (
        ("nonsense", 422, b'{"documents":[' + b"1," * 199_999 + b"1]}"),
        ("fields", 422, _document(**{f"f{n}": 1 for n in range(60_000)})),
        ("alike", 422, _document(**{f"memor{n}": 1 for n in range(50_000)})),
        ("ports", 422, _document(image="disk", ports=["8080:80"] * 80_000)),
        ("env", 422, _document(image="disk", env={f"E{n}": 1 for n in range(50_000)})),
        ("16-mb-of-strings", 422, b'{"documents":["' + b"\\u0041" * (2 * MIB) + b'"]}'),
        ("nested", 422, b'{"documents":[' + b",".join([b"[" * 30 + b"]" * 30] * 20_000) + b"]}"),
        ("names", 422, b'{"documents":[' + b",".join(
            [b'{"apiVersion":"iaas/v1","kind":"Node","metadata":{"name":"N"},"spec":{}}'] * 20_000) + b"]}"),
    )),
    *(_case(f"R89-64-mb-of-{name}", 413, post(b'{"documents":[' + unit * (60 * MIB // len(unit)) + b"1]}"),
            "values")
      for name, unit in (("lists", b"[],"), ("objects", b"{},"), ("numbers", b"1.1,"))),
    _case("R89-nobody", 401, request("POST /iaas/apply", JSON, b"Content-Length: 60000000\r\n", auth=b"")),
    _case("R-text", 400, post(b"\xff\xfe{\x00"), "UTF-8"),
    *(_case(f"R-{name}", (400, 403), post(body)) for name, body in TEXTS.items()),
]  # fmt: skip

IGNORED = {
    "R68-upgrade": request("GET /iaas/machines/web", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"),
    "R68-h2c": request("GET /iaas/machines/web", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                       b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
    "R79-override": request("GET /iaas/machines/web", b"X-HTTP-Method-Override: DELETE\r\n"),
    "R79-method": request("GET /iaas/machines/web", b"X-Method-Override: DELETE\r\n"),
    "R79-query": request("GET /iaas/machines/web", b"X-HTTP-Method: PUT\r\n"),
    "R82-with-a-token": request("GET /iaas/machines/web", b"X-Roles: nobody\r\nX-Original-URL: /x\r\n"),
    "R83-origin": request("GET /iaas/machines/web", b"Origin: https://evil.test\r\n"),
    "R94-host": request("GET /iaas/machines/web", b"X-Forwarded-Host: evil.test\r\n"),
}  # fmt: skip
"""Answered as if the header were not there."""
