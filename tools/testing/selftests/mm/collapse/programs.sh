#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# programs.sh stress-ng | redis | sqlite DIR | compile DIR: programs that others have written, and that know what their
# memory and files must hold, while khugepaged collapses all that it can as fast as it can, and "herd" does so from
# outside, and splits it again. PROGRAM_SECONDS (10) each.
# The programs are those of any distribution; one that is not there is skipped.

HERE=$(cd "$(dirname "$0")" && pwd)
THP=/sys/kernel/mm/transparent_hugepage
LIMIT=${PROGRAM_SECONDS:-10}
WORK=/tmp/programs.$$
point=0 failed=0

skip_all() {
	echo "1..0 # SKIP $1"
	exit 4
}

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

# Says what a program printed, if it failed.
said() { [ "$1" = 0 ] || tail -n 40 "$2" | sed 's/^/# /'; }

chosen() { sed 's/.*\[\(.*\)\].*/\1/' "$1"; }

KNOBS="enabled shmem_enabled khugepaged/scan_sleep_millisecs khugepaged/alloc_sleep_millisecs khugepaged/pages_to_scan
khugepaged/max_ptes_none"

# everything_on NAME: the daemon runs, and herd for the processes of this name.
everything_on() {
	for knob in $KNOBS; do echo "$knob $(chosen "$THP/$knob")"; done >"$WORK/knobs"
	trap restore EXIT
	trap 'exit 130' INT TERM
	echo always >$THP/enabled
	echo always >$THP/shmem_enabled
	echo 511 >$THP/khugepaged/max_ptes_none
	echo 1 >$THP/khugepaged/alloc_sleep_millisecs
	echo 100000 >$THP/khugepaged/pages_to_scan
	echo 0 >$THP/khugepaged/scan_sleep_millisecs
	"$HERE/herd" "$1" >"$WORK/herd" 2>&1 &
	herd=$!
}

# shellcheck disable=SC2317
restore() {
	while read -r knob value; do echo "$value" >"$THP/$knob"; done <"$WORK/knobs"
	rm -rf "$WORK"
}

finish() {
	kill $herd
	wait $herd
	sed 's/^/# /' "$WORK/herd"
	grep -q '^[1-9][0-9]* collapses' "$WORK/herd"
	result $? "its memory was collapsed meanwhile"
	exit $failed
}

need() { command -v "$1" >/dev/null || skip_all "no $1 here"; }

over() { [ "$(date +%s)" -ge "$end" ]; }

run_stress_ng() {
	need stress-ng
	need start-stop-daemon
	echo 1..6
	everything_on stress-ng
	each=$(((LIMIT + 4) / 5))
	for what in "vm 2 --vm-bytes 48M --vm-method all" "fork 1 --mmapfork 1" "madvise 2" "userfaultfd 1 --mremap 1 --mremap-bytes 16M" \
		"memfd 1 --shm 1 --mmap 1 --mmap-bytes 32M"; do
		# As root, madvise would poison memory, which is the end of who uses it; userfaultfd needs root.
		case $what in madvise*) who=nobody ;; *) who=root ;; esac
		# shellcheck disable=SC2086
		start-stop-daemon -S -q -c $who -x "$(command -v stress-ng)" -- --$what --verify --timeout "$each" --temp-path "$WORK" >"$WORK/log" 2>&1
		status=$?
		said $status "$WORK/log"
		result $status "stress-ng --${what%% *}"
	done
	finish
}

redis() { redis-cli -s "$WORK/socket" "$@"; }

redis_start() {
	redis-server --port 0 --unixsocket "$WORK/socket" --dir "$WORK" --save '' --daemonize yes --enable-debug-command yes \
		--disable-thp no --logfile "$WORK/log" >/dev/null
	tries=0
	until [ "$(redis PING 2>/dev/null)" = PONG ] || [ $tries = 100 ]; do sleep 0.1; tries=$((tries + 1)); done
}

# Commands that store, and those that read back: round ROUND has values of its own.
redis_commands() {
	awk -v round="$1" -v read="$2" 'BEGIN {
		filler = sprintf("%0900d", 0)
		for (n = 0; n < 3000; n++)
			if (read) print "GET k" n; else print "SET k" n " " (n * 7919 + round) filler
	}'
}

