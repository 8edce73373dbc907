# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2154
# Sourced: what tests have in common that use a file while churn collapses and splits it.
# $dir is where the file is; $here has churn.

here=$(cd "$(dirname "$0")" && pwd)
point=0
failed=0

# result STATUS WORDS: a test point
result() {
	point=$((point + 1))
	if [ "$1" = 0 ]; then
		echo "ok $point $2"
	else
		echo "# wrong: not so: $2"
		echo "not ok $point $2"
		failed=1
	fi
}

# shrinks WORD: whether operations are asked for, by the word "shrink", that take pages out of the page cache under the
# mapping's invalidate_lock. khugepaged in C reads ahead, which takes this lock, with folios of the range locked, for
# which these operations wait while they hold it: on a file on a disk both sleep for ever.
shrinks() { [ "$1" = shrink ] || [ "$(fs_of "$dir")" = tmpfs ]; }

finish() { exit $failed; }

skip_all() {
	echo "1..0 # SKIP $1"
	exit 4
}

# The file system of a directory: the last one mounted there or above.
fs_of() { df -T "$1" | awk 'NR == 2 { print $2 }'; }

churn_start() {
	: >>"$1"
	"$here/churn" "$1" "$2" &
	churn=$!
}

churn_end() {
	kill $churn
	wait $churn
	result $? "the file was collapsed meanwhile"
}

# What is in memory only would be lost here.
drop_cache() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}
