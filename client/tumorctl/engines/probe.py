"""Looks at an endpoint without gRPC, to say why no connection comes about: gRPC itself answers UNAVAILABLE to all."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum

from tumorctl.engines.address import Endpoint

TIMEOUT_S = 5.0

# What every HTTP/2 client says first (RFC 9113, 3.4), with an empty SETTINGS frame; a server answers with its own.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_FRAME_HEADER = 9
_SETTINGS = 4

# OpenSSL's X509_V_ERR_*: numbers of its public interface.
_NOT_YET_VALID = {9}
_EXPIRED = {10}
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21, 27}
_OTHER_NAME = {62, 64}

# OpenSSL's names of the TLS alerts (RFC 8446, 6.2) with which a server turns a client's certificate down.
_WANTS_CERTIFICATE = {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
_REFUSES_CERTIFICATE = {
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "TLSV1_ALERT_ACCESS_DENIED",
    "TLSV1_ALERT_DECRYPT_ERROR",
    "TLSV1_ALERT_UNKNOWN_CA",
}


class Finding(Enum):
    """What keeps a client from talking to an endpoint."""

    nothing = "nothing: it speaks HTTP/2 as this client wants it"
    unknown_host = "the host name is not known"
    refused = "nothing listens there"
    silent = "no answer"
    unreachable = "the network does not lead there"
    speaks_tls = "it speaks TLS, the client does not"
    speaks_no_tls = "the client speaks TLS, it does not"
    not_http2 = "what listens there does not speak HTTP/2"
    unknown_authority = "the certificate is from an authority that is not trusted"
    expired = "the certificate has expired"
    not_yet_valid = "the certificate is not valid yet"
    other_name = "the certificate is for another name"
    bad_certificate = "the certificate does not hold"
    wants_certificate = "it wants a client certificate"
    refuses_certificate = "it refuses the client certificate"
    handshake_failed = "the TLS handshake failed"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate, checked.

    Attributes:
        subject: its common name, or else its first alternative name.
        issuer: common name or organisation of the authority.
        expires: when it stops being valid, UTC.
        protocol: version of TLS spoken.
    """

    subject: str
    issuer: str
    expires: datetime
    protocol: str

    def days_left(self, now: datetime | None = None) -> int:
        """Whole days until it expires; negative afterwards."""
        return (self.expires - (now or datetime.now(timezone.utc))).days


def look(
    endpoint: Endpoint,
    context: ssl.SSLContext | None,
    server_name: str | None = None,
    *,
    shows_certificate: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> tuple[Finding, Certificate | None]:
    """Connect as a gRPC client would, up to HTTP/2's first words.

    Args:
        endpoint: where.
        context: for TLS; None without.
        server_name: expected in the certificate instead of the host.
        shows_certificate: whether the context holds a client certificate.
        timeout_s: seconds for each step.

    Returns:
        What is wrong, and the server's certificate once it has proved good.
    """
    try:
        if context is None:
            return _look_plain(endpoint, timeout_s), None
        return _look_tls(endpoint, context, server_name or endpoint.host, shows_certificate, timeout_s)
    except socket.gaierror:
        return Finding.unknown_host, None
    except ConnectionRefusedError:
        return Finding.refused, None
    except TimeoutError:
        return Finding.silent, None
    except OSError:
        return Finding.unreachable, None


def _look_plain(endpoint: Endpoint, timeout_s: float) -> Finding:
    with _connected(endpoint, timeout_s) as connection:
        if _speaks_http2(connection):
            return Finding.nothing
    return Finding.speaks_tls if _speaks_tls(endpoint, timeout_s) else Finding.not_http2


def _look_tls(
    endpoint: Endpoint, context: ssl.SSLContext, name: str, shows_certificate: bool, timeout_s: float
) -> tuple[Finding, Certificate | None]:
    certificate = None
    try:
        with _connected(endpoint, timeout_s) as plain, context.wrap_socket(plain, server_hostname=name) as connection:
            certificate = _certificate(connection)
            # TLS 1.3 lets the client finish first: a server that wants a certificate says so only now.
            connection.sendall(_PREFACE)
            answer = _receive(connection)
    except ssl.SSLCertVerificationError as error:
        return _of_verification(error.verify_code), None
    except ssl.SSLError as error:
        reason = error.reason or ""
        if reason in _REFUSES_CERTIFICATE or (reason in _WANTS_CERTIFICATE and shows_certificate):
            return Finding.refuses_certificate, certificate
        if reason in _WANTS_CERTIFICATE:
            return Finding.wants_certificate, certificate
        return _without_tls(endpoint, timeout_s), certificate
    except ConnectionError:
        # Some servers hang up without an alert.
        if certificate is None:
            return _without_tls(endpoint, timeout_s), None
        answer = b""
    if _is_settings(answer):
        return Finding.nothing, certificate
    if answer:
        return Finding.not_http2, certificate
    return (Finding.refuses_certificate if shows_certificate else Finding.wants_certificate), certificate


def _of_verification(code: int) -> Finding:
    for codes, finding in (
        (_EXPIRED, Finding.expired),
        (_NOT_YET_VALID, Finding.not_yet_valid),
        (_UNKNOWN_AUTHORITY, Finding.unknown_authority),
        (_OTHER_NAME, Finding.other_name),
    ):
        if code in codes:
            return finding
    return Finding.bad_certificate


def _without_tls(endpoint: Endpoint, timeout_s: float) -> Finding:
    """After a handshake that failed otherwise: whether the server speaks HTTP/2 without it."""
    with contextlib.suppress(OSError), _connected(endpoint, timeout_s) as connection:
        if _speaks_http2(connection):
            return Finding.speaks_no_tls
    return Finding.handshake_failed


def _speaks_http2(connection: socket.socket) -> bool:
    try:
        connection.sendall(_PREFACE)
        return _is_settings(_receive(connection))
    except ConnectionError:
        return False


def _receive(connection: socket.socket) -> bytes:
    """The header of the first frame; less where the server hangs up."""
    answer = b""
    while len(answer) < _FRAME_HEADER and (more := connection.recv(_FRAME_HEADER - len(answer))):
        answer += more
    return answer


def _is_settings(answer: bytes) -> bool:
    return len(answer) == _FRAME_HEADER and answer[3] == _SETTINGS


def _speaks_tls(endpoint: Endpoint, timeout_s: float) -> bool:
    """Whether a handshake gets anywhere. Nothing is sent over it, so the certificate need not be good."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with _connected(endpoint, timeout_s) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


@contextlib.contextmanager
def _connected(endpoint: Endpoint, timeout_s: float) -> Iterator[socket.socket]:
    with socket.create_connection((endpoint.host, endpoint.port), timeout_s) as connection:
        yield connection


def _certificate(connection: ssl.SSLSocket) -> Certificate | None:
    found = connection.getpeercert()
    if not found:
        return None
    expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), timezone.utc)
    subject, issuer = _names(found.get("subject")), _names(found.get("issuer"))
    alternatives = [str(item[1]) for item in found.get("subjectAltName", ())]
    return Certificate(
        subject=subject.get("commonName") or (alternatives[0] if alternatives else "?"),
        issuer=issuer.get("commonName") or issuer.get("organizationName") or "?",
        expires=expires,
        protocol=connection.version() or "?",
    )


def _names(field: object) -> dict[str, str]:
    """The parts of a distinguished name, which Python gives as nested tuples."""
    parts = field if isinstance(field, tuple) else ()
    return {str(name): str(value) for part in parts for name, value in part}
