"""What the schema and the templates refuse, and what README.md says of every value."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

GPU = {"name": "l4", "computeCapability": "8.9"}
MUTUAL = {"mode": "mutual", "secretName": "grpc"}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("an unknown value", {"replicaCount": 2}, "replicaCount"),
    ("an unknown value further down", {"server": {"resources": {"gpu": 1}}}, "gpu"),
    ("an unknown value in a list", {"gpuClasses": [{**GPU, "productName": "L4"}]}, "productName"),
    ("a number as a word", {"replicas": "two"}, "replicas"),
    ("another runtime", {"runtime": "openvino"}, "runtime"),
    ("TensorRT without a GPU", {"runtime": "tensorrt"}, "gpuClasses"),
    ("an engine for no compute capability", {"runtime": "tensorrt", "gpuClasses": [{"name": "l4"}]}, "computeCap"),
    ("two classes of one name", {"gpuClasses": [GPU, GPU]}, "l4 is there twice"),
    ("a name that Kubernetes would refuse", {"gpuClasses": [{"name": "L4_big"}]}, "pattern"),
    ("TLS without a certificate", {"tls": {"mode": "server"}}, "/tls/secretName"),
    ("HTTP beside TLS", {"tls": {"mode": "server", "secretName": "grpc"}, "service": {"http": True}}, "no TLS"),
    ("a test without a certificate", {"tls": MUTUAL}, "tests.clientTlsSecret"),
    (
        "a gateway before mutual TLS",
        {"tls": MUTUAL, "tests": {"enabled": False}, "gateway": {"enabled": True, "parentRefs": [{"name": "edge"}]}},
        "gateway.enabled with tls.mode mutual",
    ),
    ("a route to nowhere", {"gateway": {"enabled": True}}, "/gateway/parentRefs"),
    (
        "a drain that outlasts the grace period",
        {"server": {"preStopSeconds": 40, "exitTimeoutSeconds": 30}},
        "must be less than server.terminationGracePeriodSeconds",
    ),
    ("a grace period as short as the drain", {"server": {"terminationGracePeriodSeconds": 45}}, "must be less"),
    ("an update that replaces nothing", {"strategy": {"maxSurge": 0, "maxUnavailable": 0}}, "cannot both be 0"),
    ("a claim without a name", {"models": {"source": "pvc"}}, "/models/pvc/claimName"),
    ("an image without a name", {"models": {"source": "oci"}}, "/models/oci/reference"),
    ("S3 without a bucket", {"models": {"source": "s3"}}, "/models/s3/bucket"),
    ("GCS without a bucket", {"models": {"source": "gcs"}}, "/models/gcs/bucket"),
    ("a path that leaves its volume", {"models": {"source": "pvc", "pvc": {"path": "/etc"}}}, "/models/pvc"),
    ("half a digest", {"images": {"server": {"digest": "sha256:abc"}}}, "digest"),
    ("two autoscalers", {"autoscaling": {"mode": "hpa and keda"}}, "mode"),
    ("KEDA without Prometheus", {"autoscaling": {"mode": "keda"}}, "prometheusAddress"),
    ("fewer at most than at least", {"autoscaling": {"mode": "hpa", "minReplicas": 5}}, "more than"),
    (
        "the same in a class",
        {"autoscaling": {"mode": "hpa"}, "gpuClasses": [{**GPU, "minReplicas": 9}]},
        "gpuClasses l4: minReplicas is more than maxReplicas",
    ),
    ("traces to nowhere", {"tracing": {"enabled": True}}, "/tracing/endpoint"),
    ("a root user", {"security": {"runAsUser": 0}}, "runAsUser"),
    ("nobody's identity", {"serviceAccount": {"create": False}}, "/serviceAccount/name"),
    ("an argument that is none", {"server": {"extraArgs": ["rm -rf"]}}, "extraArgs"),
]


@pytest.mark.parametrize(("values", "reason"), [pytest.param(v, r, id=i) for i, v, r in REFUSED])
def test_it_refuses(values: dict[str, Any], reason: str, refusal: Callable[..., str]) -> None:
    assert reason in refusal(values)


def test_it_refuses_image_volumes_where_kubernetes_has_none(refusal: Callable[..., str]) -> None:
    values = {"models": {"source": "oci", "oci": {"reference": "registry.example/models@sha256:1"}}}
    assert "from 1.31 on; this is v1.30.0" in refusal(values, kubernetes="1.30.0")


def test_it_refuses_an_old_kubernetes(refusal: Callable[..., str]) -> None:
    assert "incompatible with Kubernetes" in refusal({}, kubernetes="1.26.0")


def schema_of(chart: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((chart / "values.schema.json").read_text("utf-8"))
    return schema


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for key, value in schema.items():
            if key != "allOf":  # conditions, which repeat parts of what is described elsewhere
                yield from objects_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects_in(value)


def test_the_schema_knows_no_other_keys_anywhere(chart: Path) -> None:
    schema = schema_of(chart)
    jsonschema.Draft7Validator.check_schema(schema)
    found = list(objects_in(schema))
    assert len(found) > 40
    for part in found:
        if part is not schema["properties"]["global"]:
            assert part["additionalProperties"] in (False, {"type": "string"}), part


def test_the_defaults_and_the_schema_have_the_same_keys(chart: Path) -> None:
    schema = schema_of(chart)

    def compare(values: Any, part: dict[str, Any], path: str) -> None:
        for reference in part.get("allOf", []):
            if "$ref" in reference:
                part = part | schema["definitions"][reference["$ref"].rpartition("/")[2]]
        if "properties" in part:
            assert set(values) == set(part["properties"]) - {"global"}, path
            for key, value in values.items():
                compare(value, part["properties"][key], f"{path}.{key}")

    compare(yaml.safe_load((chart / "values.yaml").read_text("utf-8")), schema, "")


def test_the_readme_lists_the_values_as_they_are(chart: Path) -> None:
    done = subprocess.run(
        [sys.executable, chart.parent / "values_table.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
