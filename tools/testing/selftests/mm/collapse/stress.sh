#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Goes through the file "classes": each failure class that collapse code is known for, by the tests that would notice it.
# Prints TAP, a point for each class and test. Needs root and nothing but the programs of this directory, which may be
# linked statically and copied to any machine with Linux 7.3; what a kernel has not is skipped. Knobs are put back.

HERE=$(dirname "$0")

usage() {
	cat <<-END
	usage: ${0##*/} [-s SECONDS | -m MINUTES] [-w MICROSECONDS] [-l] [CLASS...]
	  -s SECONDS       how long each racing class goes on (${SECONDS_EACH}); shared by its races
	  -m MINUTES       the same in minutes
	  -w MICROSECONDS  how long collapses are held up where they could lose a race (${WIDEN}; 0: not at all)
	  -l               lists the classes and their tests
	  CLASS...         these only, for example: 16 N3
	Files on ext4 and xfs are tested if they are mounted at /mnt/ext4 and /mnt/xfs. RACE_CUT=1 adds races with
	truncation on these, on which khugepaged in C deadlocks; SWAP_CUT=1 a test after which Linux 7.3 as it is spins
	for ever.
	END
}

fail() {
	echo "${0##*/}: $*" >&2
	exit 2
}

# The rows of the classes asked for.
rows() {
	grep -v '^#' classes | while IFS="$TAB" read -r id tests title; do
		[ -z "$ONLY" ] || case " $ONLY " in *" $id "*) ;; *) continue ;; esac
		printf '%s\t%s\t%s\n' "$id" "$tests" "$title"
	done
}

is_race() { case $1 in races:* | file_races:*) true ;; *) false ;; esac }

# Into how many runs a race is split: one for each variant.
variants() { "./$1" -l 2>&1 | awk '!/^[#-]/ && substr($0, 22, 25) !~ /^ *$/ { n++ } END { print n ? n : 1 }'; }

SPLAT='BUG:|kernel BUG|WARNING:|KASAN:|UBSAN:|Oops|general protection|possible (circular|recursive)|suspicious RCU'
SPLAT="$SPLAT"'|INFO: task .* blocked|detected stall|panicked at|Bad page|Bad rss|non-zero pgtables_bytes|list_(add|del) corruption|refcount_t:'

# What the kernel has said since the mark.
splats() { dmesg 2>/dev/null | sed "1,/stress: begin $1 /d" | grep -E "$SPLAT" | grep -v 'stress: begin'; }

# Runs PROGRAM:TEST for so many seconds; leaves "passed", "failed" or "skipped", and a reason.
run_test() {
	program=${1%%:*} test=${1#*:} seconds=$2 mark="$$-$((runs += 1))"
	end=$(($(date +%s) + seconds))
	outcome=skipped why="this kernel or machine has no such thing"
	if [ ! -x "./$program" ]; then
		why="there is no program $program here"
		return
	fi
	"./$program" -l >"$OUT" 2>&1
	if grep -q '^1\.\.0 # SKIP' "$OUT"; then
		why=$(sed -n 's/^1\.\.0 # SKIP *//p' "$OUT")
		return
	elif ! awk '{ print $NF }' "$OUT" | grep -qx "$test"; then
		outcome=failed why="$program has no such test"
		return
	fi
	echo "stress: begin $mark $1" >/dev/kmsg 2>/dev/null
	[ "$seconds" = 0 ] || ! is_race "$1" || seconds=$((seconds / $(variants "$program")))
	while :; do
		RACE_SECONDS=$((seconds > 0 ? seconds : 1)) "./$program" -t "$test" >"$OUT" 2>&1
		status=$?
		found=$(splats "$mark")
		grep -E '^[[:space:]]*(ok|not ok|# )' "$OUT" | grep -vE '^# ( *RUN| *OK|Starting|Totals|PASSED|FAILED)' | sed 's/^[ #]*/# /'
		if [ -n "$found" ]; then
			echo "$found" | sed 's/^/# kernel: /'
			outcome=failed why="the kernel complains"
			return
		elif [ $status -ne 0 ] && [ $status -ne 4 ]; then
			outcome=failed why="exit status $status"
			return
		elif grep -qE '^ok .*' "$OUT" && grep -E '^ok ' "$OUT" | grep -qv '# SKIP'; then
			outcome=passed why=
		elif [ $outcome != passed ]; then
			reason=$(sed -n 's/.*# SKIP *//p' "$OUT" | sort | uniq -c | sort -rn | sed -n '1s/^ *[0-9]* *//p')
			why=${reason:-$why}
		fi
		{ [ -n "$3" ] && [ "$(date +%s)" -lt $end ]; } || return
	done
}

# The probes stay for as long as this script runs: see widen.c.
widen() {
	[ "$WIDEN" != 0 ] || return
	./widened --hold "$WIDEN" >"$WORK/widened" 2>&1 &
	holder=$! tries=0
	until [ -s "$WORK/widened" ] || [ $tries = 600 ]; do sleep 0.1; tries=$((tries + 1)); done
	sed 's/^/# /' "$WORK/widened"
}

# shellcheck disable=SC2317
leave() {
	# Nothing else should run while the probes go: see widen.c.
	[ -z "$holder" ] || { kill "$holder" && wait "$holder"; } 2>/dev/null
	rm -rf "$WORK"
}

point() {
	number=$((number + 1))
	case $2 in
	passed) echo "ok $number $1" ;;
	skipped) echo "ok $number $1 # SKIP $3" ;;
	*) echo "not ok $number $1 # $3" ;;
	esac
}

