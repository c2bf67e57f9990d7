#!/bin/sh
# usage: many.sh N SIZE
# Writes out/000001.dat and so on. One awk writes them all: a process per file would take most of the time.
set -eu
mkdir out
exec awk -v "n=$1" -v "size=$2" 'BEGIN {
	block = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n"
	while (length(block) < 65536) block = block block
	for (i = 1; i <= n; i++) {
		file = sprintf("out/%06d.dat", i)
		text = sprintf("%06d\n", i) # makes every file another one
		left = size
		printf "%s", substr(text, 1, left) > file
		left -= length(text)
		for (; left >= 65536; left -= 65536) printf "%s", block > file
		if (left > 0) printf "%s", substr(block, 1, left) > file
		close(file)
	}
	printf "wrote %d files of %.0f bytes\n", n, size
}'
