"""Each knob: as it comes, set to something else, and switched off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tumor_export.cli import export

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]
One = Callable[..., dict[str, Any]]

TWO_GPUS: list[dict[str, Any]] = [
    {"name": "h100", "products": ["NVIDIA-H100-PCIe"], "computeCapability": "9.0", "replicas": 3},
    {"name": "mig", "computeCapability": "9.0", "resource": "nvidia.com/mig-1g.10gb", "count": 2},
]
TENSORRT = {"runtime": "tensorrt", "gpuClasses": TWO_GPUS}
MONITORING = ("monitoring.coreos.com/v1", *(f"monitoring.coreos.com/v1/{k}" for k in ("PodMonitor", "PrometheusRule")))


def pod(item: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = item["spec"]["template"]["spec"]
    return spec


def triton(item: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod(item)["containers"]
    found: dict[str, Any] = container
    return found


def arguments(item: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, _, value in (argument.partition("=") for argument in triton(item)["args"])}


def kinds(objects: Objects) -> set[str]:
    return {item["kind"] for item in objects}


@pytest.fixture(scope="module")
def plain(render: Render) -> Objects:
    return render()


@pytest.fixture(scope="module")
def server(plain: Objects, one: One) -> dict[str, Any]:
    return one(plain, "Deployment")


def test_a_digest_wins_over_the_tag(server: dict[str, Any], render: Render, one: One) -> None:
    assert triton(server)["image"] == "tumorctl/server:0.1.0"
    image: dict[str, Any] = {"repository": "registry.example/triton", "tag": "7"}
    assert triton(one(render({"images": {"server": image}}), "Deployment"))["image"] == "registry.example/triton:7"
    image["digest"] = "sha256:" + "a" * 64
    both = triton(one(render({"images": {"server": image}}), "Deployment"))["image"]
    assert both == "registry.example/triton@sha256:" + "a" * 64


def test_triton_is_told_to_be_strict(server: dict[str, Any]) -> None:
    given = arguments(server)
    assert given["--model-control-mode"] == "none"
    assert given["--strict-readiness"] == given["--exit-on-error"] == "true"
    assert "--disable-auto-complete-config" in given
    assert given["--model-config-name"] == "onnxruntime"
    assert given["--allow-gpu-metrics"] == "false"


def test_shared_memory_counts_into_the_memory_limit(server: dict[str, Any], render: Render, one: One) -> None:
    def sizes(item: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        resources = triton(item)["resources"]
        (shm,) = (volume for volume in pod(item)["volumes"] if volume["name"] == "shm")
        return resources["requests"]["memory"], resources["limits"]["memory"], shm["emptyDir"]

    assert sizes(server) == ("5120Mi", "5120Mi", {"medium": "Memory", "sizeLimit": "1024Mi"})
    other = render({"server": {"resources": {"memoryMi": 1000, "sharedMemoryMi": 200}}})
    assert sizes(one(other, "Deployment")) == ("1200Mi", "1200Mi", {"medium": "Memory", "sizeLimit": "200Mi"})
    mounts = {mount["mountPath"] for mount in triton(server)["volumeMounts"]}
    assert {"/dev/shm", "/tmp", "/models"} == mounts


def test_cpu_limit(server: dict[str, Any], render: Render, one: One) -> None:
    assert "cpu" not in triton(server)["resources"]["limits"]
    limited = render({"server": {"resources": {"cpuLimit": "4"}}})
    assert triton(one(limited, "Deployment"))["resources"]["limits"]["cpu"] == "4"


def test_draining_fits_into_the_grace_period(server: dict[str, Any], render: Render, one: One) -> None:
    assert triton(server)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "15"]
    assert arguments(server)["--exit-timeout-secs"] == "30"
    assert pod(server)["terminationGracePeriodSeconds"] == 60
    slow = render({"server": {"preStopSeconds": 5, "exitTimeoutSeconds": 90, "terminationGracePeriodSeconds": 100}})
    assert triton(one(slow, "Deployment"))["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert arguments(one(slow, "Deployment"))["--exit-timeout-secs"] == "90"


def test_probes(server: dict[str, Any], render: Render, one: One) -> None:
    startup = triton(server)["startupProbe"]
    assert startup["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert (startup["failureThreshold"], startup["periodSeconds"]) == (60, 5)
    assert triton(server)["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert triton(server)["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    slow = one(render({"probes": {"startup": {"budgetSeconds": 901, "periodSeconds": 10}}}), "Deployment")
    assert triton(slow)["startupProbe"]["failureThreshold"] == 91
    assert slow["spec"]["progressDeadlineSeconds"] > 901


def test_connections_are_renewed_so_that_new_pods_get_traffic(server: dict[str, Any], render: Render, one: One) -> None:
    assert arguments(server)["--grpc-max-connection-age"] == "300000"
    assert arguments(server)["--grpc-max-connection-age-grace"] == "60000"
    other = one(render({"server": {"maxConnectionAgeSeconds": 30}}), "Deployment")
    assert arguments(other)["--grpc-max-connection-age"] == "30000"


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


def test_a_deployment_for_each_gpu_class(render: Render, one: One) -> None:
    objects = render(TENSORRT)
    h100, mig = one(objects, "Deployment", "rel-tumorctl-h100"), one(objects, "Deployment", "rel-tumorctl-mig")
    assert (h100["spec"]["replicas"], mig["spec"]["replicas"]) == (3, 1)
    assert triton(h100)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert triton(mig)["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 2
    (term,) = pod(h100)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H100-PCIe"]}
    ]
    assert "affinity" not in pod(mig)
    assert h100["spec"]["selector"] != mig["spec"]["selector"]
    assert arguments(h100)["--allow-gpu-metrics"] == "true"
    assert "--model-config-name" not in arguments(h100)


def test_an_engine_job_for_each_gpu_class(render: Render, plain: Objects) -> None:
    assert not {"Job", "PersistentVolumeClaim"} & kinds(plain)
    jobs = {item["metadata"]["labels"]["tumorctl/class"]: item for item in render(TENSORRT) if item["kind"] == "Job"}
    assert set(jobs) == {"h100", "mig"}
    prepare, build = pod(jobs["mig"])["initContainers"]
    command = build["args"][build["args"].index("--") + 1 :]
    assert command == ["tumorctl", "export", "tensorrt", "--repository=/models", "--triton-release=26.07", "--phantoms"]
    assert build["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 2
    assert build["image"] == "tumorctl/engine-builder:0.1.0"
    assert not any(argument.startswith("--engines") for argument in prepare["args"])
    servers = {
        item["metadata"]["labels"]["tumorctl/class"]: item for item in render(TENSORRT) if item["kind"] == "Deployment"
    }
    kept = {"--engines=/engines", "--engine-class=mig", "--built-by=tumorctl/engine-builder:0.1.0 sm 9.0"}
    assert kept < set(triton(jobs["mig"])["args"])
    assert kept < set(pod(servers["mig"])["initContainers"][0]["args"])


def test_the_builders_command_is_one_that_tumorctl_has(render: Render) -> None:
    job = next(item for item in render(TENSORRT) if item["kind"] == "Job")
    build = pod(job)["initContainers"][-1]
    _, group, *command = build["args"][build["args"].index("--") + 1 :]
    assert group == "export"
    done = CliRunner().invoke(export, [command[0], "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    options = {option.partition("=")[0] for option in command if option.startswith("--")}
    assert all(option in done.output for option in options)


def test_a_job_is_made_anew_only_for_another_builder_or_model(render: Render) -> None:
    def names(more: dict[str, Any]) -> set[str]:
        return {item["metadata"]["name"] for item in render(TENSORRT | more) if item["kind"] == "Job"}

    assert names({}) == names({"replicas": 7}) == names({"tls": {"mode": "server", "secretName": "grpc"}})
    assert not names({}) & names({"images": {"engineBuilder": {"tag": "next"}}})
    assert not names({}) & names({"models": {"source": "pvc", "pvc": {"claimName": "models"}}})


def test_what_servers_do_without_engines(render: Render) -> None:
    def waits(values: dict[str, Any]) -> set[str]:
        (item, _) = (item for item in render(TENSORRT | values) if item["kind"] == "Deployment")
        return set(pod(item)["initContainers"][0]["args"])

    assert {"--wait-s=900", "--when-missing=fallback"} < waits({})
    assert {"--wait-s=5", "--when-missing=fail"} < waits({"engines": {"waitSeconds": 5, "whenMissing": "fail"}})


def test_the_only_gpu_builds_its_own_engines(render: Render, one: One) -> None:
    values = {"runtime": "tensorrt", "gpuClasses": TWO_GPUS[:1], "engines": {"buildIn": "pod"}}
    objects = render(values)
    assert "Job" not in kinds(objects)
    item = one(objects, "Deployment")
    steps = {container["name"]: container for container in pod(item)["initContainers"]}
    assert list(steps) == ["models", "build", "publish", "engines"]
    assert steps["build"]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert not any(argument.startswith("--wait-s") for argument in steps["engines"]["args"])
    (volume,) = (volume for volume in pod(item)["volumes"] if volume["name"] == "engines")
    assert "readOnly" not in volume["persistentVolumeClaim"]
    assert item["spec"]["progressDeadlineSeconds"] > 3600


def test_the_engines_volume(render: Render, one: One) -> None:
    claim = one(render(TENSORRT), "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    objects = render({**TENSORRT, "engines": {"volume": {"existingClaim": "ours"}}})
    assert "PersistentVolumeClaim" not in kinds(objects)
    (volume,) = (v for v in pod(one(objects, "Deployment", "rel-tumorctl-mig"))["volumes"] if v["name"] == "engines")
    assert volume["persistentVolumeClaim"] == {"claimName": "ours", "readOnly": True}


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


def test_updates_take_no_extra_gpu(server: dict[str, Any], render: Render, one: One) -> None:
    assert server["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    other = one(render({"strategy": {"maxSurge": "25%", "maxUnavailable": 0}}), "Deployment")
    assert other["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}


def test_scheduling(server: dict[str, Any], render: Render) -> None:
    for key in ("priorityClassName", "runtimeClassName", "nodeSelector", "tolerations", "affinity"):
        assert key not in pod(server)
    (spread,) = pod(server)["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"] == server["spec"]["selector"]["matchLabels"]
    toleration, own = {"key": "gpu", "operator": "Exists"}, {"key": "mig", "operator": "Exists"}
    values = {
        **TENSORRT,
        "gpuClasses": [{**TWO_GPUS[0], "tolerations": [own], "nodeSelector": {"zone": "b"}, "runtimeClassName": "own"}],
        "scheduling": {
            "priorityClassName": "high",
            "runtimeClassName": "nvidia",
            "nodeSelector": {"zone": "a", "pool": "gpu"},
            "tolerations": [toleration],
            "topologySpread": {"enabled": False},
        },
    }
    placed = [item for item in render(values) if item["kind"] in ("Deployment", "Job")]
    assert len(placed) == 2
    for item in placed:
        assert pod(item)["priorityClassName"] == "high"
        assert pod(item)["runtimeClassName"] == "own"
        assert pod(item)["nodeSelector"] == {"zone": "b", "pool": "gpu"}
        assert pod(item)["tolerations"] == [toleration, own]
        assert "topologySpreadConstraints" not in pod(item)


def test_disruption_budget(plain: Objects, render: Render, one: One) -> None:
    assert one(plain, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert one(render({"podDisruptionBudget": {"maxUnavailable": "50%"}}), "PodDisruptionBudget")["spec"][
        "maxUnavailable"
    ] == "50%"  # fmt: skip
    assert "PodDisruptionBudget" not in kinds(render({"podDisruptionBudget": {"enabled": False}}))


def test_autoscaling_leaves_the_replicas_to_the_autoscaler(server: dict[str, Any], render: Render, one: One) -> None:
    assert server["spec"]["replicas"] == 1
    objects = render({"autoscaling": {"mode": "hpa", "maxReplicas": 9}})
    assert "replicas" not in one(objects, "Deployment")["spec"]
    assert "ScaledObject" not in kinds(objects)
    spec = one(objects, "HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 9)
    assert spec["scaleTargetRef"]["name"] == "rel-tumorctl-cpu"
    metrics = {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in spec["metrics"]}
    assert metrics == {"tumorctl_queue_microseconds": "20000", "tumorctl_pending_requests": "8"}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600


def test_keda_scales_each_class_on_its_own_pods(render: Render, one: One) -> None:
    values = {
        **TENSORRT,
        "autoscaling": {
            "mode": "keda",
            "minReplicas": 2,
            "keda": {"prometheusAddress": "https://prometheus.example", "authenticationRef": "prometheus"},
        },
    }
    objects = render(values)
    assert "HorizontalPodAutoscaler" not in kinds(objects)
    spec = one(objects, "ScaledObject", "rel-tumorctl-mig")["spec"]
    assert spec["scaleTargetRef"]["name"] == "rel-tumorctl-mig"
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 4)
    for trigger in spec["triggers"]:
        assert 'namespace="clinic",pod=~"rel-tumorctl-mig-' in trigger["metadata"]["query"]
        assert trigger["authenticationRef"] == {"name": "prometheus"}


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


def test_monitoring_is_there_where_the_cluster_can_take_it(plain: Objects, render: Render, one: One) -> None:
    wanted = {"PodMonitor", "PrometheusRule"}
    assert not wanted & kinds(plain)
    assert "rel-tumorctl-dashboard" not in {item["metadata"]["name"] for item in plain}
    for objects in (render(apis=MONITORING), render({"monitoring": {"force": True}})):
        assert wanted < kinds(objects)
        assert one(objects, "ConfigMap", "rel-tumorctl-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"
    off = {"scraper": "none", "rules": False, "dashboard": False, "force": True}
    objects = render({"monitoring": off})
    assert not wanted & kinds(objects)
    assert "rel-tumorctl-dashboard" not in {item["metadata"]["name"] for item in objects}
    objects = render({"monitoring": {"scraper": "serviceMonitor", "intervalSeconds": 5, "force": True}})
    assert "PodMonitor" not in kinds(objects)
    monitor = one(objects, "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["interval"] == "5s"
    services = [item for item in objects if item["kind"] == "Service"]
    selected = [
        item["metadata"]["name"]
        for item in services
        if monitor["spec"]["selector"]["matchLabels"].items() <= item["metadata"]["labels"].items()
    ]
    assert selected == ["rel-tumorctl"]  # one of the two: every pod is scraped once


def test_route(plain: Objects, render: Render, one: One) -> None:
    assert "GRPCRoute" not in kinds(plain)
    gateway = {"enabled": True, "parentRefs": [{"name": "edge"}], "hostnames": ["tumorctl.example"]}
    spec = one(render({"gateway": gateway}), "GRPCRoute")["spec"]
    assert spec["parentRefs"] == [{"name": "edge"}]
    assert spec["hostnames"] == ["tumorctl.example"]


def test_identity(plain: Objects, render: Render, one: One) -> None:
    assert one(plain, "ServiceAccount")["automountServiceAccountToken"] is False
    objects = render({"serviceAccount": {"create": False, "name": "ours"}})
    assert "ServiceAccount" not in kinds(objects)
    assert pod(one(objects, "Deployment"))["serviceAccountName"] == "ours"


def test_the_test_pod(plain: Objects, render: Render, one: One, chart: Path) -> None:
    item = one(plain, "Pod")
    assert item["metadata"]["annotations"]["helm.sh/hook"] == "test"
    script = one(plain, "ConfigMap", "rel-tumorctl-scripts")["data"]["golden_scan.py"]
    assert script.strip() == (chart / "files" / "golden_scan.py").read_text().strip()
    objects = render({"tests": {"enabled": False}})
    assert "Pod" not in kinds(objects)
    assert set(one(objects, "ConfigMap", "rel-tumorctl-scripts")["data"]) == {"models.py"}


def test_names_and_labels_can_be_changed(render: Render) -> None:
    objects = render({"fullnameOverride": "brain", "nameOverride": "mri", "commonLabels": {"team": "radiology"}})
    for item in objects:
        assert item["metadata"]["name"].startswith("brain")
        assert item["metadata"]["labels"]["app.kubernetes.io/name"] == "mri"
        assert item["metadata"]["labels"]["team"] == "radiology"


def test_extra_arguments_annotations_and_labels(render: Render, one: One) -> None:
    extra = {"extraArgs": ["--log-info=false"], "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}}
    item = one(render({"server": extra}), "Deployment")
    assert triton(item)["args"][-1] == "--log-info=false"
    metadata = item["spec"]["template"]["metadata"]
    assert metadata["annotations"]["a"] == "b"
    assert metadata["labels"]["c"] == "d"
