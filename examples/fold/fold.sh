#!/bin/sh
# usage: fold.sh SERIES PERIOD BINS UNIT [EPOCH]
# Writes folded.vot and folded.svg. Exit code 2: the input is at fault.
set -eu
LC_ALL=C # bytes, so that a header in an odd encoding is caught
export LC_ALL
exec awk -v "period=$2" -v "bins=$3" -v "unit=$4" -v "epoch=${5-}" \
	-v "error_file=${CONSORT_ERROR_FILE:-/dev/null}" -f fold.awk "$1"
