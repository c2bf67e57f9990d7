#!/bin/sh
# usage: match.sh FIRST SECOND RADIUS
# Writes matched.fits and summary.txt. Exit code 2: an input is no catalogue.
set -eu
first=$1 second=$2 radius=$3
columns=NUMBER,X_IMAGE,Y_IMAGE,MAG_AUTO,MAGERR_AUTO

# count prints how many sources a catalogue has.
count() {
	if ! asttable "$1" --hdu=1 --column="$columns" >column.txt 2>problem.txt; then
		echo "$1 is no catalogue with the columns $columns in its first extension: $(sed q problem.txt)" |
			tee -a "${CONSORT_ERROR_FILE:-/dev/null}" >&2
		exit 2
	fi
	wc -l <column.txt
}

in_first=$(count "$first")
in_second=$(count "$second")

astmatch "$first" "$second" --quiet --numthreads=1 --hdu=1 --hdu2=1 --ccol1=X_IMAGE,Y_IMAGE --ccol2=X_IMAGE,Y_IMAGE --aperture="$radius" \
	--outcols=aNUMBER,aX_IMAGE,aY_IMAGE,aMAG_AUTO,aMAGERR_AUTO,bNUMBER,bX_IMAGE,bY_IMAGE,bMAG_AUTO,bMAGERR_AUTO --output=pairs.fits
asttable pairs.fits --hdu=1 --output=matched.fits \
	--colmetadata=1,NUMBER_1 --colmetadata=2,X_1,pixel --colmetadata=3,Y_1,pixel --colmetadata=4,MAG_1,mag --colmetadata=5,MAGERR_1,mag \
	--colmetadata=6,NUMBER_2 --colmetadata=7,X_2,pixel --colmetadata=8,Y_2,pixel --colmetadata=9,MAG_2,mag --colmetadata=10,MAGERR_2,mag

asttable matched.fits --hdu=1 | awk -v "first=$in_first" -v "second=$in_second" -v "radius=$radius" '
	{
		distance += ($7 - $2) ^ 2 + ($8 - $3) ^ 2
		difference += $9 - $4
	}
	END {
		printf "matched %d\n", NR
		printf "sources in the first catalogue %d\n", first
		printf "sources in the second catalogue %d\n", second
		printf "radius %s pixel\n", radius
		if (NR) {
			printf "separation %.3f pixel (root mean square)\n", sqrt(distance / NR)
			printf "magnitude difference %.3f mag (mean, second minus first)\n", difference / NR
		}
	}' >summary.txt
cat summary.txt
