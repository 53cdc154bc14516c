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

cd "$HOME"
set -f # the arguments hold JSON, and nothing in them names files
# JupyterLab refuses an argument that comes twice: what is ours stands in jupyter_server_config.json.
# shellcheck disable=SC2086 # split at blanks and line ends, as the images of OpenShift AI do
exec jupyter lab ${NOTEBOOK_ARGS:-}
