# Two images with the same layers: `web`, the default target, and `worker`. They run as user 1000 and need nothing
# writable but /data and /tmp. The worker takes weights from the checkout, downloads them, or uses the demo model.

FROM python:3.11-slim AS dependencies
WORKDIR /app
RUN python -m venv /opt/captiond
ENV PATH=/opt/captiond/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_COMPILE=0
COPY pyproject.toml constraints.txt ./
COPY script/torch script/
# A build container has no NVIDIA driver, so the CPU build of torch is installed. --build-arg CAPTIOND_TORCH_INDEX=
# installs the CUDA build instead; with a URL, the CPU build comes from that index.
ARG CAPTIOND_TORCH_INDEX
# The code is copied later, so that this layer is cached while only the code changes: an editable install needs the
# names of its folders and files. Tests of libraries, and what torch needs only to compile extensions, are removed.
RUN mkdir captioning cli common training web worker \
    && touch LICENSE README.md \
    && script/torch python \
    && pip install --editable '.[mcp,parquet,raw,s3]' -c constraints.txt \
    && pip uninstall --yes pip \
    && packages=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && rm -rf "$packages/torch/test" "$packages/torch/include" \
    && find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete \
    && find "$packages" -type d -name tests -prune -exec rm -rf {} +

FROM dependencies AS build
COPY . .
# Captions an image, which also compiles the modules that are used. Bytecode of all would take three times the space.
ENV PYTHONPYCACHEPREFIX=/opt/bytecode
RUN python -c "from PIL import Image; Image.new('RGB', (64, 64)).save('/tmp/image.png')" \
    && CAPTIOND_MODEL=demo captiond caption /tmp/image.png \
    && python -c "import s3fs, web.server, worker.celery, worker.health, worker.tasks" \
    && celery -A worker report > /dev/null

FROM python:3.11-slim AS runtime
RUN useradd --uid 1000 --home-dir /data captiond && install -d -o captiond -g captiond /data
COPY --from=dependencies /opt/captiond /opt/captiond
COPY --from=build /opt/bytecode /opt/bytecode
COPY --from=build /app /app
WORKDIR /app
# HOME is where Hugging Face's libraries keep their downloads.
ENV PATH=/opt/captiond/bin:$PATH PYTHONPYCACHEPREFIX=/opt/bytecode HOME=/data CAPTIOND_DATA=/data
USER 1000:1000
VOLUME /data

FROM runtime AS worker
# Loading a model takes seconds, and downloading one takes minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["python", "-m", "worker.health"]
CMD ["celery", "-A", "worker", "worker"]

FROM runtime AS web
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz')"]
EXPOSE 8080
CMD ["python", "-m", "web"]
