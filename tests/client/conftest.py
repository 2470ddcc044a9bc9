"""Servers to test the served engine with: one that fails on purpose, a real one with fast networks; certificates."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from tritonclient.grpc import service_pb2, service_pb2_grpc

from embedded_triton import triton_server
from tumorctl.config import bundled_repository
from tumorctl.engines import triton as engine_module
from tumorctl.serving.triton import ServerTls, TritonServer
from tumorctl.types import TlsOptions

FAST_NETWORK = '''
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Probability 0.9 everywhere for an image that is not black, else 0."""

    def initialize(self, args):
        self.output = json.loads(args["model_config"])["output"][0]

    def execute(self, requests):
        answers = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()
            shape = (len(images), *map(int, self.output["dims"]))
            values = np.full(shape, 0.9 if images.any() else 0.0, np.float32)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor(self.output["name"], values)]))
        return answers
'''


class FailingServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers as the contract says, after failing with the statuses it is given."""

    def __init__(self) -> None:
        self.failures: list[grpc.StatusCode] = []
        self.delay_s = 0.0
        self.ended = threading.Event()
        self.ready = True
        self.calls = 0
        self.request_ids: list[str] = []
        self.parameters: list[dict[str, float]] = []
        self.headers: list[dict[str, str]] = []
        self.mask_side = 256

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ServerMetadataResponse(name="fake", version="0")

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ModelReadyResponse(ready=self.ready)

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name="tumor_detection",
            versions=["1"],
            inputs=[tensor(name="IMAGE", datatype="UINT8", shape=[-1, 256, 256, 3])],
            outputs=[
                tensor(name="TUMOR_PROBABILITY", datatype="FP32", shape=[-1, 1]),
                tensor(name="SEGMENTED", datatype="BOOL", shape=[-1, 1]),
                tensor(name="MASK", datatype="UINT8", shape=[-1, self.mask_side, self.mask_side]),
            ],
        )

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls += 1
        self.request_ids.append(request.id)
        self.parameters.append({name: value.double_param for name, value in request.parameters.items()})
        self.headers.append(dict(context.invocation_metadata()))
        self.ended.wait(self.delay_s)
        if self.failures:
            context.abort(self.failures.pop(0), "on purpose")
        count = request.inputs[0].shape[0]
        answer = service_pb2.ModelInferResponse(model_name="tumor_detection", model_version="1")
        for name, kind, array in (
            ("TUMOR_PROBABILITY", "FP32", np.full((count, 1), 0.25, np.float32)),
            ("SEGMENTED", "BOOL", np.zeros((count, 1), np.bool_)),
            ("MASK", "UINT8", np.zeros((count, 256, 256), np.uint8)),
        ):
            answer.outputs.add(name=name, datatype=kind, shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        return answer


@contextmanager
def listening(
    credentials: grpc.ServerCredentials | None = None,
    interceptors: Sequence[grpc.ServerInterceptor] = (),
    handler: grpc.GenericRpcHandler | None = None,
    address: str = "127.0.0.1:0",
) -> Iterator[tuple[FailingServer, str]]:
    """A gRPC server on the loopback address: the fake, or whatever the handler does."""
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, interceptors=interceptors)
        servicer = FailingServer()
        if handler is None:
            service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
        else:
            server.add_generic_rpc_handlers((handler,))
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        try:
            yield servicer, f"{address.rpartition(':')[0]}:{port}"
        finally:
            servicer.ended.set()
            server.stop(0).wait()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[FailingServer, str]]]:
    """Starts servers, see `listening`; pauses between attempts are short."""
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE_S", 0.01)
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(listening(*args, **options))


@pytest.fixture
def fake(fakes: Callable[..., tuple[FailingServer, str]]) -> tuple[FailingServer, str]:
    """A server that fails on purpose, and its address."""
    return fakes()


class Certificates:
    """An authority and certificates from it, as files in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *identities: str, days: int = 90, from_days: int = -1000) -> tuple[Path, Path]:
        """A certificate with its chain, and its key; it holds between two days, counted from now."""
        now = datetime.now(timezone.utc) + timedelta(hours=1)
        issued = self._authority.issue_cert(
            *identities,
            common_name=name,
            not_before=now + timedelta(days=from_days),
            not_after=now + timedelta(days=days),
        )
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key

    def server(self, *identities: str, **days: int) -> grpc.ServerCredentials:
        """Credentials of a server of ours that asks for no client certificates."""
        certificate, key = self.issue("fake", *identities, **days)
        return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The authority that the tests trust."""
    return Certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority that nobody trusts."""
    return Certificates(tmp_path_factory.mktemp("tls") / "strangers")


@pytest.fixture(scope="session")
def fast_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped ensemble and gate with made-up networks that take no time."""
    repository = tmp_path_factory.mktemp("fast") / "repository"
    shutil.copytree(bundled_repository(), repository)
    for network in ("tumor_classifier", "tumor_segmenter"):
        next((repository / network).glob("*/embedded.py")).write_text(FAST_NETWORK)
    return repository


@pytest.fixture(scope="session")
def fast_triton(tmp_path_factory: pytest.TempPathFactory, fast_repository: Path) -> Callable[..., TritonServer]:
    """Makes a real Triton with fast networks, not started yet."""

    def make(tls: ServerTls | None = None, **changes: Any) -> TritonServer:
        return triton_server(tmp_path_factory.mktemp("triton"), fast_repository, tls=tls, **changes)

    return make


@pytest.fixture(scope="session")
def mutual_triton(fast_triton: Callable[..., TritonServer], certificates: Certificates) -> Iterator[TritonServer]:
    """A real Triton that lets in only clients with certificates of ours."""
    with fast_triton(ServerTls(*certificates.issue("triton", "localhost", "127.0.0.1"), certificates.ca)) as server:
        yield server


@pytest.fixture(scope="session")
def our_tls(certificates: Certificates) -> TlsOptions:
    """What a client needs to get in there."""
    certificate, key = certificates.issue("client", "client@hospital.example")
    return TlsOptions(ca_cert=certificates.ca, client_cert=certificate, client_key=key)
