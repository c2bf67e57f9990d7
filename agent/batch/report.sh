# report N COMMAND: has the command tell a version, to the file report-N; report-N.ok says that it succeeded.
# It gets little time and no input. Of its output 4 KiB are kept, and the rest is read so that it can end.
report() {
	file=$dir/report-$1
	shift
	{
		timeout -k 1 @SECONDS@ env -i --@ENVIRONMENT@ "$@" </dev/null 2>&1 && : >"$file.ok"
	} | timeout -k 2 @SECONDS@ sh -c 'head -c 4096; exec cat >/dev/null' >"$file"
}
@CALLS@wait

