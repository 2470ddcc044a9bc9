"""Where the models come from, and that they are verified."""

from __future__ import annotations

from typing import Any

import pytest

from chart_objects import One, Render, pod, triton

SOURCES: dict[str, tuple[dict[str, Any], str, dict[str, Any] | None]] = {
    "image": ({}, "/opt/tumorctl/model_repository", None),
    "pvc": (
        {"claimName": "models", "path": "v1/repository"},
        "/source/v1/repository",
        {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
    ),
    "oci": (
        {"reference": "registry.example/models:1"},
        "/source",
        {"image": {"reference": "registry.example/models:1", "pullPolicy": "IfNotPresent"}},
    ),
    "s3": ({"bucket": "b", "path": "p", "region": "r"}, "/source", {"emptyDir": {"sizeLimit": "2048Mi"}}),
    "gcs": ({"bucket": "b", "path": "p"}, "/source", {"emptyDir": {"sizeLimit": "2048Mi"}}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_model_sources(source: str, render: Render, one: One) -> None:
    options, folder, volume = SOURCES[source]
    models = {"source": source} | ({source: options} if options else {})
    item = one(render({"models": models}), "Deployment")
    *fetch, prepare = pod(item)["initContainers"]
    assert f"--source={folder}" in prepare["args"]
    found = [{k: v for k, v in entry.items() if k != "name"} for entry in pod(item)["volumes"]
             if entry["name"] == "source"]  # fmt: skip
    assert found == ([volume] if volume else [])
    (mount,) = (mount for mount in triton(item)["volumeMounts"] if mount["mountPath"] == "/models")
    assert mount["readOnly"] is True
    assert bool(fetch) is (source in ("s3", "gcs"))
    if fetch:
        assert fetch[0]["image"] == "rclone/rclone:1.76.0"
        assert fetch[0]["args"][:3] == ["copy", "source:b/p", "/source"]


def test_credentials_of_a_bucket_come_from_a_secret(render: Render, one: One) -> None:
    models = {"source": "s3", "s3": {"bucket": "b", "credentialsSecret": "keys", "endpoint": "https://minio.example"}}
    fetch, _ = pod(one(render({"models": models}), "Deployment"))["initContainers"]
    environment = {entry["name"]: entry for entry in fetch["env"]}
    assert environment["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "keys"
    assert environment["RCLONE_CONFIG_SOURCE_ENDPOINT"]["value"] == "https://minio.example"


def test_every_file_is_verified_where_a_digest_is_given(server: dict[str, Any], render: Render, one: One) -> None:
    def prepare(item: dict[str, Any]) -> list[str]:
        found: list[str] = pod(item)["initContainers"][-1]["args"]
        return found

    assert not any("sha256sums" in argument for argument in prepare(server))
    given = one(render({"models": {"sha256sumsDigest": "b" * 64}}), "Deployment")
    assert f"--sha256sums-digest={'b' * 64}" in prepare(given)
