# The image of the small profile: Airflow without a scheduler and the Beam jobs in one process tree, for a Cloud Run job.
#
#   docker build --file batch.Dockerfile -t REGION-docker.pkg.dev/PROJECT/coinbeam/batch:RELEASE .
#   docker run --env COINBEAM_GOOGLE__PROJECT=PROJECT --env COINBEAM_STORAGE__BUCKET=BUCKET IMAGE job due
FROM python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1
# What Debian mended since the base image was made; the bill of materials says what came.
RUN apt-get update && apt-get upgrade --yes && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY config/batch-requirements.txt config/batch-requirements.txt
RUN pip install --no-cache-dir --no-deps --require-hashes -r config/batch-requirements.txt && pip check
COPY coinbeam coinbeam
COPY beam_pipelines beam_pipelines
COPY dags dags
COPY runs runs
COPY console console
COPY sql sql
COPY config config
# `beam_pipelines/` holds modules named as some of the standard library: the folder of a script must not be searched before it.
ENV PYTHONPATH=/app PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 COINBEAM_ENV=production COINBEAM_RUNNER=local COINBEAM_LOCAL__STATE_DIR=/var/lib/coinbeam
# Imports in bytecode: every second of a start is paid for.
RUN python -m compileall -q coinbeam beam_pipelines dags runs console
# The code belongs to root; the process may write nothing but its state and its home.
RUN useradd --system --uid 10001 --create-home coinbeam && install --directory --owner coinbeam /var/lib/coinbeam
USER 10001
# Airflow's database, migrated once: at each start it would cost fifteen seconds. It knows no project, and needs none.
RUN COINBEAM_GOOGLE__PROJECT=image COINBEAM_STORAGE__BUCKET=image python -m console job prepare
ENTRYPOINT ["python", "-m", "console"]
