# The image of the Beam jobs, on Dataflow's workers and in the launchers of its Flex Templates, so that both hold the same code.
#
#   docker build --target pipelines -t REGION-docker.pkg.dev/PROJECT/coinbeam/pipelines:RELEASE .
#   docker build --target launcher --build-arg JOB=fetch_crypto_data -t REGION-docker.pkg.dev/PROJECT/coinbeam/fetch-crypto-data:RELEASE .
#
# Source of the pattern: https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates#use_custom_container_images
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:flex_templates_base_image_release_20240628_RC00 AS template_launcher

FROM apache/beam_python3.11_sdk:2.77.0 AS pipelines
# What Debian mended since the base image was made; the bill of materials says what came. Beam's image holds a whole gcloud, which nothing here calls.
RUN apt-get update && apt-get upgrade --yes && rm -rf /var/lib/apt/lists/* /usr/local/gcloud
WORKDIR /app
COPY config/beam-requirements.txt config/beam-requirements.txt
RUN pip install --no-cache-dir --no-deps --require-hashes -r config/beam-requirements.txt && pip check
COPY coinbeam coinbeam
COPY beam_pipelines beam_pipelines
COPY sql sql
COPY config config
# `beam_pipelines/` holds modules named as some of the standard library: the folder of a script must not be searched before it.
ENV PYTHONPATH=/app PYTHONSAFEPATH=1 COINBEAM_ENV=production
# Imports in bytecode: a worker starts in a third of the time.
RUN python -m compileall -q coinbeam beam_pipelines
# The code belongs to root; the processes run as another user, who owns what Beam's start writes: see without_root.sh, why there is no USER.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/coinbeam coinbeam && install --directory --owner coinbeam /opt/apache/beam-venv
ENTRYPOINT ["/app/beam_pipelines/without_root.sh", "/opt/apache/beam/boot"]

FROM pipelines AS launcher
ARG JOB
# Dataflow starts a launcher by this path. Its log lies in a folder of the machine.
COPY --from=template_launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/launcher/python_template_launcher
RUN printf '#!/bin/sh\nexec /app/beam_pipelines/without_root.sh /opt/google/dataflow/launcher/python_template_launcher "$@"\n' \
      > /opt/google/dataflow/python_template_launcher && chmod 755 /opt/google/dataflow/python_template_launcher
ENV HANDED_OVER=/var/log/dataflow/template_launcher FLEX_TEMPLATE_PYTHON_PY_FILE=/app/beam_pipelines/${JOB}.py
RUN test -f "${FLEX_TEMPLATE_PYTHON_PY_FILE}"
