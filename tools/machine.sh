#!/bin/sh
# Says which lock fits this machine: metal, cuda or cpu.
if [ "$(uname -sm)" = "Darwin arm64" ]; then
  echo metal
elif nvidia-smi -L >/dev/null 2>&1; then
  echo cuda
else
  echo cpu
fi
