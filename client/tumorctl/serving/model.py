"""One ONNX network inside the embedded Triton server's Python backend."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from tumorctl.contract import IMAGE
from tumorctl.engines.openvino import Network, choose_precision
from tumorctl.manifest import read_manifest
from tumorctl.types import Precision

PRECISION_VARIABLE = "TUMORCTL_PRECISION"


class OnnxModel:
    """Triton's entry: the same arithmetic as the local engine's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the network of this model's version."""
        manifest = read_manifest(Path(args["model_repository"]).parent)
        precision = Precision(os.environ.get(PRECISION_VARIABLE, Precision.auto))
        self.network = Network.of(manifest, args["model_name"], choose_precision(precision))
        self.output = json.loads(args["model_config"])["output"][0]["name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests as one batch."""
        images = [pb_utils.get_input_tensor_by_name(request, IMAGE).as_numpy() for request in requests]
        answers = self.network(np.concatenate(images) if len(images) > 1 else images[0])
        ends = np.cumsum([len(batch) for batch in images])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(self.output, np.ascontiguousarray(part))])
            for part in np.split(answers, ends)
        ]
