#!/bin/sh
# usage: run.sh [-t THRESHOLD] [-r RADIUS] [-s SEED]
#
# Simulates two images of one star field, with different noise, makes a catalogue of each, and matches the two: five
# jobs, each of which takes the results of the ones before by their names, so that no file goes through this machine.
# Prints the definition and the id of each job. Where the server is, and who you are, is told as to every command, by
# CONSORT_SERVER and CONSORT_TOKEN_FILE; CONSORT names the program if it is not in the PATH.
set -eu

threshold=2 radius=1.5 seed=1
while getopts t:r:s: option; do
	case $option in
	t) threshold=$OPTARG ;;
	r) radius=$OPTARG ;;
	s) seed=$OPTARG ;;
	*)
		echo "usage: $0 [-t THRESHOLD] [-r RADIUS] [-s SEED]" >&2
		exit 2
		;;
	esac
done
shift $((OPTIND - 1))
if [ $# -gt 0 ]; then
	echo "$0: $1 is not expected" >&2
	exit 2
fi

# submit creates a job and sets job to its id.
submit() {
	job=$("${CONSORT:-consort}" --quiet job submit "$@")
	echo "$1 $job"
}

# finish waits until the jobs have ended; should one not be COMPLETED, this script ends too, with a status that says how.
finish() {
	"${CONSORT:-consort}" --quiet job wait "$@" >&2
}

submit star-field -p seed="$seed" -p noise_seed=1
field1=$job
submit star-field -p seed="$seed" -p noise_seed=2
field2=$job
finish "$field1" "$field2"

submit source-catalogue -f image="consort:$field1/image" -p threshold="$threshold"
catalogue1=$job
submit source-catalogue -f image="consort:$field2/image" -p threshold="$threshold"
catalogue2=$job
finish "$catalogue1" "$catalogue2"

submit catalogue-match -f first="consort:$catalogue1/catalogue" -f second="consort:$catalogue2/catalogue" -p radius="$radius"
finish "$job"
