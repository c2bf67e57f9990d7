#!/bin/sh
# Runs the program of one Consort attempt, at most once, and records how it ended.
# Text from elsewhere stands in single quotes only. Every line works in any POSIX shell.

LC_ALL=C
PATH=/usr/bin:/bin${PATH:+:$PATH}
umask 077
dir=@DIR@
job=@JOB@
epoch=@EPOCH@
workdir=@WORKDIR@
stdin=@STDIN@
stdout=@STDOUT@
stderr=@STDERR@
pid=
caught=

# The kernel's id of this boot tells later whether our process number still means us.
boot=-
[ ! -r /proc/sys/kernel/random/boot_id ] || read -r boot </proc/sys/kernel/random/boot_id

# With noclobber the file is made exclusively: whoever comes second runs nothing.
set -C
printf 'consort-started 1\njob %s\nepoch %s\npid %s\nboot %s\ndone\n' "$job" "$epoch" "$$" "$boot" >"$dir/started" || exit 75
set +C

host=
[ ! -r /proc/sys/kernel/hostname ] || read -r host </proc/sys/kernel/hostname
[ -n "$host" ] || host=$(uname -n)

# finish STATUS [WHAT]: records the end; WHAT names what kept the program from starting. The times of
# start and end are those of the files started and exit: asking date for them would cost two processes.
finish() {
	trap '' TERM HUP USR1 USR2 XCPU # nothing is left to forward to
	{
		printf 'consort-exit 1\njob %s\nepoch %s\nhost %s\npid %s\nboot %s\n' "$job" "$epoch" "$host" "$$" "$boot" &&
			printf 'status %s\nerror %s\n' "$1" "${2:--}" &&
			times &&
			echo done
	} >"$dir/exit.$$" && mv -f "$dir/exit.$$" "$dir/exit" || exit 74
	case $1 in
	99 | 100) exit 1 ;; # Grid Engine would run the job again
	esac
	exit "$1"
}

forward() {
	caught=$1
	[ -z "$pid" ] || kill -s "$1" "$pid" 2>/dev/null
}
trap 'forward TERM' TERM
trap 'forward HUP' HUP
trap 'forward USR1' USR1
trap 'forward USR2' USR2
trap 'forward XCPU' XCPU

cd "$workdir" || finish 126 workdir
command : <"$stdin" || finish 126 stdin
command : >>"$stdout" || finish 126 stdout
command : >>"$stderr" || finish 126 stderr

@REPORTS@[ -z "$caught" ] || finish 143 signal

# As everything that a shell runs behind itself, the program begins with INT and QUIT ignored.
env -i --@COMMAND@ <"$stdin" >>"$stdout" 2>>"$stderr" &
pid=$!
[ -z "$caught" ] || kill -s "$caught" "$pid" 2>/dev/null

# A signal ends wait early, so wait again. When the program ended in that very moment, its status has
# been told already, and the second wait does not know the process any more.
before=
while :; do
	caught=
	wait "$pid"
	status=$?
	[ -n "$caught" ] || break
	before=$status
done
[ "$status" != 127 ] || [ -z "$before" ] || status=$before
finish "$status"
# end of the wrapper
