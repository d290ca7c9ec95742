# The image of what readers reach, the API and the dashboard, and of the publisher of live trades: one image, told apart by the first argument.
#
#   docker build --file serving.Dockerfile -t REGION-docker.pkg.dev/PROJECT/coinbeam/serving:RELEASE .
#   docker run --publish 127.0.0.1:8080:8080 IMAGE serve --host 0.0.0.0 --port 8080
FROM python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1
# What Debian mended since the base image was made; the bill of materials says what came.
RUN apt-get update && apt-get upgrade --yes && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY config/serving-requirements.txt config/serving-requirements.txt
RUN pip install --no-cache-dir --no-deps --require-hashes -r config/serving-requirements.txt && pip check
COPY coinbeam coinbeam
COPY serving serving
COPY console console
COPY sql sql
COPY config config
ENV PYTHONPATH=/app PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 COINBEAM_ENV=production COINBEAM_SERVING__CACHE_DIR=/var/cache/coinbeam
# Imports in bytecode: an instance that is started by a request keeps it waiting for less.
RUN python -m compileall -q coinbeam serving console
# The code belongs to root; the process may write nothing but its cache and its home.
RUN useradd --system --uid 10001 --create-home coinbeam && install --directory --owner coinbeam /var/cache/coinbeam
USER 10001
# The command `coinbeam`, without an installed package: its settings are read beside it.
ENTRYPOINT ["python", "-m", "console"]