run_redis() {
	need redis-server
	need redis-cli
	echo 1..4
	everything_on redis-server
	redis_start
	end=$(($(date +%s) + LIMIT)) round=0 wrong=0
	until over; do
		round=$((round + 1))
		# A snapshot by a child that shares all pages, while they are written again.
		redis BGSAVE >/dev/null
		redis_commands $round | redis --pipe >"$WORK/pipe" 2>&1
		want=$(redis_commands $round | cut -d' ' -f3 | md5sum)
		[ "$want" = "$(redis_commands $round read | redis | md5sum)" ] || wrong=$((wrong + 1))
	done
	[ $round -gt 0 ] && [ $wrong = 0 ]
	status=$?
	said $status "$WORK/pipe"
	result $status "redis gives back what it got"
	echo "# $round rounds, $wrong of them wrong"
	tries=0
	while redis INFO persistence | grep -q 'rdb_bgsave_in_progress:1' && [ $tries -lt 600 ]; do sleep 0.1; tries=$((tries + 1)); done
	digest=$(redis DEBUG DIGEST)
	redis SAVE >/dev/null
	redis SHUTDOWN NOSAVE 2>/dev/null
	tries=0
	while [ -S "$WORK/socket" ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
	redis_start
	[ -n "$digest" ] && [ "$digest" = "$(redis DEBUG DIGEST)" ]
	result $? "what was saved is what was in memory"
	redis SHUTDOWN NOSAVE 2>/dev/null
	! grep -E 'corrupt|crash|assert' "$WORK/log"
	result $? "redis has nothing to complain of"
	finish
}

# A guest may have neither file locks nor others who use the database.
sql() { sqlite3 -vfs unix-none -cmd 'PRAGMA locking_mode = exclusive' "$@"; }

run_sqlite() {
	need sqlite3
	[ -d "$1" ] || skip_all "no directory $1"
	echo 1..4
	everything_on sqlite3
	db=$1/programs.db
	rm -f "$db"*
	end=$(($(date +%s) + LIMIT)) round=0
	echo 'CREATE TABLE t(k INTEGER PRIMARY KEY, hash BLOB, data BLOB);' | sql "$db"
	until over; do
		round=$((round + 1))
		sql "$db" >"$WORK/log" 2>&1 <<-END
			PRAGMA journal_mode = wal; PRAGMA mmap_size = 67108864; PRAGMA cache_size = -32000; PRAGMA synchronous = off;
			WITH RECURSIVE n(k) AS (SELECT $((round % 4 * 1000)) UNION ALL SELECT k + 1 FROM n LIMIT 1000)
				INSERT OR REPLACE INTO t SELECT k, '', randomblob(2000) FROM n;
			UPDATE t SET hash = sha3(data) WHERE hash = '';
			SELECT count(*) FROM t WHERE hash <> sha3(data);
		END
		[ "$(tail -n 1 "$WORK/log")" = 0 ] || break
	done
	[ $round -gt 0 ] && [ "$(tail -n 1 "$WORK/log")" = 0 ]
	status=$?
	said $status "$WORK/log"
	result $status "every row has its content"
	echo "# $round rounds"
	[ "$(sql "$db" 'PRAGMA integrity_check' | tail -n 1)" = ok ]
	result $? "the database is whole"
	sync
	echo 3 >/proc/sys/vm/drop_caches
	[ "$(sql "$db" 'SELECT count(*) FROM t WHERE hash <> sha3(data)' | tail -n 1)" = 0 ]
	result $? "so it is from the disk"
	rm -f "$db"*
	finish
}

run_compile() {
	need tcc
	[ -d "$1" ] || skip_all "no directory $1"
	echo 1..2
	everything_on tcc
	source=$1/programs.c
	awk 'BEGIN { for (n = 0; n < 15000; n++) printf "int f%d(int *a, int b)\n{\n\tfor (int i = 0; i < b; i++)\n\t\ta[i] += %d * i ^ b;\n\treturn a[b & %d];\n}\n", n, n, n % 64 }' >"$source"
	end=$(($(date +%s) + LIMIT)) round=0 status=0 sum=
	until over && [ $round -gt 1 ]; do
		round=$((round + 1))
		tcc -c "$source" -o "$1/programs.o" >"$WORK/log" 2>&1 || { status=1; break; }
		new=$(md5sum <"$1/programs.o")
		[ -z "$sum" ] || [ "$sum" = "$new" ] || { status=1; break; }
		sum=$new
	done
	said $status "$WORK/log"
	result $status "each of the compilations gives the same"
	echo "# $round compilations"
	rm -f "$1"/programs.[co]
	finish
}

mkdir -p "$WORK" || exit 1
chmod 777 "$WORK"
case $1 in
stress-ng) run_stress_ng ;;
redis) run_redis ;;
sqlite) run_sqlite "$2" ;;
compile) run_compile "$2" ;;
*)
	echo "usage: ${0##*/} stress-ng | redis | sqlite DIR | compile DIR" >&2
	exit 2
	;;
esac
