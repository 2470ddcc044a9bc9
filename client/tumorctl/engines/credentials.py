"""What a client shows to servers and what it trusts: certificates, tokens, headers."""

from __future__ import annotations

import functools
import logging
import os
import pkgutil
import ssl
import stat
from pathlib import Path

import grpc

from tumorctl.engines.address import Address
from tumorctl.errors import InvalidOption
from tumorctl.types import ConnectionOptions, TlsOptions, check_token

logger = logging.getLogger(__name__)

_AUTHORIZATION = "authorization"
_LARGEST_FILE = 1 << 20


class Credentials:
    """Certificates and token for the servers of one address.

    Args:
        address: where the servers are.
        connection: settled options.

    Raises:
        InvalidOption: a file cannot be read or used, the address and the options contradict each other, or the token
            would travel readable.
    """

    def __init__(self, address: Address, connection: ConnectionOptions) -> None:
        self._connection = connection
        tls = connection.tls
        if address.tls is False and tls is not None:
            raise InvalidOption("grpc:// says no TLS, but TLS options are given: use grpcs://, or leave them out")
        if tls is None and address.tls:
            tls = TlsOptions()
        self.server_name = tls.server_name if tls else None
        self.channel: grpc.ChannelCredentials | None = None
        self.context: ssl.SSLContext | None = None
        if tls is not None:
            self.channel, self.context = _load(tls)
        if self.has_token and tls is None and not address.is_loopback and not connection.allow_plaintext_token:
            raise InvalidOption(
                f"without TLS the token could be read on its way to {address}: use grpcs://, or allow it with "
                "--allow-plaintext-token or TUMORCTL_ALLOW_PLAINTEXT_TOKEN=true"
            )
        # Finds an unusable token now rather than at the first request.
        self.headers()

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token."""
        return self._connection.token is not None or self._connection.token_file is not None

    @property
    def has_certificate(self) -> bool:
        """Whether there is a certificate to show."""
        return self._connection.tls is not None and self._connection.tls.client_cert is not None

    def headers(self) -> dict[str, str]:
        """Headers for a request. A token file is read each time: short-lived tokens are renewed in place.

        Raises:
            InvalidOption: the token file cannot be read or holds no token.
        """
        headers = dict(self._connection.headers or {})
        token = self._token()
        if token is not None:
            name = self._connection.token_header or _AUTHORIZATION
            headers[name] = f"Bearer {token}" if name == _AUTHORIZATION else token
        return headers

    def describe(self) -> str:
        """What is shown to the server, for people; never the token itself."""
        shown = ["own certificate" if self.has_certificate else "no certificate of its own"]
        if self.has_token:
            path, name = self._connection.token_file, self._connection.token_header or _AUTHORIZATION
            shown.append(f"token {f'from {os.fspath(path)} ' if path else ''}as {name}")
        else:
            shown.append("no token")
        return ", ".join(shown)

    def _token(self) -> str | None:
        path = self._connection.token_file
        if path is None:
            return self._connection.token
        content, mode = _read(path, "token file")
        if mode & stat.S_IROTH:
            _warn_of_readers("token file", os.fspath(path))
        token = content.decode("ascii", "replace").strip()
        check_token(token)
        return token


def _load(tls: TlsOptions) -> tuple[grpc.ChannelCredentials, ssl.SSLContext]:
    """Credentials for gRPC, and the same for Python's TLS, which checks the files and looks into failures."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    # As gRPC does: an authority that is trusted need not be a root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    authorities = certificate = key = None
    if tls.ca_cert is None:
        _trust_public_authorities(context)
    else:
        authorities, _ = _read(tls.ca_cert, "file of trusted authorities")
        try:
            context.load_verify_locations(cadata=authorities.decode("ascii"))
        except (ValueError, ssl.SSLError) as error:
            raise InvalidOption(f"{os.fspath(tls.ca_cert)} does not hold certificates in PEM form") from error
    if tls.client_cert is not None and tls.client_key is not None:
        certificate, _ = _read(tls.client_cert, "client certificate")
        key, mode = _read(tls.client_key, "client key")
        if mode & stat.S_IROTH:
            _warn_of_readers("key", os.fspath(tls.client_key))
        try:
            context.load_cert_chain(
                Path(tls.client_cert).expanduser(), Path(tls.client_key).expanduser(), password=_no_password
            )
        except (ssl.SSLError, ValueError) as error:
            raise InvalidOption(
                f"{os.fspath(tls.client_cert)} and {os.fspath(tls.client_key)} are not a certificate and its key in "
                "PEM form"
            ) from error
    return grpc.ssl_channel_credentials(authorities, key, certificate), context


def _trust_public_authorities(context: ssl.SSLContext) -> None:
    """Trust those that gRPC trusts by itself, so that a look at the server finds what gRPC found."""
    named = os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    try:
        content = Path(named).read_bytes() if named else pkgutil.get_data("grpc._cython", "_credentials/roots.pem")
        context.load_verify_locations(cadata=(content or b"").decode("ascii"))
    except (OSError, ValueError, ssl.SSLError):
        context.load_default_certs()


@functools.cache
def _warn_of_readers(what: str, path: str) -> None:
    """Say once in this process that a secret is none."""
    logger.warning("every user of this machine can read the %s %s: chmod 600 it", what, path)


def _no_password() -> str:
    raise InvalidOption("the client key is encrypted, which gRPC cannot use: decrypt it into a file only you can read")


def _read(path: str | os.PathLike[str], what: str) -> tuple[bytes, int]:
    """A small file's content and mode."""
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
            mode = os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise InvalidOption(f"the {what} {os.fspath(path)} cannot be read ({error.strerror})") from error
    if len(content) > _LARGEST_FILE:
        raise InvalidOption(f"the {what} {os.fspath(path)} is too large to be one")
    return content, mode
