"""The scalar types of a manifest: how each is written, checked, and written back.

Each has `SCHEMA` (JSON Schema for editors and validation), `from_json` (raises ValueError with a
message for people) and `to_json`. All match whole strings and ASCII digits only.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

NAME_PATTERN = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_HINT = "use 1-63 characters a-z, 0-9 and -, starting with a letter and not ending with -"


class Memory(int):
    """An amount of memory in MiB, written `256Mi` or `2Gi`."""

    UNITS: ClassVar = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
    LARGEST: ClassVar = 64 * 1024 * 1024
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": "^[1-9][0-9]{0,7}(Mi|Gi|Ti)$",
        "description": "an amount with its unit: 256Mi, 2Gi",
        "examples": ["256Mi", "2Gi"],
    }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        if not isinstance(data, str) or not re.fullmatch(r"[1-9][0-9]{0,7}(Mi|Gi|Ti)", data):
            raise ValueError(f"{data!r} is not an amount of memory; write 256Mi or 2Gi")
        value = int(data[:-2]) * cls.UNITS[data[-2:]]
        if not 8 <= value <= cls.LARGEST:
            raise ValueError(f"{data!r} is out of range; from 8Mi to 64Ti")
        return cls(value)

    def to_json(self) -> str:
        return f"{self // 1024}Gi" if self and self % 1024 == 0 else f"{int(self)}Mi"

    def __str__(self) -> str:
        return self.to_json()


class Cpus(int):
    """A share of processors in thousandths, written `0.5`, `2` or `500m`."""

    SCHEMA: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "number", "minimum": 0.01, "maximum": 1024},
            {"type": "string", "pattern": "^[1-9][0-9]{1,6}m$"},
        ],
        "description": "a number of processors: 2, 0.5 or 500m",
        "examples": [1, 0.5, "500m"],
    }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        if isinstance(data, str) and re.fullmatch(r"[1-9][0-9]{1,6}m", data):
            value = int(data[:-1])
        elif isinstance(data, int | float) and not isinstance(data, bool):
            # 1.001 * 1000 is a little less than 1001, so the step is told by the way back.
            value = round(data * 1000) if abs(data) <= 1024 else 0
            value = value if value / 1000 == data else 0
        else:
            raise ValueError(f"{data!r} is not a number of processors; write 2, 0.5 or 500m")
        if not 10 <= value <= 1024_000:
            raise ValueError(f"{data!r} is out of range; from 0.01 to 1024, in steps of 0.001")
        return cls(value)

    def to_json(self) -> int | float:
        return self // 1000 if self % 1000 == 0 else self / 1000

    def __str__(self) -> str:
        return str(self.to_json())


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """One published port: connections to `node` on the node's addresses reach `machine` inside."""

    node: int
    machine: int
    protocol: Protocol = Protocol.TCP

    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "string",
        "pattern": "^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}(/(tcp|udp))?$",
        "description": "NODEPORT:MACHINEPORT, tcp unless /udp follows",
        "examples": ["8080:80", "5353:53/udp"],
    }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        found = isinstance(data, str) and re.fullmatch(
            r"([1-9][0-9]{0,4}):([1-9][0-9]{0,4})(?:/(tcp|udp))?", data
        )
        if not found:
            raise ValueError(f'{data!r} is not a port; write "8080:80" or "53:53/udp"')
        node, machine = int(found[1]), int(found[2])
        if node > 65535 or machine > 65535:
            raise ValueError(f"{data!r}: ports go from 1 to 65535")
        return cls(node, machine, Protocol(found[3] or "tcp"))

    def to_json(self) -> str:
        return f"{self.node}:{self.machine}/{self.protocol}"

    def __str__(self) -> str:
        return self.to_json()


