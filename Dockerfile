# The project, installed and ready: docker build -t flag_kedro . && docker run --rm -v flag_data:/app/data flag_kedro
# PyPI's torch brings CUDA. A smaller image without: --build-arg EXTRA_INDEX=ADDRESS, of PyTorch's index of CPU builds.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

ARG EXTRA_INDEX=""
ENV PIP_EXTRA_INDEX_URL=${EXTRA_INDEX} PIP_NO_CACHE_DIR=1 DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home trader

WORKDIR /app
COPY --chown=trader:trader . .
RUN chown trader:trader /app
USER 1000
RUN make install && make smollm2
ENV PATH="/app/.venv/bin:${PATH}"
VOLUME ["/app/data"]
CMD ["make", "run"]
