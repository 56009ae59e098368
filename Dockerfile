# One image for the worker and the web server. The worker finds its weights, fetches them, or takes the demo's.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 captiond
WORKDIR /app
COPY pyproject.toml constraints.txt ./
COPY script/torch script/
# An image is built without a driver, so torch's build for the CPU is installed; --build-arg CAPTIOND_TORCH_INDEX=
# takes the one with CUDA, and a URL another index of builds for the CPU.
ARG CAPTIOND_TORCH_INDEX
# The packages before the code, so that a change of the code does not install them again; torch first.
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && PIP_NO_CACHE_DIR=1 script/torch python \
    && pip install --no-cache-dir -r requirements.txt -c constraints.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --editable . && mkdir /data && chown captiond /data
USER captiond
ENV CAPTIOND_DATA=/data
VOLUME /data
