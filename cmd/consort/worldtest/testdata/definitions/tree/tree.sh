#!/bin/sh
# A child, a grandchild, and one in a session of its own: ending the job must end them all.
echo "$CONSORT_JOB $CONSORT_EPOCH $$" >>'@MARKS@'
sleep 600 &
(sleep 600 & wait) &
setsid sleep 600 &
echo growing
echo "something to say" >&2
wait
