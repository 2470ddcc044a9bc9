"""Certificates, against the real server and against servers that have the wrong ones."""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tumorctl import (
    AccessDenied,
    ConnectionOptions,
    InsecureServer,
    InvalidOption,
    ServerUnavailable,
    TlsOptions,
    TumorClient,
)
from tumorctl.engines import failures
from tumorctl.engines.address import Endpoint, parse_address
from tumorctl.engines.credentials import Credentials
from tumorctl.engines.probe import Finding, look
from tumorctl.serving.triton import ServerTls, TritonServer

IMAGES = np.full((2, 256, 256, 3), 200, np.uint8)

Fakes = Callable[..., Any]
Certificates = Any


def predict(url: str, tls: TlsOptions | None) -> list[float]:
    with TumorClient(url, connection=ConnectionOptions(tls=tls)) as client:
        return [round(result.tumor_probability, 2) for result in client.predict(IMAGES)]


class TestMutual:
    """A real Triton that lets in only clients with certificates of ours."""

    @pytest.mark.parametrize("form", ["127.0.0.1:{}", "grpcs://localhost:{}", "dns:///localhost:{}"])
    def test_with_the_right_certificate(self, mutual_triton: TritonServer, our_tls: TlsOptions, form: str) -> None:
        assert predict(form.format(mutual_triton.options.grpc_port), our_tls) == [0.9, 0.9]

    def test_without_a_certificate(self, mutual_triton: TritonServer, certificates: Certificates) -> None:
        with pytest.raises(AccessDenied, match="wants a client certificate: give --client-cert"):
            predict(mutual_triton.grpc_url, TlsOptions(ca_cert=certificates.ca))

    def test_with_a_stranger_s_certificate(
        self, mutual_triton: TritonServer, certificates: Certificates, strangers: Certificates
    ) -> None:
        certificate, key = strangers.issue("client", "client@elsewhere.example")
        with pytest.raises(AccessDenied, match="refuses the client certificate"):
            predict(mutual_triton.grpc_url, TlsOptions(certificates.ca, certificate, key))

    def test_with_an_expired_certificate(self, mutual_triton: TritonServer, certificates: Certificates) -> None:
        certificate, key = certificates.issue("late", "late@hospital.example", days=-2)
        with pytest.raises(AccessDenied, match="refuses the client certificate"):
            predict(mutual_triton.grpc_url, TlsOptions(certificates.ca, certificate, key))

    def test_trusting_somebody_else(
        self, mutual_triton: TritonServer, our_tls: TlsOptions, strangers: Certificates
    ) -> None:
        for tls in (dataclasses.replace(our_tls, ca_cert=strangers.ca), dataclasses.replace(our_tls, ca_cert=None)):
            with pytest.raises(InsecureServer, match="authority that is not trusted"):
                predict(mutual_triton.grpc_url, tls)

    def test_without_tls(self, mutual_triton: TritonServer) -> None:
        with pytest.raises(InsecureServer, match=f"speaks TLS: use grpcs://{mutual_triton.grpc_url}"):
            predict(mutual_triton.grpc_url, None)

    def test_http_is_no_way_around(self, mutual_triton: TritonServer) -> None:
        body = {"inputs": [{"name": "IMAGE", "shape": [1, 256, 256, 3], "datatype": "UINT8", "data": []}]}
        for method, path, status in (
            ("POST", "models/tumor_detection/infer", http.HTTPStatus.FORBIDDEN),
            ("GET", "models/tumor_detection", http.HTTPStatus.FORBIDDEN),
            ("GET", "health/ready", http.HTTPStatus.OK),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", mutual_triton.options.http_port, timeout=10)
            connection.request(method, f"/v2/{path}", json.dumps(body) if method == "POST" else None)
            assert connection.getresponse().status == status
            connection.close()

    def test_its_certificate_can_be_looked_at(self, mutual_triton: TritonServer, our_tls: TlsOptions) -> None:
        url = f"grpcs://{mutual_triton.grpc_url}"
        credentials = Credentials(parse_address(url), ConnectionOptions(tls=our_tls))
        finding, found = look(Endpoint("127.0.0.1", mutual_triton.options.grpc_port), credentials.context)
        assert finding is Finding.nothing
        assert found is not None
        assert (found.subject, found.days_left(), found.protocol) == ("triton", 90, "TLSv1.3")
        assert "trustme" in found.issuer


def test_a_server_that_wants_no_certificate(
    fast_triton: Callable[..., TritonServer], certificates: Certificates
) -> None:
    with fast_triton(ServerTls(*certificates.issue("triton", "triton.example"))) as server:
        tls = TlsOptions(ca_cert=certificates.ca)
        with pytest.raises(InsecureServer, match="is for another name"):
            predict(server.grpc_url, tls)
        assert predict(server.grpc_url, dataclasses.replace(tls, server_name="triton.example")) == [0.9, 0.9]


def test_an_expired_certificate(fakes: Fakes, certificates: Certificates) -> None:
    _, url = fakes(certificates.server("127.0.0.1", days=-2))
    with pytest.raises(InsecureServer, match="has expired, or this machine's clock is wrong"):
        predict(url, TlsOptions(ca_cert=certificates.ca))


def test_a_server_without_tls(fakes: Fakes, certificates: Certificates) -> None:
    _, url = fakes()
    with pytest.raises(InsecureServer, match="does not speak TLS"):
        predict(url, TlsOptions(ca_cert=certificates.ca))
    with pytest.raises(InsecureServer, match="does not speak TLS"):
        predict(f"grpcs://{url}", None)


def test_the_http_port_is_not_the_grpc_port(mutual_triton: TritonServer, certificates: Certificates) -> None:
    url = f"127.0.0.1:{mutual_triton.options.http_port}"
    with pytest.raises(ServerUnavailable, match="is it the gRPC port"):
        predict(url, None)
    with pytest.raises(InsecureServer, match="is it the gRPC port"):
        predict(url, TlsOptions(ca_cert=certificates.ca))


def test_an_endpoint_that_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        finding, found = look(Endpoint("127.0.0.1", listener.getsockname()[1]), None, timeout_s=0.05)
    assert (finding, found) == (Finding.silent, None)


def test_a_contradiction_is_named(certificates: Certificates) -> None:
    with pytest.raises(InvalidOption, match="grpc:// says no TLS"):
        predict("grpc://127.0.0.1:9", TlsOptions(ca_cert=certificates.ca))


def test_every_finding_has_an_answer() -> None:
    answered = {*failures._OUT_OF_REACH, *failures._INSECURE, *failures._DENIED}
    assert answered == set(Finding) - {Finding.nothing}
    for words in (*failures._OUT_OF_REACH.values(), *failures._INSECURE.values(), *failures._DENIED.values()):
        assert words.format(server="host:1", timeout=5)


def test_a_certificate_of_the_future(fakes: Fakes, certificates: Certificates) -> None:
    _, url = fakes(certificates.server("127.0.0.1", from_days=2))
    with pytest.raises(InsecureServer, match="is not valid yet: check this machine's clock"):
        predict(url, TlsOptions(ca_cert=certificates.ca))


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe"])
@pytest.mark.parametrize("part", ["ca_cert", "client_cert", "client_key"])
def test_files_that_cannot_be_used(our_tls: TlsOptions, tmp_path: Path, part: str, content: bytes) -> None:
    path = tmp_path / "broken.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    changes: dict[str, Any] = {part: path}
    with pytest.raises(InvalidOption, match=r"broken\.pem"):
        predict("127.0.0.1:9", dataclasses.replace(our_tls, **changes))


@pytest.mark.parametrize("part", ["ca_cert", "client_cert", "client_key"])
def test_files_that_are_not_there(our_tls: TlsOptions, tmp_path: Path, part: str) -> None:
    for path in (tmp_path / "absent.pem", tmp_path):
        changes: dict[str, Any] = {part: path}
        with pytest.raises(InvalidOption, match="cannot be read"):
            predict("127.0.0.1:9", dataclasses.replace(our_tls, **changes))


def test_a_key_of_another_certificate(our_tls: TlsOptions, certificates: Certificates) -> None:
    _, key = certificates.issue("other", "other@hospital.example")
    with pytest.raises(InvalidOption, match="are not a certificate and its key"):
        predict("127.0.0.1:9", dataclasses.replace(our_tls, client_key=key))


def test_an_encrypted_key(our_tls: TlsOptions, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    assert our_tls.client_key is not None
    key = serialization.load_pem_private_key(Path(our_tls.client_key).read_bytes(), None)
    path = tmp_path / "encrypted.key"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"sesame"),
        )
    )
    with pytest.raises(InvalidOption, match="encrypted"):
        predict("127.0.0.1:9", dataclasses.replace(our_tls, client_key=path))


def test_a_certificate_without_its_key() -> None:
    with pytest.raises(InvalidOption, match="belong together"):
        TlsOptions(client_cert="client.pem")


def test_a_server_wants_files_it_can_read(fast_triton: Callable[..., TritonServer], tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="cannot be read"):
        fast_triton(ServerTls(tmp_path / "no.pem", tmp_path / "no.key"))
