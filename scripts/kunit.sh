#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# In the guest: runs one KUnit suite through debugfs and prints its results as KTAP.
dir=/sys/kernel/debug/kunit/$1
if [ ! -f "$dir/run" ]; then
	echo "1..0 # SKIP this kernel has no KUnit suite $1 (suites: $(ls /sys/kernel/debug/kunit 2>/dev/null | tr '\n' ' '))"
	exit 4
fi
echo 1 >"$dir/run" || exit 1
cat "$dir/results"
# The last line is the verdict on the suite.
tail -n 1 "$dir/results" | grep -q '^ok '
