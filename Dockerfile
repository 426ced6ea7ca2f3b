# syntax=docker/dockerfile:1
# CPU image:   docker build -t textcnn-service .
# CUDA image:  docker build -t textcnn-service:cuda --build-arg VARIANT=cuda .
# Built, run and examined by service/deploy/prove_image.py.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

# --- what serving needs and nothing else, in the versions of the lock file; the environment itself holds no pip ---
FROM ${PYTHON_IMAGE} AS libraries
ARG VARIANT=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_PYTHON=/opt/textcnn/bin/python
WORKDIR /build
RUN python -m venv --without-pip /opt/textcnn
COPY requirements.lock pyproject.toml ./
# torch's CPU build comes from PyTorch's own index, the CUDA build (with its libraries) from PyPI. Its headers, its own
# tests and their programs are a quarter of it.
RUN case "$VARIANT" in \
        cpu) index="--index-url https://download.pytorch.org/whl/cpu" ;; \
        cuda) index="" ;; \
        *) echo "VARIANT must be cpu or cuda, got $VARIANT" >&2; exit 1 ;; \
    esac \
    && pip install $index "$(grep '^torch==' requirements.lock)" \
    && cd /opt/textcnn/lib/python3.11/site-packages/torch \
    && rm -rf include test bin/*test* bin/protoc*
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > dependencies.txt \
    && pip install --constraint requirements.lock --requirement dependencies.txt

# --- our own packages, a layer of their own: an update moves these few hundred kilobytes ---
FROM libraries AS package
COPY LICENSE README.md ./
COPY model model
COPY service service
COPY training training
RUN pip install --no-deps --prefix /package .

# --- the quickstart checkpoint: trained with the training extra, which the last stage leaves behind ---
FROM libraries AS training
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['training'], sep='\n')" \
        > training.txt \
    && pip install --constraint requirements.lock --requirement training.txt
FROM training AS quickstart
COPY --from=package /package /opt/textcnn
COPY training training
RUN /opt/textcnn/bin/textcnn-train --config training/configs/quickstart.yaml --device cpu \
        --output_dir /models/quickstart --disable_tqdm true

# --- the image ---
FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="textcnn-service" org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin textcnn
COPY --from=libraries /opt/textcnn /opt/textcnn
COPY --from=package /package /opt/textcnn
COPY --from=quickstart /models/quickstart /models/quickstart
# /tmp is the one folder that is written to: with a read-only root, mount a tmpfs there.
ENV PATH=/opt/textcnn/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
# As process 1 it answers SIGTERM itself and waits for its children, so no init is put in front of it.
ENTRYPOINT ["textcnn-serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--checkpoint", "/models/quickstart"]
