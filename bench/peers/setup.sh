#!/bin/sh
# Makes one peer's own environment: bench/.envs/NAME, from NAME/requirements.txt or the file given.
# Use: sh bench/peers/setup.sh llamaindex|haystack|txtai
#      sh bench/peers/setup.sh trainer bench/training/peers/trainer.requirements.txt
set -eu
name=${1:?use: setup.sh NAME [REQUIREMENTS]}
here=$(cd "$(dirname "$0")" && pwd)
requirements=${2:-$here/$name/requirements.txt}
env=$here/../.envs/$name
begin=$(date +%s)

mkdir -p "$here/../.envs"
printf '*\n' >"$here/../.envs/.gitignore"  # an environment is never committed
python3 -m venv --clear "$env"
# torch goes first and by itself, so that pip settles on the CPU wheel where one is at hand (and not
# on the default build, which brings some GB of GPU libraries).
"$env/bin/pip" install --quiet torch==2.13.0
"$env/bin/pip" install --quiet --requirement "$requirements"

"$env/bin/pip" freeze --quiet >"$env/freeze.txt"
seconds=$(($(date +%s) - begin))
echo "$seconds" >"$env/setup_seconds"
echo "$name: ready in $seconds s, $(du -sm "$env" | cut -f1) MB, $(wc -l <"$env/freeze.txt") packages"
