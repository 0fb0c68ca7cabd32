#!/bin/sh
# Makes the virtual environment, or says in words why it cannot: make_venv.sh PYTHON FOLDER
set -eu
python=$1
folder=$2

if ! command -v "$python" >/dev/null 2>&1; then
  echo "allod needs Python 3.11 to 3.14, and there is no '$python' here. Install one, or: make up PYTHON=/path/to/python3" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; then
  echo "allod needs Python 3.11 to 3.14; '$python' is $("$python" --version 2>&1). Use another: make up PYTHON=python3.12" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
  echo "this Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 1
fi
echo "making $folder with $("$python" --version)"
"$python" -m venv "$folder"
