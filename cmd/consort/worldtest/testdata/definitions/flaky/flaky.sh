#!/bin/sh
if ! grep -q "^$CONSORT_JOB " '@MARKS@' 2>/dev/null; then
	echo "$CONSORT_JOB $CONSORT_EPOCH $$" >>'@MARKS@'
	echo "flaky: try again" >&2
	exit 75
fi
echo "$CONSORT_JOB $CONSORT_EPOCH $$" >>'@MARKS@'
echo "done at last" >answer.txt
