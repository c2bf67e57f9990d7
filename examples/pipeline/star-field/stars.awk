# Prints a table of stars for astmkprof. Variables: seed, count, size, fwhm, bright, faint.

# random returns the next number between 0 and 1, of the combined generator of L'Ecuyer (1988), which needs no more
# than the integers of a double. rand() of awk is another one in every awk.
function random(    z) {
	s1 = (s1 * 40014) % 2147483563
	s2 = (s2 * 40692) % 2147483399
	z = s1 - s2
	if (z < 1) z += 2147483562
	return z / 2147483563
}

BEGIN {
	s1 = seed
	s2 = 1234567
	for (i = 0; i < 20; i++) random()

	print "# Column 1: ID        [none, i32]       Number of the star"
	print "# Column 2: X         [pixel, f64]      Centre along x, 1 is the middle of the first pixel"
	print "# Column 3: Y         [pixel, f64]      Centre along y"
	print "# Column 4: PROFILE   [none, i32]       2 is a Moffat profile"
	print "# Column 5: FWHM      [pixel, f64]      Full width at half maximum"
	print "# Column 6: BETA      [none, f64]       Exponent of the profile"
	print "# Column 7: ANGLE     [deg, f64]        Position angle"
	print "# Column 8: RATIO     [none, f64]       Axis ratio"
	print "# Column 9: MAGNITUDE [mag, f64]        Magnitude"
	print "# Column 10: TRUNC    [none, f64]       Radius in widths at which the profile is cut off"

	# Of each magnitude there are 10^0.3, or twice, as many stars as of the one before.
	slope = 0.3 * log(10)
	least = exp(slope * (bright - faint))
	for (i = 1; i <= count; i++) {
		x = 0.5 + size * random()
		y = 0.5 + size * random()
		magnitude = faint + log(least + (1 - least) * random()) / slope
		printf "%d %.3f %.3f 2 %s 4.765 0 1 %.3f 6\n", i, x, y, fwhm, magnitude
	}
}
