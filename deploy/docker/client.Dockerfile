# The SDK and the command line, without an engine of its own: it asks a server.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
FROM ${PYTHON_IMAGE} AS build

COPY . /src
RUN python -m venv /opt/tumorctl \
    && /opt/tumorctl/bin/pip install --no-cache-dir /src

FROM ${PYTHON_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tumorctl client" \
      org.opencontainers.image.description="Finds brain tumours in MRI slices through a server. Research use only." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/tumorctl /opt/tumorctl
# The made-up brains that helm test sends.
COPY --chmod=755 samples /opt/tumorctl/samples
ENV PATH=/opt/tumorctl/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["tumorctl"]
CMD ["--help"]
