"""The key of Triton's administrative calls: made once, kept by upgrades, or an operator's own."""

from __future__ import annotations

import base64
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

RESOURCES = {
    "v1": {
        "secrets": "Secret",
        "configmaps": "ConfigMap",
        "services": "Service",
        "serviceaccounts": "ServiceAccount",
        "pods": "Pod",
    },
    "apps/v1": {"deployments": "Deployment"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
}


class KubernetesApi:
    """As much of a Kubernetes API as ``helm template --dry-run=server`` asks for."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {}
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = api.answer(self.path.partition("?")[0])
                body = json.dumps(answer or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
                self.send_response(200 if answer else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *ignored: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, path: str) -> dict[str, Any] | None:
        groups = [name.split("/") for name in RESOURCES if "/" in name]
        fixed: dict[str, dict[str, Any]] = {
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {
                "kind": "APIGroupList",
                "groups": [
                    {"name": group, "versions": [{"groupVersion": f"{group}/{version}", "version": version}]}
                    for group, version in groups
                ],
            },
        }
        for version, resources in RESOURCES.items():
            fixed[f"/{'apis' if '/' in version else 'api'}/{version}"] = {
                "kind": "APIResourceList",
                "groupVersion": version,
                "resources": [
                    {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
                    for name, kind in resources.items()
                ],
            }
        for name, data in self.secrets.items():
            owner = {"meta.helm.sh/release-name": "rel", "meta.helm.sh/release-namespace": "clinic"}
            labels = {"app.kubernetes.io/managed-by": "Helm"}
            metadata = {"name": name, "namespace": "clinic", "labels": labels, "annotations": owner}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
            fixed[f"/api/v1/namespaces/clinic/secrets/{name}"] = secret
        return fixed.get(path)


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    made = KubernetesApi()
    yield made
    made.close()


@pytest.fixture
def rendered_key(api: KubernetesApi, chart: Path, tool: Callable[[str], str], tmp_path: Path) -> Callable[[], str]:
    """The key that an upgrade against the API would write."""

    def render() -> str:
        command: list[str | Path] = [
            tool("helm"),
            "template",
            "rel",
            chart,
            "--namespace",
            "clinic",
            "--dry-run=server",
        ]
        done = subprocess.run(
            [*command, "--disable-openapi-validation", "--kube-apiserver", api.url],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": os.devnull},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        secrets = [item for item in yaml.safe_load_all(done.stdout) if item and item["kind"] == "Secret"]
        assert [item["metadata"]["name"] for item in secrets] == ["rel-tumorctl-admin"]
        return base64.b64decode(secrets[0]["data"]["admin-key"]).decode()

    return render


def test_a_first_installation_makes_a_long_key(rendered_key: Callable[[], str]) -> None:
    first, second = rendered_key(), rendered_key()
    assert len(first) == len(second) == 48
    assert first != second


def test_an_upgrade_keeps_the_key(api: KubernetesApi, rendered_key: Callable[[], str]) -> None:
    first = rendered_key()
    api.secrets["rel-tumorctl-admin"] = {"admin-key": base64.b64encode(first.encode()).decode()}
    assert rendered_key() == first


def test_an_existing_secret_is_used_and_none_is_made(
    render: Callable[..., list[dict[str, Any]]], one: Callable[..., dict[str, Any]]
) -> None:
    objects = render({"adminKey": {"existingSecret": "ours", "secretKey": "triton"}})
    assert "Secret" not in {item["kind"] for item in objects}
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    (variable,) = (item for item in container["env"] if item["name"] == "TUMORCTL_ADMIN_KEY")
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "ours", "key": "triton"}}


def test_the_key_is_nowhere_but_in_the_secret(
    helm_template: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    text = helm_template().stdout
    (secret,) = (item for item in yaml.safe_load_all(text) if item and item["kind"] == "Secret")
    encoded = secret["data"]["admin-key"]
    assert text.count(encoded) == 1
    assert base64.b64decode(encoded).decode() not in text
