"""Addresses of servers: ``HOST:PORT``, several of them, ``grpc://``, ``grpcs://`` and ``dns:///``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tumorctl.errors import InvalidOption

_HELP = "give HOST:PORT, grpcs://HOST:PORT for TLS, HOST1:PORT,HOST2:PORT for several, or dns:///HOST:PORT"
_SCHEMES = {"grpc://": False, "grpcs://": True, "dns:///": None}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server's gRPC endpoint.

    Attributes:
        host: name, IPv4 address, or IPv6 address without brackets.
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether this is the machine itself."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Address:
    """Where servers are.

    Attributes:
        endpoints: at least one, each once, in the order given.
        tls: whether the address asks for TLS or for none; None where it does not say.
        balanced: whether the one name stands for all the addresses that it resolves to, ``dns:///``.
    """

    endpoints: tuple[Endpoint, ...]
    tls: bool | None = None
    balanced: bool = False

    def __str__(self) -> str:
        return self._scheme + ",".join(map(str, self.endpoints))

    @property
    def _scheme(self) -> str:
        if self.balanced:
            return "dns:///"
        return "" if self.tls is None else "grpcs://" if self.tls else "grpc://"

    @property
    def has_several(self) -> bool:
        """Whether another server may answer where one does not."""
        return self.balanced or len(self.endpoints) > 1

    @property
    def is_loopback(self) -> bool:
        """Whether all of it is the machine itself."""
        return all(endpoint.is_loopback for endpoint in self.endpoints)

    def each(self) -> list[Address]:
        """The endpoints as addresses of their own."""
        return [Address((endpoint,), self.tls, self.balanced) for endpoint in self.endpoints]


def parse_address(text: str) -> Address:
    """Read an address.

    Args:
        text: ``HOST:PORT``, several of them with commas between, ``grpc://`` (without TLS) or ``grpcs://`` (with TLS)
            before either, or ``dns:///HOST:PORT`` for all servers that a name resolves to.

    Raises:
        InvalidOption: it is none of these.
    """
    if "@" in text:
        raise InvalidOption("a server's address cannot hold a user or password: give a token or a client certificate")
    scheme = next((scheme for scheme in _SCHEMES if text.lower().startswith(scheme)), "")
    if not scheme and "://" in text:
        raise InvalidOption(f"{text!r} is not the address of a gRPC server: {_HELP}")
    endpoints = tuple(dict.fromkeys(_endpoint(part.strip(), text) for part in text[len(scheme) :].split(",")))
    balanced = scheme == "dns:///"
    if balanced and len(endpoints) > 1:
        raise InvalidOption(f"{text!r} names several hosts: dns:/// takes one, whose addresses are used in turn")
    return Address(endpoints, _SCHEMES.get(scheme), balanced)


def _endpoint(part: str, text: str) -> Endpoint:
    host, colon, port = part.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        valid = _is_ip(host, 6)
    else:
        valid = _is_ip(host, 4) or _is_name(host)
    if not colon or not valid or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise InvalidOption(f"{text!r} is not a server's address: {_HELP}")
    return Endpoint(host, int(port))


def _is_ip(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version and "%" not in host
    except ValueError:
        return False


def _is_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    # A name whose last label is a number would be a broken IPv4 address.
    return len(host) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
