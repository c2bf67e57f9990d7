#!/bin/sh
# usage: convert.sh PIX.IMH PIX.PIX >M51.FITS
# Turns the test image of IRAF, an "OIF" image of version 2, into FITS. It is no converter for other images: their
# pixels may be of another type, in the other byte order, or begin elsewhere.
#
# Header file, numbers big-endian: "imhv2"; 10: type of the pixels (3: 16 bit integers); 14: whether they are swapped;
# 18: dimensions; 22 and 26: their lengths; 86: where the pixels begin in their file, in units of 2 bytes, counted from 1;
# 638: title; 2046: cards, each with a line feed.
set -eu
LC_ALL=C
export LC_ALL
header=$1 pixels=$2

# number prints the 4 bytes at an offset of the header as a decimal.
number() {
	od -An -v -tu1 -j "$1" -N 4 "$header" | awk '{ print (($1 * 256 + $2) * 256 + $3) * 256 + $4 }'
}

# pad fills up with the character $2, given in octal, to a multiple of 2880 bytes; $1 is how many there are.
pad() {
	head -c $(((2880 - $1 % 2880) % 2880)) /dev/zero | tr '\000' "$2"
}

if [ "$(head -c 5 "$header")" != imhv2 ] || [ "$(number 10)" != 3 ] || [ "$(number 14)" != 0 ] || [ "$(number 18)" != 2 ]; then
	echo "$header: no plane image of version 2 with big-endian 16 bit pixels" >&2
	exit 1
fi
columns=$(number 22)
rows=$(number 26)
offset=$((($(number 86) - 1) * 2))
title=$(dd if="$header" bs=1 skip=638 count=384 2>/dev/null | tr '\000' '\n' | sed -e "s/'/''/g" -e q)
length=$((columns * rows * 2))
if [ "$(wc -c <"$pixels")" -lt $((offset + length)) ]; then
	echo "$pixels: has less than the $columns by $rows pixels of the header" >&2
	exit 1
fi

cards=$(
	cat <<-END
		SIMPLE  =                    T / conforms to the FITS standard
		BITPIX  =                   16 / 16 bit integers
		NAXIS   =                    2 / number of axes
		NAXIS1  = $(printf '%20d' "$columns") / columns
		NAXIS2  = $(printf '%20d' "$rows") / rows
		OBJECT  = '$title'
		ORIGIN  = 'KPNO-IRAF'
	END
	# What the header calls HISTORY 'KPNO-IRAF' / are cards of earlier conversions, with a comment that fits no HISTORY.
	dd if="$header" bs=1 skip=2046 2>/dev/null | tr -d '\000' | sed -e 's/ *$//' -e '/^$/d' -e "s/^HISTORY '\(.*[^ ]\) *' *\/*$/HISTORY \1/"
	echo END
)
printf '%s\n' "$cards" | awk '{ printf "%-80.80s", $0 }'
pad $(($(printf '%s\n' "$cards" | wc -l) * 80)) '\040'
tail -c +$((offset + 1)) "$pixels" | head -c "$length"
pad "$length" '\000'
