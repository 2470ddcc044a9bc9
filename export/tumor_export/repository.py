"""Assembling a model repository: the bundled configurations and code, new networks, thresholds, manifest.

TensorRT engines take their place beside each ``model.onnx`` as ``model_sm90.plan`` (compute capability 9.0), in
``cc_model_filenames`` of the network's ``config.pbtxt`` and under ``engines`` in the manifest.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from tumorctl.contract import (
    GATE,
    GATE_THRESHOLD_PARAMETER,
    MASK_THRESHOLD_PARAMETER,
    NETWORKS,
)
from tumorctl.errors import ModelError
from tumorctl.manifest import MANIFEST_FILE, ONNX_FILE, sha256_of
from tumorctl.outputs.files import write_whole

if TYPE_CHECKING:  # TensorRT's container has no PyTorch, which that module loads
    from tumor_training.calibrate import Scale

EMBEDDED_FILE = "embedded.py"
ENGINE_SUFFIX = ".plan"
TENSORRT_CONFIGURATION = "config.pbtxt"

_ENGINE_NAME = re.compile(r'^cc_model_filenames \{ key: "([\d.]+)" value: "([^"]+)" \}\n', re.MULTILINE)
_PARAMETER = r'(parameters \{{ key: "{name}" value \{{ string_value: )"[^"]*"( \}} \}})'


def copy_skeleton(source: Path, destination: Path) -> None:
    """Copy configurations and code of a model repository, without networks, where they are not there yet."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        made = path.name in (ONNX_FILE, MANIFEST_FILE) or path.suffix in (ENGINE_SUFFIX, ".log")
        wanted = path.is_file() and not made
        if wanted and "__pycache__" not in relative.parts and not (destination / relative).exists():
            (destination / relative).parent.mkdir(parents=True, exist_ok=True)
            text = path.read_bytes()
            if relative.name == TENSORRT_CONFIGURATION:
                # The source's engines are of the source's networks.
                text = _ENGINE_NAME.sub("", text.decode()).encode()
            (destination / relative).write_bytes(text)


def next_version(repository: Path) -> int:
    """The version after the newest of the networks; 1 where there is none."""
    versions = [
        int(folder.name)
        for network in NETWORKS
        for folder in (repository / network).glob("*")
        if folder.name.isdecimal() and (folder / ONNX_FILE).is_file()
    ]
    return max(versions, default=0) + 1


def install_networks(repository: Path, version: int, networks: Mapping[str, Path]) -> None:
    """Move ONNX files into their places under a version, and remove older versions.

    Args:
        repository: with its skeleton.
        version: of both networks.
        networks: an ONNX file for each network.

    Raises:
        ModelError: the skeleton lacks a network's code.
    """
    for name, path in networks.items():
        folder = repository / name / str(version)
        older = [f for f in (repository / name).glob("*") if f.name.isdecimal() and f != folder]
        code = next((f for f in [folder, *older] if (f / EMBEDDED_FILE).is_file()), None)
        if code is None:
            raise ModelError(f"{repository / name} has no {EMBEDDED_FILE}: copy the bundled model repository again")
        folder.mkdir(exist_ok=True)
        if code != folder:
            shutil.copyfile(code / EMBEDDED_FILE, folder / EMBEDDED_FILE)
        for engine in folder.glob(f"*{ENGINE_SUFFIX}"):
            engine.unlink()
        path.replace(folder / ONNX_FILE)
        for past in older:
            shutil.rmtree(past)
    forget_engines(repository)


def write_thresholds(repository: Path, version: int, gate_threshold: float, mask_threshold: float) -> None:
    """Write thresholds, version and digests into all configurations of the gate.

    Raises:
        ModelError: a configuration lacks one of the parameters.
    """
    values = {
        GATE_THRESHOLD_PARAMETER: repr(gate_threshold),
        MASK_THRESHOLD_PARAMETER: repr(mask_threshold),
        "networks_version": str(version),
        **{f"{name}_sha256": sha256_of(repository / name / str(version) / ONNX_FILE) for name in NETWORKS},
    }
    for path in configurations(repository, GATE):
        text = path.read_text("utf-8")
        for name, value in values.items():
            text, count = re.subn(_PARAMETER.format(name=name), rf'\g<1>"{value}"\g<2>', text)
            if count != 1:
                raise ModelError(f"{path} does not have the parameter {name} once")
        text_format.Parse(text, ModelConfig())
        write_whole(path, text.encode())


