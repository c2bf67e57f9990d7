# Lomb-Scargle periodogram of a CSV of time and value, for any POSIX awk, also busybox's, which is often
# built without sin, log and their like: those few are written out at the end.

function fail(message) {
	print message > error_file
	print message > "/dev/stderr"
	failed = 1
	exit 2
}

function is_number(s) { return s ~ /^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$/ }

# plain makes a column name safe for CSV, XML and a plot.
function plain(s) {
	gsub(/[^ -~]/, "?", s)
	gsub(/[,"]/, " ", s)
	return substr(s, 1, 40)
}

function xml(s) {
	gsub(/&/, "\\&amp;", s)
	gsub(/</, "\\&lt;", s)
	gsub(/>/, "\\&gt;", s)
	return s
}

BEGIN { FS = ","; pi = 3.14159265358979323846; ln2 = 0.69314718055994530942; n = 0; header = 0 }

{
	sub(/\r$/, "")
	if (NR == 1) sub(/^\357\273\277/, "")
}
/^[ \t]*(#|$)/ { next }
{
	for (i = 1; i <= NF; i++) {
		gsub(/"/, "", $i)
		gsub(/^[ \t]+|[ \t]+$/, "", $i)
	}
	if (NF < 2) fail("line " NR " of the series has no second column; wanted: time,value")
	if (!header) {
		header = 1
		if (!is_number($1)) {
			time_name = plain($1)
			value_name = plain($2)
			next
		}
		time_name = "time"
		value_name = "value"
	}
	if ($2 == "" || tolower($2) == "nan") next
	if (!is_number($1) || !is_number($2)) fail("line " NR " of the series is not two numbers: " plain($1) " and " plain($2))
	n++
	t[n] = $1 + 0
	y[n] = $2 + 0
}

END {
	if (failed) exit 2
	check_input()
	search()
	refine()
	write_summary()
	write_cleaned()
	write_votable()
	write_plot()
}

function check_input(    i) {
	if (n < 5) fail("the series has " n " usable rows; at least 5 are needed")
	if (min_period >= max_period) fail("min_period " min_period " must be below max_period " max_period)
	first = last = t[1]
	mean = 0
	for (i = 1; i <= n; i++) {
		if (t[i] < first) first = t[i]
		if (t[i] > last) last = t[i]
		mean += y[i] / n
	}
	span = last - first
	if (span <= 0) fail("all times of the series are the same")
	variance = 0
	for (i = 1; i <= n; i++) {
		y[i] -= mean
		variance += y[i] * y[i]
	}
	if (variance <= 0) fail("all values of the series are the same")
	low = 1 / max_period
	high = 1 / min_period
	steps = (high - low) * span * oversampling
	if (steps * n > 2e8) fail("this would take too long: " n " rows and about " int(steps) " frequencies; raise min_period or lower oversampling")
	steps = int(steps) + 2
}

# search fills power[] by the formulas of Press & Rybicki (1989). Sine and cosine of each row are turned
# from one frequency to the next, which are evenly spaced, instead of being computed anew.
function search(    k, i, step, c, s, sy, cy, s2, c2, r, ct, st, yc, ys, cc, ss) {
	step = (high - low) / (steps - 1)
	for (i = 1; i <= n; i++) {
		sine_of[i] = sine(2 * pi * low * (t[i] - first))
		cosine_of[i] = cosine(2 * pi * low * (t[i] - first))
		sine_step[i] = sine(2 * pi * step * (t[i] - first))
		cosine_step[i] = cosine(2 * pi * step * (t[i] - first))
	}
	best = 1
	for (k = 1; k <= steps; k++) {
		freq[k] = low + step * (k - 1)
		sy = cy = s2 = c2 = 0
		for (i = 1; i <= n; i++) {
			s = sine_of[i]
			c = cosine_of[i]
			sy += y[i] * s
			cy += y[i] * c
			s2 += 2 * s * c
			c2 += c * c - s * s
			sine_of[i] = s * cosine_step[i] + c * sine_step[i]
			cosine_of[i] = c * cosine_step[i] - s * sine_step[i]
		}
		# tau turns sine and cosine so that they are orthogonal on these rows
		r = root(s2 * s2 + c2 * c2)
		ct = (r > 0) ? root((1 + c2 / r) / 2) : 1
		st = (r > 0) ? root((1 - c2 / r) / 2) : 0
		if (s2 < 0) st = -st
		yc = cy * ct + sy * st
		ys = sy * ct - cy * st
		cc = (n + r) / 2
		ss = n - cc
		power[k] = yc * yc / cc / variance
		if (ss > 1e-9 * n) power[k] += ys * ys / ss / variance
		if (power[k] > 1) power[k] = 1
		if (power[k] > power[best]) best = k
	}
}

# refine puts a parabola through the highest point and its neighbours.
function refine(    a, b, c, d) {
	best_freq = freq[best]
	best_power = power[best]
	if (best > 1 && best < steps) {
		a = power[best - 1]; b = power[best]; c = power[best + 1]
		d = a - 2 * b + c
		if (d < 0) best_freq += (freq[2] - freq[1]) * (a - c) / (2 * d)
	}
	best_period = 1 / best_freq
}

# false_alarm is the chance that noise alone has a peak as high, for about one independent frequency
# per 1/span (Baluev 2008 gives the power of a single frequency this distribution).
function false_alarm(    single, trials) {
	single = exponential((n - 3) / 2 * ln(1 - best_power + 1e-300))
	trials = (high - low) * span
	return (trials * single < 1e-6) ? trials * single : 1 - exponential(trials * ln(1 - single + 1e-300))
}

function write_summary(    f) {
	f = "summary.txt"
	printf "best period %.5g %s\n", best_period, unit > f
	printf "power %.4g (share of the variance that a sine of this period explains)\n", best_power > f
	printf "false alarm probability %.2g\n", false_alarm() > f
	printf "series %s over %s: %d points over %.6g %s, mean %.6g\n", value_name, time_name, n, span, unit, mean > f
	printf "searched periods %.6g to %.6g %s in %d frequencies\n", min_period, max_period, unit, steps > f
	if (best == 1 || best == steps) print "warning: the peak is at the edge of the periods searched" > f
	close(f)
	printf "best period %.5g %s\n", best_period, unit
}

function write_cleaned(    f, i) {
	f = "cleaned.csv"
	print time_name "," less_mean(value_name) > f
	for (i = 1; i <= n; i++) printf "%.15g,%.9g\n", t[i], y[i] > f
	close(f)
}

# less_mean says in a column's name what was done to the values, once.
function less_mean(name) {
	return (name ~ / minus mean$/) ? name : substr(name, 1, 29) " minus mean"
}

function write_votable(    f, k) {
	f = "periodogram.vot"
	print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>" > f
	print "<VOTABLE version=\"1.4\" xmlns=\"http://www.ivoa.net/xml/VOTable/v1.3\">" > f
	print "<RESOURCE type=\"results\">" > f
	print "<DESCRIPTION>Lomb-Scargle periodogram of " xml(value_name) "</DESCRIPTION>" > f
	print "<INFO name=\"QUERY_STATUS\" value=\"OK\"/>" > f
	print "<TABLE name=\"periodogram\" nrows=\"" steps "\">" > f
	printf "<PARAM name=\"best_period\" datatype=\"double\" unit=\"%s\" ucd=\"time.period;stat.max\" value=\"%.9g\"><DESCRIPTION>Period of the highest peak</DESCRIPTION></PARAM>\n", unit, best_period > f
	printf "<PARAM name=\"false_alarm_probability\" datatype=\"double\" ucd=\"stat.probability\" value=\"%.3g\"><DESCRIPTION>Chance that noise alone has a peak as high</DESCRIPTION></PARAM>\n", false_alarm() > f
	print "<FIELD name=\"frequency\" datatype=\"double\" unit=\"" unit "**-1\" ucd=\"arith.rate\"><DESCRIPTION>Trial frequency</DESCRIPTION></FIELD>" > f
	print "<FIELD name=\"period\" datatype=\"double\" unit=\"" unit "\" ucd=\"time.period\"><DESCRIPTION>Trial period</DESCRIPTION></FIELD>" > f
	print "<FIELD name=\"power\" datatype=\"double\" ucd=\"stat.fourier\"><DESCRIPTION>Share of the variance that a sine of this period explains</DESCRIPTION></FIELD>" > f
	print "<DATA><TABLEDATA>" > f
	for (k = 1; k <= steps; k++) printf "<TR><TD>%.9g</TD><TD>%.9g</TD><TD>%.6g</TD></TR>\n", freq[k], 1 / freq[k], power[k] > f
	print "</TABLEDATA></DATA>" > f
	print "</TABLE>" > f
	print "</RESOURCE>" > f
	print "</VOTABLE>" > f
	close(f)
}

# x_of and y_of place a period (logarithmic) and a power on the plot.
function x_of(period) { return left + width * ln(period / min_period) / ln(max_period / min_period) }
function y_of(p) { return top + height * (1 - p / ceiling) }

function write_plot(    f, k, step, v, x, decade, m, side, anchor) {
	f = "periodogram.svg"
	left = 80; top = 60; width = 780; height = 340
	step = nice(best_power * 1.15 / 5)
	ceiling = step * (int(best_power * 1.15 / step) + 1)
	print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>" > f
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 480\" width=\"900\" height=\"480\" role=\"img\" aria-labelledby=\"t d\" font-family=\"sans-serif\" font-size=\"14\" fill=\"#222\">" > f
	print "<title id=\"t\">Lomb-Scargle periodogram of " xml(value_name) "</title>" > f
	printf "<desc id=\"d\">Power over period from %.4g to %.4g %s. The highest peak, of power %.3g, is at %.5g %s.</desc>\n", min_period, max_period, unit, best_power, best_period, unit > f
	print "<rect width=\"900\" height=\"480\" fill=\"#fff\"/>" > f
	print "<text x=\"80\" y=\"36\" font-size=\"18\">Lomb-Scargle periodogram of " xml(value_name) "</text>" > f
	for (v = 0; v < ceiling + step / 2; v += step)
		printf "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n", left, y_of(v), left + width, left - 8, y_of(v) + 5, v > f
	decade = power_of_ten(min_period)
	for (; decade <= max_period * 1.0001; decade *= 10) {
		split("1 2 5", m, " ")
		for (k = 1; k <= 3; k++) {
			v = decade * m[k]
			if (v < min_period * 0.9999 || v > max_period * 1.0001 || (k > 1 && max_period / min_period > 1e5)) continue
			printf "<path d=\"M%.1f %dv6\" stroke=\"#222\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n", x_of(v), top + height, x_of(v), top + height + 22, v > f
		}
	}
	printf "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#222\"/>\n", left, top, top + height, left + width > f
	printf "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">period [%s]</text>\n", left + width / 2, top + height + 50, unit > f
	printf "<text transform=\"translate(24 %d) rotate(-90)\" text-anchor=\"middle\">power (share of variance)</text>\n", top + height / 2 > f
	printf "<polyline fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"1.5\" stroke-linejoin=\"round\" points=\"" > f
	curve(f)
	print "\"/>" > f
	x = x_of(best_period)
	side = (x > left + width * 0.7) ? -1 : 1
	anchor = (side == 1) ? "start" : "end"
	printf "<path d=\"M%.1f %dV%.1f\" stroke=\"#b3261e\" stroke-dasharray=\"4 4\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"#b3261e\"/>\n", x, top + height, y_of(best_power), x, y_of(best_power) > f
	printf "<text x=\"%.1f\" y=\"%.1f\" font-weight=\"bold\" fill=\"#b3261e\" text-anchor=\"%s\">best period %.5g %s</text>\n", x + side * 12, y_of(best_power) + 5, anchor, best_period, unit > f
	print "</svg>" > f
	close(f)
}

# nice rounds a tick distance up to 1, 2 or 5 times a power of ten.
function nice(v,    p) {
	p = power_of_ten(v)
	v /= p
	return p * (v <= 1 ? 1 : v <= 2 ? 2 : v <= 5 ? 5 : 10)
}

# curve writes the points of the line from left to right: all of them, or the lowest and the highest
# of each third of a pixel when there are many.
function curve(f,    k, x, column, low_k, high_k) {
	column = -1
	for (k = steps; k >= 1; k--) {
		x = int(x_of(1 / freq[k]) * 3)
		if (steps < 4000) {
			printf "%.1f,%.1f ", x_of(1 / freq[k]), y_of(power[k]) > f
			continue
		}
		if (x != column && column >= 0) {
			printf "%.1f,%.1f %.1f,%.1f ", column / 3, y_of(power[low_k]), column / 3, y_of(power[high_k]) > f
			low_k = high_k = k
		}
		if (column < 0) low_k = high_k = k
		column = x
		if (power[k] < power[low_k]) low_k = k
		if (power[k] > power[high_k]) high_k = k
	}
	if (steps >= 4000) printf "%.1f,%.1f %.1f,%.1f", column / 3, y_of(power[low_k]), column / 3, y_of(power[high_k]) > f
}

# power_of_ten returns the greatest power of ten that is not above v.
function power_of_ten(v,    p) {
	for (p = 1; p > v; p /= 10) ;
	for (; p * 10 <= v; p *= 10) ;
	return p
}

function sine(x,    term, sum, i) {
	x -= 2 * pi * int(x / (2 * pi))
	term = sum = x
	for (i = 2; i < 40; i += 2) {
		term *= -x * x / (i * (i + 1))
		sum += term
	}
	return sum
}

function cosine(x,    term, sum, i) {
	x -= 2 * pi * int(x / (2 * pi))
	term = sum = 1
	for (i = 1; i < 40; i += 2) {
		term *= -x * x / (i * (i + 1))
		sum += term
	}
	return sum
}

# root is the square root of 0 and above, by Newton's method.
function root(x,    r, i, last_r) {
	if (x <= 0) return 0
	r = (x > 1) ? x : 1
	for (i = 0; i < 600; i++) {
		last_r = r
		r = (r + x / r) / 2
		if (r >= last_r) return last_r
	}
	return r
}

function ln(x,    k, z, zz, term, sum) {
	for (k = 0; x > 1.5; k++) x /= 2
	for (; x < 0.75; k--) x *= 2
	z = term = (x - 1) / (x + 1)
	zz = z * z
	sum = 0
	for (x = 1; x < 30; x += 2) {
		sum += term / x
		term *= zz
	}
	return 2 * sum + k * ln2
}

function exponential(x,    k, term, sum, i) {
	if (x < -740) return 0
	k = int(x / ln2)
	x -= k * ln2
	term = sum = 1
	for (i = 1; i < 25; i++) {
		term *= x / i
		sum += term
	}
	for (; k > 0; k--) sum *= 2
	for (; k < 0; k++) sum /= 2
	return sum
}
