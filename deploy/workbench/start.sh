#!/usr/bin/env bash
# Start JupyterLab as OpenShift AI expects it: port 8888, its arguments in NOTEBOOK_ARGS, the lessons on the volume.
set -euo pipefail
source_folder="${WORKBENCH_SOURCE:-/opt/app-root/fraud-demo}"
project="$HOME/fraud-demo"

# The volume is empty at the first start. The copy appears whole or not at all, and never replaces anybody's work.
if [ ! -e "$project" ]; then
  rm -rf "$project.part"
  cp -R "$source_folder" "$project.part"
  mv "$project.part" "$project"
fi

# The library is read from the volume, beside the lessons: what a learner exports takes effect.
export PYTHONPATH="$project"

set -f # the arguments hold JSON, and nothing in them names files
# shellcheck disable=SC2086 # split at blanks and line ends, as the images of OpenShift AI do
exec jupyter lab --ServerApp.ip=0.0.0.0 --ServerApp.port=8888 --ServerApp.open_browser=False \
  --ServerApp.root_dir="$HOME" --LabApp.default_url=/lab/tree/fraud-demo/README.md ${NOTEBOOK_ARGS:-}
