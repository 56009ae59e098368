# One image for the web server and the worker. The worker uses local weights, downloads them, or uses the demo model.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 captiond
WORKDIR /app
COPY pyproject.toml constraints.txt ./
COPY script/torch script/
# A build container has no NVIDIA driver, so the CPU build of torch is installed. --build-arg CAPTIOND_TORCH_INDEX=
# installs the CUDA build instead; with a URL, the CPU build comes from that index.
ARG CAPTIOND_TORCH_INDEX
# Install the dependencies before copying the code, so that this layer is cached when only the code changes.
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*project['dependencies'], *project['optional-dependencies']['raw'], sep='\n')" > requirements.txt \
    && PIP_NO_CACHE_DIR=1 script/torch python \
    && pip install --no-cache-dir -r requirements.txt -c constraints.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --editable . && mkdir /data && chown captiond /data
USER captiond
ENV CAPTIOND_DATA=/data
VOLUME /data
