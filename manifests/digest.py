"""Digests of desired state: equal exactly when the normalised data is equal."""

import hashlib
import json
from typing import Any

from manifests.codec import dump


def canonical(value: Any) -> str:
    """The one JSON text of a value: defaults left out, keys sorted, no spaces."""
    return json.dumps(dump(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
    """SHA-256 of the canonical text, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
