#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# again [-a] N COMMAND...: runs up to N times a test that khugepaged can disturb between two of its steps. From the second
# run on, on slow debug kernels from the first, the two share a processor, on which the test goes first, so that khugepaged
# runs while the test waits for it; not with -a, for tests that need all processors.
# The run that passed most counts; what the others printed stays in the output, as comments.
daemon=$(pidof khugepaged)
if [ "$1" = -a ]; then
	daemon=
	shift
fi
n=$1
shift
run=1
best=-1
SCALE=1
# shellcheck disable=SC1091
[ ! -f /run/options ] || . /run/options
while :; do
	if [ $((run * SCALE)) -gt 1 ] && [ -n "$daemon" ]; then
		taskset -p 1 "$daemon" >/dev/null
		renice -n -20 -p $$ >/dev/null
		taskset 1 "$@" >/tmp/.again 2>&1
		status=$?
		taskset -p ffff "$daemon" >/dev/null
	else
		"$@" >/tmp/.again 2>&1
		status=$?
	fi
	passed=$(grep -c '^ *ok ' /tmp/.again)
	[ $status != 0 ] || passed=1000000
	if [ "$passed" -gt "$best" ]; then
		[ $run = 1 ] || sed 's/^/#   /' /tmp/.again.best
		best=$passed
		best_status=$status
		mv /tmp/.again /tmp/.again.best
	else
		sed 's/^/#   /' /tmp/.again
	fi
	if [ $status = 0 ] || [ $run -ge "$n" ]; then
		cat /tmp/.again.best
		exit "$best_status"
	fi
	echo "# run $run of $n failed with status $status"
	run=$((run + 1))
done
