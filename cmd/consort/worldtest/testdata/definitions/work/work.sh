#!/bin/sh
# usage: work.sh SECONDS FILES SIZE
# Each start leaves a line outside of the working directory, so that a second one cannot hide.
set -eu
echo "$CONSORT_JOB $CONSORT_EPOCH $$" >>'@MARKS@'
echo working
sleep "$1"
mkdir parts
[ "$2" = 0 ] || awk -v "n=$2" 'BEGIN { for (i = 1; i <= n; i++) { f = sprintf("parts/%05d.txt", i); print i > f; close(f) } }'
[ "$3" = 0 ] || yes "$CONSORT_JOB" | head -c "$3" >big.dat
echo done >answer.txt
echo finished
