"""TLS for the listener: its context, from files that a client could accept today."""

import ssl
from contextlib import suppress
from pathlib import Path

FLIGHTS = 4
"""Rounds of messages in which any handshake is done."""


class TlsError(Exception):
    """The files will not do. A sentence for people."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or later. `certificate` may hold its chain, too. Raises TlsError."""
    for file in (certificate, key):
        try:
            file.read_bytes()
        except OSError as error:
            raise TlsError(f"cannot read {file}: {error.strerror}") from None
    client = _client(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # our clients are short programs, which would not come back with one
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=lambda: _no_password(key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"the key {key} is not the one of {certificate}") from None
        raise TlsError(f"{key} holds no private key in PEM, or a broken one") from None
    _shake_hands(client, context, certificate)
    return context


def _client(certificate: Path) -> ssl.SSLContext:
    """One that trusts this certificate alone."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(certificate)
    except ssl.SSLError:
        raise TlsError(f"{certificate} holds no certificate in PEM, or a broken one") from None
    return client


def _no_password(key: Path) -> str:
    raise TlsError(
        f"the key {key} has a passphrase, which nobody could type: store it without one, mode 600"
    )


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, certificate: Path) -> None:
    """In memory: what is expired, not yet valid or not for servers shows now, not at each client."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = client.wrap_bio(theirs, ours), server.wrap_bio(ours, theirs, server_side=True)
    try:
        for side in sides * FLIGHTS:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message
        raise TlsError(f"clients would refuse the certificate {certificate}: {why}") from None
    except ssl.SSLError as error:
        raise TlsError(f"TLS does not work with {certificate}: {error.reason}") from None
