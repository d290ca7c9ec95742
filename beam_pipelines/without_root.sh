#!/bin/sh
# Starts a program of Dataflow's as the user `coinbeam`, whom nothing makes root again.
#
#   without_root.sh PROGRAM [ARGUMENT...]
#
# The image cannot name a user: Dataflow mounts the folder of what a job stages (--semi_persist_dir) and that of the launcher's log from the machine, both of
# them root's, and a program of another user ends with "permission denied" before it runs a line of ours. So root hands over these folders, and only then the
# program begins. All else that Beam writes is the image's own: an environment for each worker below /opt/apache/beam-venv, and what lies in /tmp.
# Sources: https://github.com/apache/beam/blob/master/sdks/python/container/boot.go (semi_persist_dir, beam-venv),
#   https://github.com/GoogleCloudPlatform/python-docs-samples/issues/13213 (the launcher), https://github.com/pangeo-data/pangeo-docker-images/pull/360 (workers).
set -eu
USER_ID=10001

if [ "$(id -u)" -ne 0 ]; then
  exec "$@" # somebody chose a user already
fi

hand_over() {
  mkdir -p "$1"
  if ! setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups test -w "$1"; then
    chown "$USER_ID:$USER_ID" "$1"
  fi
}

for folder in ${HANDED_OVER:-}; do
  hand_over "$folder"
done
for argument in "$@"; do
  case "$argument" in
    --semi_persist_dir=*)
      hand_over "${argument#*=}"
      hand_over "${argument#*=}/staged"
      ;;
  esac
done
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --no-new-privs env HOME=/var/lib/coinbeam USER=coinbeam "$@"