TAB=$(printf '\t') SECONDS_EACH=4 WIDEN=100 ONLY='' number=0 runs=0 failures=0 list='' holder=''
while getopts s:m:w:lh option; do
	case $option in
	s) SECONDS_EACH=$OPTARG ;;
	m) SECONDS_EACH=$((OPTARG * 60)) ;;
	w) WIDEN=$OPTARG ;;
	l) list=yes ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
ONLY=$*
for number in $SECONDS_EACH $WIDEN; do
	case $number in *[!0-9]*) fail "not a number: $number" ;; esac
done
number=0
cd "$HERE" || exit 2
[ -r classes ] || fail "there is no file \"classes\" beside this script"
for id in $ONLY; do
	grep -q "^$id$TAB" classes || fail "there is no class $id (-l lists them)"
done
if [ -n "$list" ]; then
	rows | while IFS="$TAB" read -r id tests title; do printf '%-4s %s\n       %s\n' "$id" "$title" "$tests"; done
	exit 0
fi
[ "$(id -u)" = 0 ] || fail "has to be run by root"
[ -d /sys/kernel/mm/transparent_hugepage ] || fail "this kernel has no transparent huge pages"

WORK=$(mktemp -d) || exit 2
OUT=$WORK/out
trap leave EXIT
trap 'exit 130' INT TERM
rows >"$WORK/rows"
widen
echo "TAP version 13"
echo "1..$(awk -F'\t' '{ n += split($2, tests, " ") } END { print n }' "$WORK/rows")"
while IFS="$TAB" read -r id tests title <&3; do
	echo "# class $id: $title"
	if [ "$tests" = - ]; then
		point "$id" skipped "$title"
		continue
	fi
	# A class has its time for all of its races together.
	races=0
	for test in $tests; do
		case $test in races:* | file_races:* | *\*) races=$((races + 1)) ;; esac
	done
	for test in $tests; do
		star='' name=${test%\*}
		[ "$name" = "$test" ] || star=again
		done=$WORK/$(echo "$name" | tr : -)
		if [ ! -e "$done" ]; then
			each=0
			[ -z "$star" ] && ! is_race "$name" || each=$((SECONDS_EACH / races))
			run_test "$name" "$each" $star
			printf '%s\n%s\n' "$outcome" "$why" >"$done"
		fi
		{ read -r outcome; read -r why; } <"$done"
		[ "$outcome" != failed ] || failures=$((failures + 1))
		point "$id $name" "$outcome" "$why"
	done
done 3<"$WORK/rows"
[ $failures = 0 ]
