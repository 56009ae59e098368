# One image for the worker and the web server. The worker finds its weights, fetches them, or takes the demo's.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 captiond
WORKDIR /app
COPY pyproject.toml constraints.txt ./
# The packages before the code, so that a change of the code does not install them again; torch alone and first, at
# the version in constraints.txt, which has a CPU build.
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && pip install --no-cache-dir "$(grep -i '^torch==' constraints.txt)" -c constraints.txt \
    && pip install --no-cache-dir -r requirements.txt -c constraints.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --editable . && mkdir /data && chown captiond /data
USER captiond
ENV CAPTIOND_DATA=/data
VOLUME /data
