#!/bin/sh
# usage: probe.sh SECONDS FAIL text=TEXT [INPUT]
set -eu
case $1 in
0) ;;
*[!0-9.]*) ;; # less than a millisecond, as in 1e-05, or not a number at all
*) sleep "$1" ;;
esac
{
	echo done
	text=${3#text=}
	if [ -n "$text" ]; then printf '%s\n' "$text"; fi
	if [ $# -gt 3 ]; then cat -- "$4"; fi
} >answer.txt
if [ "$2" = true ]; then
	echo "probe: failed, as asked" >&2
	exit 1
fi
