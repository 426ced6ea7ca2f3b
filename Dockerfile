# syntax=docker/dockerfile:1
# CPU image:   docker build -t textcnn-service .
# CUDA image:  docker build -t textcnn-service:cuda --build-arg VARIANT=cuda .
# It serves the checkpoint folder mounted on /checkpoint, or the quickstart checkpoint that this build trains.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm
ARG VARIANT=cpu

# --- torch: the CPU build comes from PyTorch's own index, the CUDA build (with its libraries) from PyPI ---
FROM ${PYTHON_IMAGE} AS torch-cpu
ENV TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu"
FROM ${PYTHON_IMAGE} AS torch-cuda
ENV TORCH_INDEX=""

# --- the environment: what serving needs and nothing else, in the versions of the lock file ---
FROM torch-${VARIANT} AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/textcnn/bin:$PATH
WORKDIR /build
RUN python -m venv /opt/textcnn
COPY requirements.lock ./
RUN pip install ${TORCH_INDEX} "$(grep '^torch==' requirements.lock)"
COPY pyproject.toml LICENSE README.md ./
COPY model model
COPY service service
COPY training training
RUN pip install --constraint requirements.lock .

# --- the quickstart checkpoint: trained with the training extra, which the last stage leaves behind ---
FROM environment AS quickstart
RUN pip install --constraint requirements.lock '.[training]' \
    && textcnn-train --config training/configs/quickstart.yaml --device cpu --output_dir /checkpoint

# --- the image ---
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="textcnn-service" org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin textcnn
COPY --from=environment /opt/textcnn /opt/textcnn
COPY --from=quickstart /checkpoint /checkpoint
# /tmp is the one folder that is written to: with a read-only root, mount a tmpfs there.
ENV PATH=/opt/textcnn/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
ENTRYPOINT ["textcnn-serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--checkpoint", "/checkpoint"]
