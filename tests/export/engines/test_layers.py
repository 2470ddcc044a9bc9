from __future__ import annotations

import json
from typing import Any

import pytest

from tumor_export.engines.errors import BuildError, WrongPrecision
from tumor_export.engines.layers import check_precisions, layer_precisions


def layer(name: str, said: str = "Half", **more: Any) -> dict[str, Any]:
    """A layer as TensorRT 10 and 11 describe it."""
    return {
        "Name": f"__myl_{name}",
        "LayerType": "CaskConvolution",
        "ParameterType": "Convolution",
        "Inputs": [{"Name": "in", "Location": "Device", "Dimensions": [8, 64, 64, 64], "Format/Datatype": said}],
        "Outputs": [{"Name": "out", "Location": "Device", "Dimensions": [8, 64, 64, 64], "Format/Datatype": "Half"}],
        "Metadata": f"[ONNX Layer: {name}]",
        **more,
    }


def inspected(*layers: Any) -> str:
    return json.dumps({"Layers": layers, "Bindings": ["IMAGE", "MASK_PROBABILITY"]})


@pytest.mark.parametrize(
    ("said", "precision"),
    [
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("Int8", "int8"),
        ("BFloat16", "bf16"),
        ("Row major linear FP16 format", "fp16"),
        ("Row major linear FP32", "fp32"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16"),
    ],
)
def test_a_layer_computes_in_what_it_reads(said: str, precision: str) -> None:
    assert layer_precisions(inspected(layer("conv", said)))["conv"] == precision


@pytest.mark.parametrize(
    ("kernel", "precision"),
    [
        ("sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x128x32_stage4", "fp16"),
        ("sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize128x128x32_stage4", "fp16"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs", "int8"),
        ("sm80_xmma_fprop_implicit_gemm_interleaved_i8f32_i8i32_f32_nchw_vect_c_32kcrs", "int8"),
        ("sm80_xmma_fprop_implicit_gemm_tf32tf32_tf32f32_f32_nhwckrsc_nhwc", "tf32"),
        ("sm80_xmma_fprop_implicit_gemm_indexed_f32f32_f32f32_f32_nchwkcrs_nchw", "fp32"),
    ],
)
@pytest.mark.parametrize("said", ["Half", "N/A due to dynamic shapes"])
def test_the_kernels_name_tells_best(kernel: str, precision: str, said: str) -> None:
    assert layer_precisions(inspected(layer("conv", said, TacticName=kernel)))["conv"] == precision


def test_weights_tell_where_nothing_else_does() -> None:
    found = layer_precisions(
        inspected(layer("conv", "N/A due to dynamic shapes", Weights={"Type": "Int8", "Count": 9}))
    )
    assert found["conv"] == "int8"


def test_a_fused_layer_speaks_for_all_its_nodes() -> None:
    metadata = "[ONNX Layer: conv_QuantizeLinear]\x1e[ONNX Layer: conv]\x1f[ONNX Layer: relu]"
    assert layer_precisions(inspected(layer("x", "Int8", Metadata=metadata))) == {
        "__myl_x": "int8",
        "conv_QuantizeLinear": "int8",
        "conv": "int8",
        "relu": "int8",
    }
    named = layer("x", "Int8", Metadata="", Name="weight + conv + PWN(relu)")
    assert layer_precisions(inspected(named))["conv"] == "int8"


@pytest.mark.parametrize("turn", [1, -1])
def test_of_a_split_node_the_convolution_tells(turn: int) -> None:
    both = [layer("conv", "Half"), layer("conv", "Float", LayerType="Reformat", ParameterType="Reformat")]
    assert layer_precisions(inspected(*both[::turn]))["conv"] == "fp16"


def test_what_was_asked_passes() -> None:
    said = inspected(layer("a", "Half"), layer("b", "Float"), layer("more", "Int8"))
    assert check_precisions({"a": "fp16", "b": "fp32"}, said) == {"fp16": 1, "fp32": 1}


def test_another_precision_is_an_error() -> None:
    """What a weakly typed build of an fp16 graph would silently do on TensorRT 11."""
    said = inspected(layer("a", "Float"), layer("b", "Half"))
    with pytest.raises(WrongPrecision, match=r"1 of 2 convolutions .* a in fp32 instead of fp16"):
        check_precisions({"a": "fp16", "b": "fp16"}, said)


def test_tf32_is_not_fp32() -> None:
    said = inspected(layer("a", "Float", TacticName="sm80_xmma_fprop_implicit_gemm_tf32tf32_tf32f32_f32_nhwc"))
    with pytest.raises(WrongPrecision, match="a in tf32 instead of fp32"):
        check_precisions({"a": "fp32"}, said)


@pytest.mark.parametrize("said", [inspected(), inspected(layer("a", "N/A due to dynamic shapes"))])
def test_what_cannot_be_told_is_an_error(said: str) -> None:
    with pytest.raises(WrongPrecision, match=r"does not tell what 1 of 1 convolutions compute in, such as a"):
        check_precisions({"a": "fp16"}, said)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "cannot be read"),
        ("{}", "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps({"Layers": ["conv"]}), "without detailed verbosity"),
    ],
)
def test_what_no_inspector_says_is_an_error(said: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        check_precisions({"a": "fp16"}, said)
