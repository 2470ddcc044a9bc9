"""Tokens: through a gateway, from files, and never where others can read them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

from tumorctl import (
    AccessDenied,
    ClientOptions,
    ConnectionOptions,
    InvalidOption,
    ServerRefused,
    ServerUnavailable,
    TlsOptions,
    TumorClient,
)
from tumorctl.config import resolve
from tumorctl.engines.address import parse_address
from tumorctl.engines.credentials import Credentials
from tumorctl.serving import triton as serving
from tumorctl.serving.triton import TritonServer

TOKEN = "s3same-0pen.up_"
IMAGES = np.full((2, 256, 256, 3), 200, np.uint8)

Fakes = Callable[..., Any]
Certificates = Any


class Gateway(grpc.GenericRpcHandler):  # type: ignore[misc]
    """What a hospital puts in front: lets in who bears the token, and passes the call on as it is."""

    def __init__(self, channel: grpc.Channel, status: grpc.StatusCode = grpc.StatusCode.UNAUTHENTICATED) -> None:
        self._channel = channel
        self._status = status
        self.passed: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            if ("authorization", f"Bearer {TOKEN}") not in details.invocation_metadata:
                context.abort(self._status, "who are you?")
            self.passed.append(details.method.rpartition("/")[2])
            try:
                answer: bytes = self._channel.unary_unary(details.method)(request, timeout=30)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)


def probabilities(url: str, connection: ConnectionOptions) -> list[float]:
    with TumorClient(url, connection=connection) as client:
        return [round(result.tumor_probability, 2) for result in client.predict(IMAGES)]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


def test_through_a_gateway_to_the_real_server(
    mutual_triton: TritonServer, our_tls: TlsOptions, certificates: Certificates, fakes: Fakes, token_file: Path
) -> None:
    assert our_tls.client_cert is not None
    assert our_tls.client_key is not None
    inside = grpc.ssl_channel_credentials(
        certificates.ca.read_bytes(), Path(our_tls.client_key).read_bytes(), Path(our_tls.client_cert).read_bytes()
    )
    with grpc.secure_channel(mutual_triton.grpc_url, inside) as channel:
        gateway = Gateway(channel)
        _, url = fakes(certificates.server("127.0.0.1"), handler=gateway)
        tls = TlsOptions(ca_cert=certificates.ca)
        assert probabilities(url, ConnectionOptions(tls=tls, token_file=token_file)) == [0.9, 0.9]
        assert probabilities(url, ConnectionOptions(tls=tls, token=TOKEN)) == [0.9, 0.9]
        assert gateway.passed.count("ModelInfer") == 2
        for connection in (ConnectionOptions(tls=tls), ConnectionOptions(tls=tls, token="guessed")):
            with pytest.raises(AccessDenied, match=r"UNAUTHENTICATED.*--token-file or TUMORCTL_TOKEN") as caught:
                probabilities(url, connection)
            assert "guessed" not in str(caught.value)
        assert gateway.passed.count("ModelInfer") == 2


def test_what_a_token_does_not_allow(fakes: Fakes) -> None:
    with grpc.insecure_channel("127.0.0.1:9") as channel:
        _, url = fakes(handler=Gateway(channel, grpc.StatusCode.PERMISSION_DENIED))
        with pytest.raises(AccessDenied, match="PERMISSION_DENIED"):
            probabilities(url, ConnectionOptions(token="guessed"))


def test_a_gateway_whose_server_is_down_is_not_mistaken_for_silence(fakes: Fakes) -> None:
    with grpc.insecure_channel("127.0.0.1:9") as channel:
        _, url = fakes(handler=Gateway(channel))
        with pytest.raises(ServerUnavailable, match="the server answered UNAVAILABLE"):
            probabilities(url, ConnectionOptions(token=TOKEN))


def test_a_server_that_keeps_calls_for_those_with_a_key_is_not_down(
    fast_triton: Callable[..., TritonServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_ADMIN_APIS", f"{serving._ADMIN_APIS},metadata,model-config")
    with fast_triton() as server:
        with pytest.raises(ServerRefused, match="is up, but does not answer this client"):
            probabilities(server.grpc_url, ConnectionOptions())
        (key,) = {word.rpartition("admin-key=")[2] for word in psutil.Process(server.pid).cmdline() if "admin-" in word}
        connection = ConnectionOptions(token=key, token_header="triton-grpc-protocol-admin-key")
        assert probabilities(server.grpc_url, connection) == [0.9, 0.9]


def test_a_grpc_server_of_another_kind(fakes: Fakes) -> None:
    class Nothing(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: grpc.HandlerCallDetails) -> None:
            return None

    _, url = fakes(handler=Nothing())
    with pytest.raises(ServerRefused, match="is it a Triton server"):
        probabilities(url, ConnectionOptions())


def test_a_token_that_expires_while_a_client_lives(fakes: Fakes, token_file: Path) -> None:
    server, url = fakes()
    with TumorClient(url, connection=ConnectionOptions(token_file=token_file)) as client:
        list(client.predict(IMAGES))
        token_file.write_text("renewed")
        list(client.predict(IMAGES))
        token_file.unlink()
        with pytest.raises(InvalidOption, match="cannot be read"):
            list(client.predict(IMAGES))
    assert [headers["authorization"] for headers in server.headers] == [f"Bearer {TOKEN}", "Bearer renewed"]


def test_another_header_gets_the_bare_token(fakes: Fakes) -> None:
    server, url = fakes()
    probabilities(url, ConnectionOptions(token=TOKEN, token_header="x-api-key", headers={"x-tenant": "radiology"}))
    assert server.headers[0]["x-api-key"] == TOKEN
    assert server.headers[0]["x-tenant"] == "radiology"
    assert "authorization" not in server.headers[0]


class TestPlaintext:
    @pytest.mark.parametrize("url", ["triton.example:8001", "127.0.0.1:9,triton.example:8001", "dns:///a.example:1"])
    def test_a_token_is_not_sent_where_it_could_be_read(self, url: str) -> None:
        with pytest.raises(InvalidOption, match="without TLS the token could be read"):
            TumorClient(url, connection=ConnectionOptions(token=TOKEN))

    @pytest.mark.parametrize("url", ["127.0.0.1:8001", "[::1]:8001", "localhost:8001", "grpcs://triton.example:8001"])
    def test_this_machine_and_tls_are_safe(self, url: str) -> None:
        assert Credentials(parse_address(url), ConnectionOptions(token=TOKEN)).headers() == {
            "authorization": f"Bearer {TOKEN}"
        }

    def test_it_can_be_allowed(self) -> None:
        connection = ConnectionOptions(token=TOKEN, allow_plaintext_token=True)
        assert Credentials(parse_address("triton.example:8001"), connection).has_token


class TestSecrecy:
    def test_nothing_shows_the_token(
        self, fakes: Fakes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TUMORCTL_TOKEN", TOKEN)
        monkeypatch.setenv("TUMORCTL_HEADERS", '{"x-tenant": "radiology"}')
        server, url = fakes()
        server.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
        settings = resolve(url, ClientOptions())
        with caplog.at_level(logging.DEBUG), TumorClient(url) as client, pytest.raises(Exception, match="INTERNAL"):
            list(client.predict(IMAGES))
        assert server.headers[0]["authorization"] == f"Bearer {TOKEN}"
        credentials = Credentials(parse_address(url), settings.connection)
        assert credentials.describe() == "no certificate of its own, token as authorization"
        shown = caplog.text, repr(settings), str(settings.connection), repr(client.info), credentials.describe()
        assert not [text for text in shown if TOKEN in text]

    def test_a_file_that_all_can_read_is_said_once(
        self, fakes: Fakes, token_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        token_file.chmod(0o644)
        _, url = fakes()
        with caplog.at_level(logging.WARNING, "tumorctl"):
            probabilities(url, ConnectionOptions(token_file=token_file))
        said = [record.message for record in caplog.records if "every user" in record.message]
        assert said == [f"every user of this machine can read the token file {token_file}: chmod 600 it"]

    def test_a_file_that_only_i_can_read_is_well(
        self, fakes: Fakes, token_file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, url = fakes()
        with caplog.at_level(logging.WARNING, "tumorctl"):
            probabilities(url, ConnectionOptions(token_file=token_file))
        assert not [record for record in caplog.records if "every user" in record.message]

    def test_a_key_that_all_can_read(
        self, our_tls: TlsOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert our_tls.client_key is not None
        key = tmp_path / "open.key"
        key.write_bytes(Path(our_tls.client_key).read_bytes())
        key.chmod(0o644)
        tls = TlsOptions(our_tls.ca_cert, our_tls.client_cert, key)
        with caplog.at_level(logging.WARNING, "tumorctl"):
            Credentials(parse_address("127.0.0.1:1"), ConnectionOptions(tls=tls))
        assert f"every user of this machine can read the key {key}" in caplog.text


def test_public_authorities_are_those_of_grpc(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    def trusted() -> int:
        context = Credentials(parse_address("grpcs://triton.example:1"), ConnectionOptions()).context
        assert context is not None
        return len(context.get_ca_certs())

    assert trusted() > 50
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(certificates.ca))
    assert trusted() == 1


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"line\nline", b"\xff\xfe", b"x" * ((1 << 20) + 1)])
def test_a_file_that_holds_no_token(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(InvalidOption, match="token") as caught:
        Credentials(parse_address("127.0.0.1:1"), ConnectionOptions(token_file=path))
    assert "words" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": ""},
        {"token": "a b"},
        {"token": "a\nb: c"},
        {"token": "x", "token_file": "y"},
        {"token_header": "Authorization"},
        {"token_header": "grpc-timeout"},
        {"token_header": "x-token-bin"},
        {"token_header": "a b"},
        {"headers": {"x-tenant": "a\nb"}},
        {"headers": {"X-Tenant": "a"}},
        {"headers": {"authorization": "Basic abc"}},
        {"headers": {"x-key": "abc"}, "token_header": "x-key"},
    ],
)
def test_what_cannot_travel_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        ConnectionOptions(**wrong)
