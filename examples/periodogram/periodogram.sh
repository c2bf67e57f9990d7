#!/bin/sh
# usage: periodogram.sh SERIES MIN_PERIOD MAX_PERIOD OVERSAMPLING UNIT
# Writes summary.txt, periodogram.svg, periodogram.vot and cleaned.csv. Exit code 2: the input is at fault.
set -eu
LC_ALL=C # bytes, so that a header in an odd encoding is caught
export LC_ALL
exec awk -v "min_period=$2" -v "max_period=$3" -v "oversampling=$4" -v "unit=$5" \
	-v "error_file=${CONSORT_ERROR_FILE:-/dev/null}" -f periodogram.awk "$1"
