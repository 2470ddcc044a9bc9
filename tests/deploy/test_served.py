"""The chart's arguments on a real Triton: TLS, the administrative key, traces, metrics."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
import yaml
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from tumorctl.config import bundled_repository
from tumorctl.manifest import read_manifest
from tumorctl.serving import triton as serving
from tumorctl.serving.triton import TritonServer

SAMPLES = Path(__file__).parents[2] / "samples"
PARENT_ID = "b7ad6b7169203331"
GPU_METRICS = {
    "nv_gpu_utilization",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_usage",
}
"""Metrics that Triton documents for GPUs, which the embedded server here cannot show."""


class Certificates:
    """An authority, the server's files as the chart's Secret holds them, and a client's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = trustme.CA()
        server = authority.issue_cert("localhost", "127.0.0.1")
        client = authority.issue_cert("client@clinic.example")
        stranger = trustme.CA().issue_cert("stranger@elsewhere.example")
        authority.cert_pem.write_to_path(folder / "ca.crt")
        server.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        server.private_key_pem.write_to_path(folder / "tls.key")
        for name, own in (("client", client), ("stranger", stranger)):
            own.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
            own.private_key_pem.write_to_path(folder / f"{name}.key")

    def client(self, url: str, own: str | None = "client") -> triton_grpc.InferenceServerClient:
        """A client that trusts the authority, with a certificate of its own or with none."""
        files = {"private_key": f"{own}.key", "certificate_chain": f"{own}.crt"} if own else {}
        paths = {name: str(self.folder / file) for name, file in files.items()}
        return triton_grpc.InferenceServerClient(url, ssl=True, root_certificates=str(self.folder / "ca.crt"), **paths)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


