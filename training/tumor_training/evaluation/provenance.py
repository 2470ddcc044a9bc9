"""What the manifest of a model repository says of its networks: digests, thresholds, training, split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorctl.contract import SEGMENTER
from tumorctl.errors import ModelError
from tumorctl.manifest import MANIFEST_FILE, read_manifest

SECOND = f"{SEGMENTER}.second"
"""Under which the manifest tells how the segmenter of the mirrored look was trained, where it is another one."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the networks of a model repository came to be.

    Attributes:
        version: served version.
        digests: SHA-256 of each network's ONNX file.
        thresholds: ``gate`` and ``mask``.
        temperature: divides the classifier's logits; None where the manifest does not tell.
        offset: added to them then.
        split_sha256: digest of the split whose development patients trained them; None where it does not tell.
        fold: the fold that validated; None where all development patients trained.
        training: options of each network's run.
        parity: how each exported network compares with PyTorch.
        validation: figures on the patients that chose the thresholds.
        mirror: whether the segmenter looks at each slice twice, once mirrored.
        tools: versions of the tools that trained and exported.
    """

    version: str
    digests: Mapping[str, str]
    thresholds: Mapping[str, float]
    temperature: float | None
    offset: float
    split_sha256: str | None
    fold: int | None
    training: Mapping[str, Mapping[str, Any]]
    parity: Mapping[str, Mapping[str, Any]]
    validation: Mapping[str, Any]
    mirror: bool
    tools: Mapping[str, str]


def read_provenance(repository: Path) -> Provenance:
    """Read the manifest of a model repository.

    Raises:
        ModelError: it is missing, or not a manifest.
    """
    manifest = read_manifest(repository)
    content = json.loads((repository / MANIFEST_FILE).read_text("utf-8"))
    try:
        split = content.get("split") or {}
        fold, temperature = split.get("fold"), content.get("temperature")
        return Provenance(
            version=manifest.version,
            digests=dict(manifest.digests),
            thresholds={"gate": manifest.gate_threshold, "mask": manifest.mask_threshold},
            temperature=None if temperature is None else float(temperature),
            offset=float(content.get("offset", 0.0)),
            split_sha256=split.get("sha256"),
            fold=None if fold is None else int(fold),
            training=dict(content.get("training") or {}),
            parity={name: dict(model.get("parity") or {}) for name, model in content["models"].items()},
            validation=dict((content.get("metrics") or {}).get("validation") or {}),
            mirror=bool(content.get("mirror", False)),
            tools=dict(content.get("tools") or {}),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{repository / MANIFEST_FILE} is not a manifest ({type(error).__name__})") from error
