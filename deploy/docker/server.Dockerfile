# Triton with the model repository. The unmodified server: the gate needs only the numpy that comes with it.
# A digest for TRITON_IMAGE pins the base exactly: --build-arg TRITON_IMAGE=nvcr.io/nvidia/tritonserver@sha256:...
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.07-py3
FROM ${TRITON_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tumorctl server" \
      org.opencontainers.image.description="Triton with the gated brain tumour ensemble. Research use only." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# Root owns them, so that the server cannot change what it serves. The chart's init container copies and verifies them.
COPY --chown=root:root --chmod=755 model_repository /opt/tumorctl/model_repository

# ONNX Runtime's official builds report their use unless told not to.
ENV ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
EXPOSE 8000 8001 8002
# Without Kubernetes, serves ONNX Runtime; the chart brings arguments of its own.
CMD ["tritonserver", "--model-repository=/opt/tumorctl/model_repository", "--model-config-name=onnxruntime", \
     "--model-control-mode=none", "--disable-auto-complete-config", "--strict-readiness=true", "--exit-on-error=true"]
