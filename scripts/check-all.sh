#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make check ARCH=all: the tests of every architecture and page size, one after the other, also when one fails. Failures
# are repeated at the end, and the last line counts everything. Pages of 16 and 64 KiB are tested with the Rust
# implementation only, unless FULL=1. CHECK_MINUTES=n leaves out, and says so, what would not be over in time.
. "$(dirname "$0")/lib.sh"

cd "$TOP" || exit
outputs=() failed='' left_out=()
# The last figure: minutes that it takes at most, with its kernel built afresh.
for variant in "x86_64 4k 0" "arm64 4k 25" "arm64 16k 25" "arm64 64k 25"; do
	# shellcheck disable=SC2086
	set -- $variant
	if [ -n "${CHECK_MINUTES:-}" ] && [ $((SECONDS / 60 + $3)) -gt "$CHECK_MINUTES" ]; then
		left_out+=("$1, pages of $2")
		continue
	fi
	impls=${CHECK_IMPLS:-}
	if [ "$2" != 4k ] && [ "${FULL:-0}" = 0 ] && [ -z "$impls" ]; then impls=rust; fi
	say "$1, pages of $2"
	output=$LOGS/check-$1-$2.log
	outputs+=("$output")
	CHECK_IMPLS=$impls CHECK_MINUTES=${CHECK_MINUTES:+$((CHECK_MINUTES - SECONDS / 60))} make --no-print-directory check "ARCH=$1" "PAGE_SIZE=$2" 2>&1 | tee "$output" || failed="$failed $1-$2"
done
say "All of it, after $(elapsed $SECONDS)"
for output in "${outputs[@]}"; do
	# What check.py repeats behind its table; or its last words, if it did not get there.
	if grep -q '^Results, after' "$output"; then
		sed -n '/^Results, after/,$p' "$output" | grep -A1000 ':$' | grep '^ ' || true
	else
		printf '  %s:\n' "$output"
		tail -n 5 "$output" | sed 's/^/    /'
	fi
done
for variant in "${left_out[@]}"; do
	say "  left out, as it would not be over in CHECK_MINUTES=$CHECK_MINUTES: $variant"
done
awk -v left="${#left_out[@]}" '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped/ { p += $1; f += $3; s += $5; n++ }
	END { printf "%d passed, %d failed, %d skipped\n", p, f + (ARGC - 1 - n), s + left }' "${outputs[@]}"
[ -z "$failed" ] || exit 1
