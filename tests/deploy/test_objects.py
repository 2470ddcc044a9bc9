"""Every object of every profile, against the schemas of Kubernetes and of the custom resources, strictly."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils as validation

from tumorctl import __version__

DEFINITIONS = Path(sys.executable).parents[1] / "share" / "crds"
VERSIONS = [f"1.{minor}" for minor in range(27, int(kubernetes_validate.latest_version().split(".")[1]) + 1)]
PROFILES = ["airgapped", "autoscaled", "mig", "minimal-cpu", "single-gpu"]
CUSTOM = ["grpcroutes", "podmonitors", "prometheusrules", "scaledobjects", "servicemonitors"]
IMAGE_VOLUMES_FROM = 31
EVERYTHING = {
    "runtime": "tensorrt",
    "gpuClasses": [{"name": "t4", "computeCapability": "7.5", "nodeSelector": {"pool": "gpu"}, "replicas": 2}],
    "monitoring": {"force": True, "scraper": "serviceMonitor", "labels": {"release": "prometheus"}},
    "autoscaling": {"mode": "hpa"},
    "models": {"source": "gcs", "gcs": {"bucket": "models", "path": "v1", "credentialsSecret": "gcs"}},
    "gateway": {
        "enabled": True,
        "parentRefs": [{"name": "edge", "namespace": "gateways", "sectionName": "grpc"}],
        "hostnames": ["tumorctl.clinic.example"],
    },
    "networkPolicy": {"storage": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]},
    "serviceAccount": {"annotations": {"iam": "models"}},
    "service": {"type": "LoadBalancer", "annotations": {"internal": "true"}, "http": True},
    "server": {"resources": {"cpuLimit": "4"}, "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}},
    "scheduling": {"priorityClassName": "high", "runtimeClassName": "nvidia"},
    "imagePullSecrets": [{"name": "registry"}],
    "commonLabels": {"team": "radiology"},
}
"""What the profiles leave out."""


def is_custom(item: dict[str, Any]) -> bool:
    group = item["apiVersion"].partition("/")[0]
    return ("." in group and not group.endswith("k8s.io")) or group.startswith("gateway")


def test_the_profiles_are_the_ones_tested(profiles: dict[str, Path]) -> None:
    assert list(profiles) == PROFILES


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "schema_contents", functools.lru_cache(8)(validation.schema_contents))
        yield


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_kubernetes(
    version: str, profiles: dict[str, Path], render: Callable[..., list[dict[str, Any]]]
) -> None:
    renders: list[tuple[Path, ...]] = [()]
    if version in (VERSIONS[0], VERSIONS[-1]):
        renders += [(path,) for path in profiles.values()]
    elif int(version.split(".")[1]) >= IMAGE_VOLUMES_FROM:
        renders += [(profiles["airgapped"],)]
    checked: set[str] = set()
    for files in renders:
        if files == (profiles["airgapped"],) and int(version.split(".")[1]) < IMAGE_VOLUMES_FROM:
            continue
        values = {"monitoring": {"force": True}} if files else EVERYTHING
        for item in render(values, files=files, kubernetes=f"{version}.0"):
            if not is_custom(item):
                kubernetes_validate.validate(item, version, strict=True)
                checked.add(item["kind"])
    assert {"Deployment", "HorizontalPodAutoscaler", "Job", "NetworkPolicy", "PodDisruptionBudget", "Pod"} < checked


def test_the_schemas_know_no_other_fields(render: Callable[..., list[dict[str, Any]]]) -> None:
    item = next(item for item in render() if item["kind"] == "Service")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item | {"spec": item["spec"] | {"unheardOf": 1}}, VERSIONS[-1], strict=True)


def strict(schema: Any) -> Any:
    """A custom resource's schema as JSON Schema that knows no fields but its own."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if str(schema.get("pattern", "")).startswith("^(?i)"):  # Go takes the flag anywhere, Python at the start
        made["pattern"] = "(?i)^" + schema["pattern"][len("^(?i)") :]
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def custom() -> dict[tuple[str, str], Any]:
    """Strict schemas of custom resources by API version and kind."""
    files = [file for file in sorted(DEFINITIONS.rglob("*.yaml")) if file.stem.split("_")[-1] in CUSTOM]
    if len(files) < len(CUSTOM):
        pytest.skip(f"no definitions at {DEFINITIONS}: `make test` runs tests/deploy/install_tools.sh, which says why")
    schemas = {}
    for file in files:
        for definition in yaml.load_all(file.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if definition and definition["kind"] == "CustomResourceDefinition":
                spec = definition["spec"]
                for version in spec["versions"]:
                    schema = strict(version["schema"]["openAPIV3Schema"])
                    schema["properties"] |= {"metadata": {"type": "object"}}
                    schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return schemas


def test_custom_objects_fit_their_definitions(
    custom: dict[tuple[str, str], Any], profiles: dict[str, Path], render: Callable[..., list[dict[str, Any]]]
) -> None:
    kinds = set()
    for values, files in [({"monitoring": {"force": True}}, (profiles["autoscaled"],)), (EVERYTHING, ())]:
        for item in filter(is_custom, render(values, files=files)):
            schema = custom[item["apiVersion"], item["kind"]]
            jsonschema.validate(item, schema, jsonschema.Draft7Validator)
            kinds.add(item["kind"])
            with pytest.raises(jsonschema.ValidationError, match="unheard"):
                jsonschema.validate(item | {"spec": item["spec"] | {"unheardOf": 1}}, schema)
    assert kinds == {"ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule", "GRPCRoute"}


@pytest.mark.parametrize("profile", PROFILES)
def test_helm_lint_is_content(profile: str, chart: Path, profiles: dict[str, Path], tool: Callable[[str], str]) -> None:
    done = subprocess.run(
        [tool("helm"), "lint", "--strict", chart, "--values", profiles[profile]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_are_the_releases_own_and_unique(
    profiles: dict[str, Path], render: Callable[..., list[dict[str, Any]]]
) -> None:
    for files in [(path,) for path in profiles.values()]:
        names: dict[str, set[tuple[str, str]]] = {}
        for release in ("one", "two"):
            objects = render({"monitoring": {"force": True}}, files=files, release=release)
            found = [(item["kind"], item["metadata"]["name"]) for item in objects]
            assert len(found) == len(set(found))
            assert {item["metadata"]["namespace"] for item in objects} == {"clinic"}
            names[release] = set(found)
        assert not names["one"] & names["two"]


def test_rendering_twice_gives_the_same(
    profiles: dict[str, Path], helm_template: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    files = (profiles["autoscaled"],)  # an existing Secret: nothing is random
    assert helm_template(files=files).stdout == helm_template(files=files).stdout


def test_the_charts_version_is_tumorctls(chart: Path) -> None:
    assert yaml.safe_load((chart / "Chart.yaml").read_text())["appVersion"] == __version__


def pods(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Names and specs of everything that runs."""
    found = []
    for item in objects:
        if item["kind"] in ("Deployment", "Job"):
            found.append((item["metadata"]["name"], item["spec"]["template"]["spec"]))
        elif item["kind"] == "Pod":
            found.append((item["metadata"]["name"], item["spec"]))
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_every_pod_is_hardened(
    profile: str, profiles: dict[str, Path], render: Callable[..., list[dict[str, Any]]]
) -> None:
    objects = render(files=(profiles[profile],))
    for name, spec in pods(objects):
        assert spec["automountServiceAccountToken"] is False, name
        security = spec["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["runAsUser"] == security["fsGroup"] == 1000, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"], container["name"]
            assert own["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert own["allowPrivilegeEscalation"] is False, container["name"]
            assert "memory" in container["resources"]["limits"], container["name"]
            assert "cpu" in container["resources"]["requests"], container["name"]
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert mounts <= {volume["name"] for volume in spec["volumes"]}, container["name"]
        for volume in spec["volumes"]:
            assert "hostPath" not in volume, name
    used = {volume["persistentVolumeClaim"]["claimName"] for _, spec in pods(objects) for volume in spec["volumes"]
            if "persistentVolumeClaim" in volume}  # fmt: skip
    made = {item["metadata"]["name"] for item in objects if item["kind"] == "PersistentVolumeClaim"}
    assert made <= used <= made | {"tumorctl-models"}


REASONED_SKIPS = {
    "CKV_K8S_8": "only the test pod has no liveness probe: it ends by itself, with a deadline",
    "CKV_K8S_9": "only the test pod has no readiness probe: nothing is sent to it",
    "CKV_K8S_11": "a CPU limit throttles bursts of inference; server.resources.cpuLimit sets one where a cluster asks",
    "CKV_K8S_15": "IfNotPresent: versions are not re-tagged, and an air-gapped node has no registry to ask",
    "CKV_K8S_35": "Triton takes the administrative key as an argument alone, so it goes through the environment",
    "CKV_K8S_40": "Triton's image is made for the user 1000",
    "CKV_K8S_43": "digests belong to an operator's registry; images.*.digest pins them, as the air-gapped profile does",
}


def test_checkov_finds_nothing_unexplained(
    profiles: dict[str, Path],
    helm_template: Callable[..., subprocess.CompletedProcess[str]],
    tool: Callable[[str], str],
    tmp_path: Path,
) -> None:
    for name, path in profiles.items():
        (tmp_path / f"{name}.yaml").write_text(helm_template(files=(path,)).stdout)
    command: list[str | Path] = [
        tool("checkov"),
        "--directory",
        tmp_path,
        "--framework",
        "kubernetes",
        "--skip-download",
        "--compact",
    ]
    done = subprocess.run(
        [*command, "--skip-download", "--compact", "--quiet", "--skip-check", ",".join(REASONED_SKIPS)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Passed checks:" in done.stdout
    assert "Passed checks: 0," not in done.stdout