class Text(str):
    """A text: `SCHEMA` says which, `REFUSAL` what is wrong with any other (which is `{}` in it)."""

    __slots__ = ()
    SCHEMA: ClassVar[dict[str, Any]]
    REFUSAL: ClassVar[str]

    @classmethod
    def from_json(cls, data: Any) -> Self:
        if (
            not isinstance(data, str)
            or len(data) > cls.SCHEMA.get("maxLength", len(data))
            or not re.fullmatch(cls.SCHEMA["pattern"][1:-1], data)
        ):
            raise ValueError(cls.REFUSAL.format(repr(data)))
        return cls(data)

    def to_json(self) -> str:
        return str(self)


class Name(Text):
    """The name of an object: a DNS label."""

    __slots__ = ()
    SCHEMA: ClassVar = {"type": "string", "pattern": NAME_PATTERN}
    REFUSAL: ClassVar = f"{{}} is not a name; {NAME_HINT}"


class Sha256(Text):
    """The SHA-256 of a file, 64 lower-case hexadecimal digits."""

    __slots__ = ()
    SCHEMA: ClassVar = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    REFUSAL: ClassVar = "not a sha256; write its 64 hexadecimal digits"


class Uid(Text):
    """The immutable identity of a machine: a lower-case UUID. Never reused, unlike names."""

    __slots__ = ()
    SCHEMA: ClassVar = {"type": "string", "format": "uuid"}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        hexes = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
        if not isinstance(data, str) or not re.fullmatch(hexes, data):
            raise ValueError("not a uid; expected a lower-case UUID")
        return cls(data)


class Address(Text):
    """Where an agent listens: `addr:port`, a host name or IPv4 address and a port."""

    __slots__ = ()
    SCHEMA: ClassVar = {
        "type": "string",
        "pattern": r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?:[1-9][0-9]{0,4}$",
        "description": "host:port of the agent",
        "examples": ["127.0.0.1:7701"],
    }
    REFUSAL: ClassVar = "{} is not an address; write host:port"

    @classmethod
    def from_json(cls, data: Any) -> Self:
        found = super().from_json(data)
        if int(found.rpartition(":")[2]) > 65535:
            raise ValueError(cls.REFUSAL.format(repr(data)))
        return found


class HttpsUrl(Text):
    """Where bytes are fetched from: https, a host, no user or password, no fragment."""

    __slots__ = ()
    SCHEMA: ClassVar = {
        "type": "string",
        "maxLength": 2048,
        "pattern": r"^https://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[1-9][0-9]{0,4})?/[!$&-;=?-Z_a-z~%]*$",
        "description": "https://HOST/PATH, without user, password and fragment",
        "examples": [
            "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-nocloud-amd64.qcow2"
        ],
    }
    REFUSAL: ClassVar = "not an address to fetch from; write https://HOST/PATH"

    @property
    def shown(self) -> str:
        """For people and logs: the query of a signed address is a secret."""
        return self.partition("?")[0]


class RegistryReference(Text):
    """An image in a registry, pinned: `[HOST[:PORT]/]NAME[:TAG]@sha256:DIGEST`. The tag is for people."""

    __slots__ = ()
    SCHEMA: ClassVar = {
        "type": "string",
        "maxLength": 512,
        "pattern": "^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[1-9][0-9]{0,4})?/)?"
        "[a-z0-9]+([._-]{1,2}[a-z0-9]+)*(/[a-z0-9]+([._-]{1,2}[a-z0-9]+)*)*"
        "(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?@sha256:[0-9a-f]{64}$",
        "description": "NAME[:TAG]@sha256:DIGEST; `docker pull NAME` prints the digest",
        "examples": ["docker.io/library/nginx:1.27@sha256:" + "0" * 64],
    }
    REFUSAL: ClassVar = (
        "{} does not pin an image of a registry; write NAME[:TAG]@sha256:DIGEST"
        " (`docker pull NAME` prints the digest)"
    )

    @property
    def digest(self) -> Sha256:
        return Sha256(self.rpartition("@sha256:")[2])

    @property
    def repository(self) -> str:
        """What Docker is asked for, without the tag: the digest alone decides."""
        name = self.rpartition("@")[0]
        head, slash, last = name.rpartition("/")
        return head + slash + last.partition(":")[0]
