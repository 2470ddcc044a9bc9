"""The manifest of a model repository: which files make each version, their digests, the thresholds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tumorctl.contract import CLASSIFIER, NETWORKS, SEGMENTER
from tumorctl.errors import DamagedModel, ModelError

MANIFEST_FILE = "manifest.json"
ONNX_FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model repository holds.

    Attributes:
        repository: its folder.
        version: served version of the networks.
        digests: SHA-256 of each network's ONNX file.
        gate_threshold: probability from which a slice is segmented.
        mask_threshold: probability from which a pixel is tumour.
        int8_ranges: of each network, the least and greatest value of each tensor that a convolution reads; empty where
            the export did not measure them.
    """

    repository: Path
    version: str
    digests: Mapping[str, str]
    gate_threshold: float
    mask_threshold: float
    int8_ranges: Mapping[str, Mapping[str, tuple[float, float]]]

    def onnx_path(self, network: str) -> Path:
        """The ONNX file of a network."""
        return self.repository / network / self.version / ONNX_FILE

    def verify(self) -> None:
        """Compare every network with its digest.

        Raises:
            DamagedModel: a file is missing or differs.
        """
        for network in NETWORKS:
            path = self.onnx_path(network)
            try:
                digest = sha256_of(path)
            except OSError as error:
                raise DamagedModel(f"{path} cannot be read ({error.strerror}): reinstall tumorctl") from error
            if digest != self.digests[network]:
                raise DamagedModel(
                    f"{path} is damaged: its SHA-256 is {digest[:12]}…, the manifest says "
                    f"{self.digests[network][:12]}…; reinstall tumorctl or export the networks again"
                )


def read_manifest(repository: Path) -> Manifest:
    """Read the manifest of a model repository.

    Raises:
        ModelError: it is missing or not a manifest.
    """
    path = repository / MANIFEST_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        version = str(content["version"])
        return Manifest(
            repository=repository,
            version=version,
            digests={name: str(content["models"][name]["onnx_sha256"]) for name in (CLASSIFIER, SEGMENTER)},
            gate_threshold=float(content["thresholds"]["gate"]),
            mask_threshold=float(content["thresholds"]["mask"]),
            int8_ranges={
                name: {tensor: (float(least), float(most)) for tensor, (least, most) in model["int8_ranges"].items()}
                for name, model in content["models"].items()
                if "int8_ranges" in model
            },
        )
    except OSError as error:
        raise ModelError(f"{repository} is not a model repository: {MANIFEST_FILE}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a manifest ({type(error).__name__})") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
