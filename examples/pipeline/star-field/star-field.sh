#!/bin/sh
# usage: star-field.sh SEED NOISE_SEED STARS SIZE FWHM BRIGHT FAINT SKY NOISE
# Writes stars.txt and star-field.fits. Exit code 2: the parameters do not fit together.
set -eu
seed=$1 noise_seed=$2 stars=$3 size=$4 fwhm=$5 bright=$6 faint=$7 sky=$8 noise=$9

if awk -v "b=$bright" -v "f=$faint" 'BEGIN { exit !(b + 0 > f + 0) }'; then
	echo "bright is $bright mag and faint is $faint mag: the brighter one must have the lower magnitude" |
		tee -a "${CONSORT_ERROR_FILE:-/dev/null}" >&2
	exit 2
fi
awk -v "seed=$seed" -v "count=$stars" -v "size=$size" -v "fwhm=$fwhm" -v "bright=$bright" -v "faint=$faint" \
	-f stars.awk >stars.txt

# The field lies at 10h +2d, north up and east to the left, 0.36 arcsec a pixel. One thread, since threads would
# share out the random numbers in any order.
centre=$(awk -v "n=$size" 'BEGIN { print (n + 1) / 2 }')
GSL_RNG_SEED=$seed astmkprof stars.txt --quiet --envseed --numthreads=1 --output=stars.fits \
	--mergedsize="$size,$size" --oversample=1 --psfinimg --zeropoint=25 --mode=img \
	--ccol=2 --ccol=3 --fcol=4 --rcol=5 --ncol=6 --pcol=7 --qcol=8 --mcol=9 --tcol=10 \
	--crpix="$centre,$centre" --crval=150,2 --cdelt=1e-4,1e-4 --pc=-1,0,0,1 --cunit=deg,deg --ctype=RA---TAN,DEC--TAN
GSL_RNG_SEED=$noise_seed astarithmetic stars.fits --hdu=1 "$sky" + "$noise" mknoise-sigma float32 \
	--quiet --envseed --numthreads=1 --output=star-field.fits

# The date of the file would make every run different, so it goes; the seeds say better which image this is.
astfits star-field.fits --hdu=1 --delete=DATE \
	--update="SEED,$seed,Seed of the stars" --update="NSEED,$noise_seed,Seed of the noise"
