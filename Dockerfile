# The image of the Beam jobs, on Dataflow's workers and in the launchers of its Flex Templates, so that both hold the same code.
#
#   docker build --target pipelines -t REGION-docker.pkg.dev/PROJECT/coinbeam/pipelines:RELEASE .
#   docker build --target launcher --build-arg JOB=fetch_crypto_data -t REGION-docker.pkg.dev/PROJECT/coinbeam/fetch-crypto-data:RELEASE .
#
# Source of the pattern: https://cloud.google.com/dataflow/docs/guides/templates/configuring-flex-templates#use_custom_container_images
ARG BEAM_VERSION=2.77.0
ARG LAUNCHER=gcr.io/dataflow-templates-base/python311-template-launcher-base:flex_templates_base_image_release_20240628_RC00

FROM ${LAUNCHER} AS template_launcher

FROM apache/beam_python3.11_sdk:${BEAM_VERSION} AS pipelines
WORKDIR /app
COPY config/beam-requirements.txt config/beam-requirements.txt
RUN pip install --no-cache-dir --no-deps -r config/beam-requirements.txt && pip check
COPY coinbeam coinbeam
COPY beam_pipelines beam_pipelines
COPY sql sql
COPY config config
# `beam_pipelines/` holds modules named as some of the standard library: the folder of a script must not be searched before it.
ENV PYTHONPATH=/app PYTHONSAFEPATH=1 COINBEAM_ENV=production
# Imports in bytecode: a worker starts in a third of the time.
RUN python -m compileall -q coinbeam beam_pipelines
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM pipelines AS launcher
ARG JOB
COPY --from=template_launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/app/beam_pipelines/${JOB}.py
RUN test -f "${FLEX_TEMPLATE_PYTHON_PY_FILE}"
