#!/bin/bash
# Pushes an image that was built here, and notes below images/ what a release says of it: its digest, and a bill of what it holds.
#
#   deploy/push_image.sh REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG
set -euo pipefail
image=$1
name=$(basename "${image%:*}")
mkdir -p images
docker push "$image"
docker inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" | grep --fixed-strings "${image%:*}@" > "images/$name.digest"
docker run --rm --interactive --entrypoint python "$image" - "$image" < deploy/sbom.py > "images/$name.cdx.json"
