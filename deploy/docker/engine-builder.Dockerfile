# TensorRT of the same release as the server's Triton, with tumorctl's export: an engine fits one TensorRT version.
ARG TENSORRT_IMAGE=nvcr.io/nvidia/tensorrt:26.07-py3
FROM ${TENSORRT_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tumorctl engine builder" \
      org.opencontainers.image.description="Builds TensorRT engines of the brain tumour networks. Research use only." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# The image's own TensorRT stays: its version is a constraint, and the build fails where Python cannot load it.
COPY . /tmp/tumorctl
RUN python3 -c 'import tensorrt; print(f"tensorrt=={tensorrt.__version__}")' > /tmp/constraints.txt \
    && PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --no-cache-dir \
        --constraint /tmp/constraints.txt "/tmp/tumorctl[tensorrt]" \
    && rm -rf /tmp/tumorctl /tmp/constraints.txt

# ONNX Runtime's official builds report their use unless told not to.
ENV ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
CMD ["tumorctl", "export", "tensorrt", "--help"]