class Collector:
    """Takes OTLP/HTTP traces, as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.services: set[str] = set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for resource in content["resourceSpans"]:
                    attributes = {item["key"]: item["value"] for item in resource["resource"]["attributes"]}
                    collector.services.add(attributes["service.name"]["stringValue"])
                    for scope in resource["scopeSpans"]:
                        collector.spans.extend(scope["spans"])
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *ignored: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"

    def traces(self, name: str, count: int) -> dict[str, list[dict[str, Any]]]:
        """Complete traces, once so many spans of that name are there, which is the one that ends last."""
        deadline = time.monotonic() + 60
        while (there := sum(span["name"] == name for span in list(self.spans))) < count:
            assert time.monotonic() < deadline, f"{there} of {count} spans {name} came"
            time.sleep(0.1)
        found: dict[str, list[dict[str, Any]]] = {}
        for span in list(self.spans):
            found.setdefault(span["traceId"], []).append(span)
        return {trace: spans for trace, spans in found.items() if name in {span["name"] for span in spans}}

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def mutual(
    chart_server: type[Any],
    render: Callable[..., list[dict[str, Any]]],
    options_for: Callable[..., serving.ServeOptions],
    certificates: Certificates,
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """Mutual TLS and every request traced, as the chart has it; the shipped networks."""
    values = {
        "tls": {"mode": "mutual", "secretName": "grpc"},
        "tests": {"enabled": False},
        "tracing": {"enabled": True, "endpoint": collector.url, "oneIn": 1},
    }
    options = options_for(tmp_path_factory.mktemp("mutual"))
    with chart_server(options, render(values), certificates.folder) as server:
        yield server


def infer(client: triton_grpc.InferenceServerClient, images: np.ndarray[Any, Any], **options: Any) -> Any:
    tensor = triton_grpc.InferInput("IMAGE", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    return client.infer("tumor_detection", [tensor], client_timeout=60, **options)


def test_mutual_tls_serves_a_client_with_a_certificate(
    mutual: TritonServer, certificates: Certificates, phantoms: np.ndarray[Any, Any]
) -> None:
    with certificates.client(mutual.grpc_url) as client:
        answer = infer(client, phantoms)
    assert answer.as_numpy("MASK").any(axis=(1, 2)).tolist() == [False, False, True, True, True, True, False]
    passed = answer.as_numpy("TUMOR_PROBABILITY") >= np.float32(read_manifest(bundled_repository()).gate_threshold)
    assert answer.as_numpy("SEGMENTED").tolist() == passed.tolist()


def test_a_trace_goes_from_the_client_through_ensemble_and_gate_to_the_segmenter(
    mutual: TritonServer, certificates: Certificates, collector: Collector, phantoms: np.ndarray[Any, Any]
) -> None:
    # Triton 24.10 now and then overlooks a traceparent that came over gRPC and begins a trace of its own.
    collector.spans.clear()
    sent = [secrets.token_hex(16) for _ in range(6)]
    with certificates.client(mutual.grpc_url) as client:
        for trace in sent:
            infer(client, phantoms[3:4], headers={"traceparent": f"00-{trace}-{PARENT_ID}-01"})
    traces = collector.traces("InferRequest", len(sent))
    continued = [traces[trace] for trace in sent if trace in traces]
    assert continued
    for spans in continued:
        names = {span["spanId"]: span["name"] for span in spans} | {PARENT_ID: "the client's"}
        parents = {span["name"]: names[span["parentSpanId"]] for span in spans if span["name"] != "compute"}
        assert parents == {
            "InferRequest": "the client's",
            "tumor_detection": "InferRequest",
            "tumor_classifier": "tumor_detection",
            "segmentation_gate": "tumor_detection",
            "tumor_segmenter": "segmentation_gate",
        }
    assert collector.services == {"rel-tumorctl"}


def test_helm_test_passes_with_mutual_tls(
    mutual: TritonServer,
    certificates: Certificates,
    chart: Path,
    render: Callable[..., list[dict[str, Any]]],
    one: Callable[..., dict[str, Any]],
) -> None:
    values = {"tls": {"mode": "mutual", "secretName": "grpc"}, "tests": {"clientTlsSecret": "client"}}
    (container,) = one(render(values), "Pod")["spec"]["containers"]
    mounts = {"/server/ca.crt": "ca.crt", "/client/tls.crt": "client.crt", "/client/tls.key": "client.key"}
    rendered = {entry["name"]: entry["value"] for entry in container["env"]}
    assert set(mounts) < set(rendered.values())
    own = {name: str(certificates.folder / mounts[value]) for name, value in rendered.items() if value in mounts}
    url = rendered["TUMORCTL_URL"].replace("rel-tumorctl.clinic.svc:8001", mutual.grpc_url)
    done = subprocess.run(
        [sys.executable, "-B", chart / "files" / "golden_scan.py", SAMPLES],
        env={**os.environ, **own, "TUMORCTL_URL": url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("own", [None, "stranger"])
def test_mutual_tls_refuses_a_client_without_our_certificate(
    mutual: TritonServer, certificates: Certificates, own: str | None
) -> None:
    with (
        certificates.client(mutual.grpc_url, own) as client,
        pytest.raises(InferenceServerException) as refused,
    ):
        client.is_server_live(client_timeout=10)
    assert refused.value.status() == "StatusCode.UNAVAILABLE"


def test_plain_text_is_refused(mutual: TritonServer) -> None:
    with (
        triton_grpc.InferenceServerClient(mutual.grpc_url) as client,
        pytest.raises(InferenceServerException) as refused,
    ):
        client.is_server_live(client_timeout=10)
    assert refused.value.status() == "StatusCode.UNAVAILABLE"


def test_administration_over_grpc_needs_the_key(mutual: Any, certificates: Certificates) -> None:
    def calls(client: triton_grpc.InferenceServerClient) -> list[Callable[..., Any]]:
        return [
            client.get_model_repository_index,
            client.get_system_shared_memory_status,
            client.get_inference_statistics,
            client.get_trace_settings,
            client.get_log_settings,
        ]

    with certificates.client(mutual.grpc_url) as client:
        for call in calls(client):
            for headers in (None, {"triton-grpc-protocol-admin-key": "guess"}):
                with pytest.raises(InferenceServerException, match="restricted"):
                    call(headers=headers, client_timeout=10)
            call(headers={"triton-grpc-protocol-admin-key": mutual.admin_key}, client_timeout=10)


def test_http_answers_health_alone_without_the_key(mutual: Any) -> None:
    def status(method: str, path: str, headers: dict[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", mutual.options.http_port, timeout=10)
        try:
            connection.request(method, path, headers=headers or {})
            return connection.getresponse().status
        finally:
            connection.close()

    assert status("GET", "/v2/health/ready") == http.HTTPStatus.OK
    assert status("GET", "/v2/health/live") == http.HTTPStatus.OK
    for method, path in (
        ("GET", "/v2"),
        ("GET", "/v2/models/tumor_detection"),
        ("GET", "/v2/models/tumor_detection/config"),
        ("POST", "/v2/models/tumor_detection/infer"),
        ("POST", "/v2/repository/index"),
        ("GET", "/v2/models/stats"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/trace/setting"),
        ("GET", "/v2/logging"),
    ):
        assert status(method, path) == http.HTTPStatus.FORBIDDEN, path
    assert status("GET", "/v2", {"admin-key": mutual.admin_key}) == http.HTTPStatus.OK


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:nv|tumor)_[a-z_]+\b", expression))


def test_rules_and_dashboard_use_metrics_that_triton_has(
    mutual: TritonServer, certificates: Certificates, chart: Path, phantoms: np.ndarray[Any, Any]
) -> None:
    with certificates.client(mutual.grpc_url) as client:
        infer(client, phantoms)  # a counter is there once it counts
    connection = http.client.HTTPConnection("127.0.0.1", mutual.options.metrics_port, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    exposed = {re.split(r"[{ ]", line)[0] for line in lines if line and not line.startswith("#")}
    rules = yaml.safe_load((chart / "files" / "rules.yaml").read_text())
    own = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    used = metric_names(" ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"]))
    used |= metric_names((chart / "files" / "dashboard.json").read_text())
    models = {"tumor_detection", "tumor_classifier", "tumor_segmenter"}
    assert used - own - models <= exposed | GPU_METRICS
    assert {"tumor_gate_slices_seen", "tumor_gate_slices_passed", "tumor_gate_slices_skipped"} <= exposed & used
    for metric in ("nv_inference_request_success", "nv_inference_pending_request_count"):
        assert any(line.startswith(metric) and 'model="tumor_segmenter"' in line for line in lines)


def test_server_tls_asks_no_certificate_of_the_client(
    chart_server: type[Any],
    render: Callable[..., list[dict[str, Any]]],
    options_for: Callable[..., serving.ServeOptions],
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"  # the gate alone starts fast
    shutil.copytree(bundled_repository() / "segmentation_gate", models / "segmentation_gate")
    objects = render({"tls": {"mode": "server", "secretName": "grpc"}})
    with chart_server(options_for(tmp_path), objects, certificates.folder, models) as server:
        with certificates.client(server.grpc_url, None) as client:
            assert client.is_server_ready(client_timeout=10)
        channel = grpc.insecure_channel(server.grpc_url)
        with pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=2)
        channel.close()


def test_every_argument_exists_in_the_real_server(
    chart_server: type[Any], render: Callable[..., list[dict[str, Any]]], profiles: dict[str, Path]
) -> None:
    server = serving.find_distribution() / "tritonserver" / "bin" / "tritonserver"
    libraries = [str(serving.find_distribution().parent / "nvidia_pytriton.libs"), str(serving.libpython_folder())]
    done = subprocess.run(
        [server, "--help"],
        env={"LD_LIBRARY_PATH": ":".join(libraries), "PATH": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    known = set(re.findall(r"^  (--[a-z0-9-]+)", done.stdout + done.stderr, re.MULTILINE))
    assert "--model-repository" in known
    deprecated = set(re.findall(r"^  (--[a-z0-9-]+)", (done.stdout + done.stderr).partition("DEPRECATED:")[2], re.M))
    assert deprecated
    used: set[str] = set()
    for profile in profiles.values():
        for item in render(files=(profile,)):
            if item["kind"] == "Deployment":
                arguments = item["spec"]["template"]["spec"]["containers"][0]["args"]
                used |= {argument.partition("=")[0] for argument in arguments}
    assert used <= known - deprecated
    assert {"--grpc-use-ssl-mutual", "--trace-config", "--grpc-max-connection-age"} <= used
