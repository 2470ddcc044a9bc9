from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from tumor_export.ranges import measure_ranges
from tumorctl.contract import IMAGE


def test_ranges_are_those_of_what_each_convolution_reads(
    graphs: dict[str, Path], images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    for path in graphs.values():
        model = onnx.load(path)
        read = {node.input[0] for node in model.graph.node if node.op_type == "Conv"}
        ranges = measure_ranges(path, images)
        assert set(ranges) == read
        for name in read:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for name, values in zip(sorted(read), session.run(sorted(read), {IMAGE: images}), strict=True):
            np.testing.assert_allclose(ranges[name], (values.min(), values.max()), rtol=1e-4, atol=1e-4)