def write_engine_names(repository: Path, network: str, names: Mapping[str, str]) -> None:
    """Write which engine serves which GPU into a network's TensorRT configuration, beside what is there already.

    Args:
        repository: with its skeleton.
        network: whose configuration.
        names: engine file by compute capability, such as ``9.0``.

    Raises:
        ModelError: the configuration cannot be read.
    """
    path = repository / network / TENSORRT_CONFIGURATION
    text = path.read_text("utf-8")
    every = {**dict(_ENGINE_NAME.findall(text)), **names}
    lines = [
        f'cc_model_filenames {{ key: "{capability}" value: "{every[capability]}" }}\n' for capability in sorted(every)
    ]
    text = _ENGINE_NAME.sub("", text).rstrip("\n") + "\n" + "".join(lines)
    _check_configuration(path, text)
    write_whole(path, text.encode())


def forget_engines(repository: Path) -> None:
    """Take the engines of past networks out of the TensorRT configurations."""
    for network in NETWORKS:
        path = repository / network / TENSORRT_CONFIGURATION
        text = path.read_text("utf-8")
        if _ENGINE_NAME.search(text):
            write_whole(path, _ENGINE_NAME.sub("", text).encode())


def write_engine_manifest(repository: Path, tag: str, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Enter engines into the manifest.

    Args:
        repository: with its manifest.
        tag: of the compute capability, such as ``sm90``.
        entries: what is known of each network's engine.

    Raises:
        ModelError: there is no manifest.
    """
    path = repository / MANIFEST_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        for network, entry in entries.items():
            content["models"][network]["engines"][tag] = dict(entry)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a manifest ({type(error).__name__})") from error
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())


def write_manifest(
    repository: Path,
    version: int,
    *,
    thresholds: Mapping[str, float],
    scale: Scale,
    split: Mapping[str, object],
    metrics: Mapping[str, float],
    parity: Mapping[str, Mapping[str, float]],
    int8_ranges: Mapping[str, Mapping[str, tuple[float, float]]],
    tools: Mapping[str, str],
    training: Mapping[str, object],
    mirror: bool,
) -> None:
    """Write ``manifest.json``, which ties a version to its files and how they came to be."""
    models: dict[str, Any] = {}
    for name in NETWORKS:
        path = repository / name / str(version) / ONNX_FILE
        models[name] = {
            "onnx_sha256": sha256_of(path),
            "onnx_bytes": path.stat().st_size,
            "engines": {},
            "parity": dict(parity[name]),
            "int8_ranges": dict(int8_ranges[name]),
        }
    content = {
        "version": version,
        "models": models,
        "thresholds": dict(thresholds),
        "temperature": scale.temperature,
        "offset": scale.offset,
        "split": dict(split),
        "metrics": {"validation": dict(metrics)},
        "training": dict(training),
        "mirror": mirror,
        "tools": dict(tools),
    }
    write_whole(repository / MANIFEST_FILE, (json.dumps(content, indent=1) + "\n").encode())


def configurations(repository: Path, model: str) -> list[Path]:
    """All configuration files of a model: TensorRT's, and those of the other runtimes."""
    return [repository / model / TENSORRT_CONFIGURATION, *sorted((repository / model / "configs").glob("*.pbtxt"))]


def parse_configuration(path: Path) -> ModelConfig:
    """Read a configuration with Triton's own schema.

    Raises:
        ModelError: it does not parse.
    """
    return _check_configuration(path, path.read_text("utf-8"))


def _check_configuration(path: Path, text: str) -> ModelConfig:
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ModelError(f"{path} is not a model configuration: {error}") from error
