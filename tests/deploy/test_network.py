"""Who reaches the server, and whom it reaches: services, TLS, network policies, the gateway's route."""

from __future__ import annotations

import pytest

from chart_objects import Objects, One, Render, arguments, kinds, triton


def test_services(plain: Objects, render: Render, one: One) -> None:
    headless = one(plain, "Service", "rel-tumorctl-headless")["spec"]
    assert headless["clusterIP"] == "None"
    assert [port["name"] for port in headless["ports"]] == ["grpc"]
    first = one(plain, "Service", "rel-tumorctl")["spec"]
    assert [port["name"] for port in first["ports"]] == ["grpc", "metrics"]
    opened = render({"service": {"http": True, "type": "NodePort"}})
    first = one(opened, "Service", "rel-tumorctl")["spec"]
    assert [port["name"] for port in first["ports"]] == ["grpc", "http", "metrics"]
    assert first["type"] == "NodePort"
    assert "inference" in arguments(one(plain, "Deployment"))["--http-restricted-api"]
    assert "inference" not in arguments(one(opened, "Deployment"))["--http-restricted-api"]


@pytest.mark.parametrize(("mode", "own"), [("disabled", False), ("server", True), ("mutual", True)])
def test_tls(mode: str, own: bool, render: Render, one: One) -> None:
    objects = render({"tls": {"mode": mode, "secretName": "grpc"}, "tests": {"clientTlsSecret": "client"}})
    item = one(objects, "Deployment")
    given = arguments(item)
    assert (given.get("--grpc-use-ssl") == "true") is own
    assert (given.get("--grpc-use-ssl-mutual") == "true") is (mode == "mutual")
    assert ("/tls" in {mount["mountPath"] for mount in triton(item)["volumeMounts"]}) is own
    environment = {entry["name"]: entry["value"] for entry in one(objects, "Pod")["spec"]["containers"][0]["env"]}
    assert environment["TUMORCTL_URL"] == ("grpcs://" if own else "") + "rel-tumorctl.clinic.svc:8001"
    assert ("TUMORCTL_CA_CERT" in environment) is own
    assert ("TUMORCTL_CLIENT_KEY" in environment) is (mode == "mutual")


def test_network_policies(plain: Objects, render: Render, one: One) -> None:
    deny = one(plain, "NetworkPolicy", "rel-tumorctl-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    for item in plain:
        if item["kind"] in ("Deployment", "Pod"):
            labels = (item["spec"]["template"] if item["kind"] == "Deployment" else item)["metadata"]["labels"]
            assert deny["podSelector"]["matchLabels"].items() <= labels.items()
    clients, monitoring = one(plain, "NetworkPolicy", "rel-tumorctl-server")["spec"]["ingress"]
    assert [port["port"] for port in clients["ports"]] == ["grpc"]
    assert [port["port"] for port in monitoring["ports"]] == ["metrics"]
    assert "NetworkPolicy" not in kinds(render({"networkPolicy": {"enabled": False}}))
    quiet = render({"tests": {"enabled": False}})
    names = {item["metadata"]["name"] for item in quiet if item["kind"] == "NetworkPolicy"}
    assert names == {"rel-tumorctl-deny", "rel-tumorctl-server"}


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("http://otel:4318/v1/traces", 4318), ("https://otel.example/v1/traces", 443), ("http://otel/v1/traces", 80)],
)
def test_traces_may_leave(endpoint: str, port: int, render: Render, one: One) -> None:
    objects = render({"tracing": {"enabled": True, "endpoint": endpoint}})
    egress = one(objects, "NetworkPolicy", "rel-tumorctl-egress")["spec"]["egress"]
    assert [{"protocol": "TCP", "port": port}] in [rule["ports"] for rule in egress]
    assert f"--trace-config=opentelemetry,url={endpoint}" in triton(one(objects, "Deployment"))["args"]
    assert "--trace-config=rate=100" in triton(one(objects, "Deployment"))["args"]


def test_route(plain: Objects, render: Render, one: One) -> None:
    assert "GRPCRoute" not in kinds(plain)
    gateway = {"enabled": True, "parentRefs": [{"name": "edge"}], "hostnames": ["tumorctl.example"]}
    spec = one(render({"gateway": gateway}), "GRPCRoute")["spec"]
    assert spec["parentRefs"] == [{"name": "edge"}]
    assert spec["hostnames"] == ["tumorctl.example"]
