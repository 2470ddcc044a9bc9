"""From gRPC's statuses, and from a look at the endpoint, to typed errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from tritonclient.utils import InferenceServerException

from tumorctl.engines.address import Endpoint
from tumorctl.engines.credentials import Credentials
from tumorctl.engines.probe import TIMEOUT_S, Finding, look
from tumorctl.errors import (
    AccessDenied,
    DeadlineExceeded,
    EngineError,
    InsecureServer,
    ServerError,
    ServerRefused,
    ServerUnavailable,
)

_ERRORS: dict[grpc.StatusCode, type[EngineError]] = {
    grpc.StatusCode.OK: ServerError,
    grpc.StatusCode.CANCELLED: ServerError,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.INVALID_ARGUMENT: ServerRefused,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: ServerRefused,
    grpc.StatusCode.ALREADY_EXISTS: ServerRefused,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServerUnavailable,
    grpc.StatusCode.FAILED_PRECONDITION: ServerRefused,
    grpc.StatusCode.ABORTED: ServerError,
    grpc.StatusCode.UNIMPLEMENTED: ServerRefused,
    grpc.StatusCode.OUT_OF_RANGE: ServerRefused,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.DATA_LOSS: ServerError,
}

_UNREACHED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
"""What gRPC answers, too, where no connection came about."""

# What to do, by what keeps the client out. {server} is the endpoint, {timeout} the seconds waited.
_OUT_OF_REACH = {
    Finding.unknown_host: "its host name is not known",
    Finding.refused: "nothing listens there; is it running? `tumorctl serve` starts one",
    Finding.silent: "nothing comes back within {timeout:g} s; is the machine up, and does a firewall let this through?",
    Finding.unreachable: "the network does not lead there",
    Finding.not_http2: "something else listens there; is it the gRPC port (8001 in a Triton), not the HTTP one?",
}
_INSECURE = {
    Finding.speaks_tls: "{server} speaks TLS: use grpcs://{server} or --tls",
    Finding.speaks_no_tls: (
        "{server} does not speak TLS: give the port that does, or leave TLS out if nobody can listen in between"
    ),
    Finding.unknown_authority: (
        "the certificate of {server} is from an authority that is not trusted: name yours with --ca-cert; if it is "
        "named, the server is another one than you think, or its certificate comes without its chain"
    ),
    Finding.expired: "the certificate of {server} has expired, or this machine's clock is wrong: have it renewed",
    Finding.not_yet_valid: "the certificate of {server} is not valid yet: check this machine's clock",
    Finding.other_name: (
        "the certificate of {server} is for another name: use a name that it bears, or give that as --server-name"
    ),
    Finding.bad_certificate: "the certificate of {server} does not hold: have it replaced",
    Finding.handshake_failed: (
        "no secure connection to {server}: the TLS handshake failed; does it speak TLS, and is it the gRPC port (8001 "
        "in a Triton)?"
    ),
}
_DENIED = {
    Finding.wants_certificate: "{server} wants a client certificate: give --client-cert and --client-key",
    Finding.refuses_certificate: (
        "{server} refuses the client certificate: is it from the authority the server trusts, and still valid?"
    ),
}


def status_of(error: InferenceServerException) -> grpc.StatusCode | None:
    """The gRPC status of a tritonclient error, which carries it as ``StatusCode.NAME``."""
    name = str(error.status() or "").removeprefix("StatusCode.")
    return grpc.StatusCode.__members__.get(name)


def error_for(status: grpc.StatusCode | None, detail: str, request_id: str | None = None) -> EngineError:
    """The typed error for a gRPC status.

    Args:
        status: what the call ended with; None where the client library itself failed.
        detail: what the server said.
        request_id: of the failed request.
    """
    kind = ServerError if status is None else _ERRORS[status]
    name = "client error" if status is None else status.name
    advice = {
        grpc.StatusCode.UNAUTHENTICATED: "; it wants a valid token: give one with --token-file or TUMORCTL_TOKEN",
        grpc.StatusCode.PERMISSION_DENIED: "; the token or certificate shown does not allow this",
        grpc.StatusCode.UNIMPLEMENTED: "; is it a Triton server, and does the gateway pass gRPC on?",
    }.get(status, "")
    return kind(f"the server answered {name}: {detail}{advice}", request_id=request_id)


def connection_error(
    error: InferenceServerException, endpoint: Endpoint, credentials: Credentials, is_live: Callable[[], bool]
) -> EngineError:
    """The typed error for a first call that failed: where no connection came about, after a look at why.

    Args:
        error: how the call ended.
        endpoint: where it went.
        credentials: what was shown.
        is_live: asks the server whether it lives.
    """
    status = status_of(error)
    if status not in _UNREACHED:
        return error_for(status, str(error.message()))
    finding, _ = look(
        endpoint,
        credentials.context,
        credentials.server_name,
        shows_certificate=credentials.has_certificate,
    )
    words = {"server": str(endpoint), "timeout": TIMEOUT_S}
    if finding in _OUT_OF_REACH:
        return ServerUnavailable(
            f"no Triton server answers at {endpoint} (gRPC): {_OUT_OF_REACH[finding].format(**words)}"
        )
    if finding in _DENIED:
        return AccessDenied(_DENIED[finding].format(**words))
    if finding in _INSECURE:
        return InsecureServer(_INSECURE[finding].format(**words))
    # It can be talked to: it is the server, or a gateway in front of it, that says no. Triton answers UNAVAILABLE, too,
    # to calls that it keeps for those who have a key (--grpc-restricted-protocol).
    if is_live():
        return ServerRefused(f"the server at {endpoint} is up, but does not answer this client: {error.message()}")
    return error_for(status, str(error.message()))
