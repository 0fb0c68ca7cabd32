#!/bin/sh
# Resolves requirements/*.txt from pyproject.toml: pinned and hashed, for every platform, and without
# an address, so that they install from whichever index the reader's pip uses.
set -eu
uv=${UV:-uv}

resolve() {
  target=requirements/$1.txt
  shift
  "$uv" pip compile pyproject.toml --quiet --universal --generate-hashes --no-annotate --no-header \
    --no-emit-index-url --no-emit-find-links --python-version 3.11 "$@" -o "$target"
  echo "$target: $(grep -c '==' "$target") packages"
}

resolve cpu --extra cpu --extra vision --group build
# The others keep the versions of the first where they can, so that one set of versions is tested.
resolve cuda --extra cuda --extra vision --group build --constraint requirements/cpu.txt
resolve metal --extra vision --group build --constraint requirements/cpu.txt
resolve dev --group dev --constraint requirements/cpu.txt
resolve docs --group docs --constraint requirements/cpu.txt
