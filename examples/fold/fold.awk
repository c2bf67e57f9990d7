# Folds a CSV of time and value at a period, for any POSIX awk, also one without a maths library.

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

BEGIN { FS = ","; n = 0; header = 0 }

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
	fold()
	write_votable()
	write_plot()
	printf "folded %d points at %.6g %s, epoch %.9g\n", n, period, unit, epoch
}

function check_input(    i) {
	if (n < 2) fail("the series has " n " usable rows; at least 2 are needed")
	if (epoch != "") {
		epoch += 0
		return
	}
	epoch = t[1]
	for (i = 2; i <= n; i++) if (t[i] < epoch) epoch = t[i]
}

# fold fills cycle[], phase[] and the bins, and finds the range of the values.
function fold(    i, turns, b) {
	lowest = highest = y[1]
	for (i = 1; i <= n; i++) {
		turns = (t[i] - epoch) / period
		if (turns > 1e15 || turns < -1e15) fail("the period is too short for the times of the series")
		cycle[i] = int(turns)
		if (cycle[i] > turns) cycle[i]--
		phase[i] = turns - cycle[i]
		b = int(phase[i] * bins)
		if (b >= bins) b = bins - 1
		bin_n[b]++
		bin_sum[b] += y[i]
		if (y[i] < lowest) lowest = y[i]
		if (y[i] > highest) highest = y[i]
	}
}

function write_votable(    f, i) {
	f = "folded.vot"
	print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>" > f
	print "<VOTABLE version=\"1.4\" xmlns=\"http://www.ivoa.net/xml/VOTable/v1.3\">" > f
	print "<RESOURCE type=\"results\">" > f
	print "<DESCRIPTION>" xml(value_name) " folded at a period</DESCRIPTION>" > f
	print "<INFO name=\"QUERY_STATUS\" value=\"OK\"/>" > f
	print "<TABLE name=\"folded\" nrows=\"" n "\">" > f
	printf "<PARAM name=\"period\" datatype=\"double\" unit=\"%s\" ucd=\"time.period\" value=\"%.12g\"><DESCRIPTION>Period of the folding</DESCRIPTION></PARAM>\n", unit, period > f
	printf "<PARAM name=\"epoch\" datatype=\"double\" unit=\"%s\" ucd=\"time.epoch\" value=\"%.15g\"><DESCRIPTION>Time of phase 0</DESCRIPTION></PARAM>\n", unit, epoch > f
	print "<FIELD name=\"time\" datatype=\"double\" unit=\"" unit "\" ucd=\"time.epoch\"><DESCRIPTION>Time, column " xml(time_name) " of the series</DESCRIPTION></FIELD>" > f
	print "<FIELD name=\"cycle\" datatype=\"long\" ucd=\"meta.number\"><DESCRIPTION>Whole periods since the epoch</DESCRIPTION></FIELD>" > f
	print "<FIELD name=\"phase\" datatype=\"double\" ucd=\"time.phase\"><DESCRIPTION>Part of the period that has passed, from 0 to 1</DESCRIPTION></FIELD>" > f
	print "<FIELD name=\"value\" datatype=\"double\" ucd=\"stat.value\"><DESCRIPTION>Value, column " xml(value_name) " of the series</DESCRIPTION></FIELD>" > f
	print "<DATA><TABLEDATA>" > f
	for (i = 1; i <= n; i++) printf "<TR><TD>%.15g</TD><TD>%.0f</TD><TD>%.9g</TD><TD>%.9g</TD></TR>\n", t[i], cycle[i], phase[i], y[i] > f
	print "</TABLEDATA></DATA>" > f
	print "</TABLE>" > f
	print "</RESOURCE>" > f
	print "</VOTABLE>" > f
	close(f)
}

function x_of(p) { return left + width * p / 2 }
function y_of(v) { return top + height * (ceiling - v) / (ceiling - base) }

function write_plot(    f, i, v, range, step, shift, stride) {
	f = "folded.svg"
	left = 90; top = 60; width = 770; height = 340
	range = (highest > lowest) ? highest - lowest : 1
	step = nice(range / 5)
	base = lowest - range / 20 # the axis is nowhere near a point
	ceiling = highest + range / 20
	stride = int(n / 4000) + 1
	print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>" > f
	print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 480\" width=\"900\" height=\"480\" role=\"img\" aria-labelledby=\"t d\" font-family=\"sans-serif\" font-size=\"14\" fill=\"#222\">" > f
	printf "<title id=\"t\">%s folded at %.5g %s</title>\n", xml(value_name), period, unit > f
	printf "<desc id=\"d\">%d points from %.4g to %.4g over phase, two cycles, with the means of %d bins.</desc>\n", n, lowest, highest, bins > f
	print "<rect width=\"900\" height=\"480\" fill=\"#fff\"/>" > f
	printf "<text x=\"%d\" y=\"36\" font-size=\"18\">%s folded at %.5g %s</text>\n", left, xml(value_name), period, unit > f
	for (v = -step * floor(-base / step); v <= ceiling; v += step)
		printf "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n", left, y_of(v), left + width, left - 8, y_of(v) + 5, tidy(v, step) > f
	for (v = 0; v < 2.1; v += 0.5)
		printf "<path d=\"M%.1f %dv6\" stroke=\"#222\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.1f</text>\n", x_of(v), top + height, x_of(v), top + height + 22, v > f
	printf "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#222\"/>\n", left, top, top + height, left + width > f
	printf "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">phase</text>\n", left + width / 2, top + height + 50 > f
	printf "<text transform=\"translate(24 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", top + height / 2, xml(value_name) > f
	print "<g fill=\"#1f5fa8\" fill-opacity=\"0.5\">" > f
	for (i = 1; i <= n; i += stride)
		for (shift = 0; shift < 2; shift++) printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n", x_of(phase[i] + shift), y_of(y[i]) > f
	print "</g>" > f
	printf "<polyline fill=\"none\" stroke=\"#b3261e\" stroke-width=\"2.5\" stroke-linejoin=\"round\" points=\"" > f
	for (shift = 0; shift < 2; shift++)
		for (i = 0; i < bins; i++)
			if (bin_n[i] > 0) printf "%.1f,%.1f ", x_of(shift + (i + 0.5) / bins), y_of(bin_sum[i] / bin_n[i]) > f
	print "\"><title>mean of each bin</title></polyline>" > f
	print "</svg>" > f
	close(f)
}

function floor(x) { return (int(x) > x) ? int(x) - 1 : int(x) }

# tidy keeps a tick that should be 0 from being written as 1e-17.
function tidy(v, step) { return (v < step / 1000 && v > -step / 1000) ? 0 : v }

# nice rounds a tick distance up to 1, 2 or 5 times a power of ten.
function nice(v,    p) {
	p = power_of_ten(v)
	v /= p
	return p * (v <= 1 ? 1 : v <= 2 ? 2 : v <= 5 ? 5 : 10)
}

# power_of_ten returns the greatest power of ten that is not above v.
function power_of_ten(v,    p) {
	for (p = 1; p > v; p /= 10) ;
	for (; p * 10 <= v; p *= 10) ;
	return p
}
