#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# ranges.sh DIR [shrink]: xfs_io writes a file by every means there is (buffered, mapped, direct) while the file is
# collapsed and split; the same is done to a file that is left in peace. Both must be equal, in memory and on the disk,
# and xfs_io must have had the same to say. With "shrink" ranges are also punched, zeroed, inserted, removed, cloned.
# shellcheck source=tools/testing/selftests/mm/collapse/churned.sh
. "$(dirname "$0")/churned.sh"
dir=$1 ops=${RANGES_OPS:-600} seed=${RANGES_SEED:-1}
mib=8

command -v xfs_io >/dev/null || skip_all "no xfs_io in this guest: make setup installs it"
[ -d "$dir" ] || skip_all "no directory $dir"
fs=$(fs_of "$dir")
if shrinks "$2"; then shrink=1; else shrink=0; fi

# Commands for xfs_io, which has the file open twice: as file 0 and, for direct I/O, as file 1.
commands() {
	awk -v ops="$ops" -v seed="$seed" -v mib=$mib -v fs="$fs" -v shrink=$shrink '
	function any(n) { return int(rand() * n) }
	# Room for the longest write: no command but an insertion makes the file longer.
	function at(unit) { return any((mib - 0.5) * 1048576 / unit) * unit }
	BEGIN {
		srand(seed)
		print "mmap -rw 0 " mib "m"
		for (i = 0; i < ops; i++) {
			kind = any(fs == "tmpfs" ? 6 : !shrink ? 7 : fs == "xfs" ? 11 : 10)
			if (kind == 0) print "pwrite -q -S " any(255) + 1, at(512), any(262144) + 1
			else if (kind == 1) print "mwrite -S " any(255) + 1, at(4096), any(131072) + 1
			else if (kind == 2) print "pread -q " at(4096), 262144
			else if (kind == 3) print any(2) ? "fsync" : "fadvise -d 0 0"
			else if (kind == 4) print "sync_range -w " at(4096), 1048576
			else if (kind == 5) print (shrink ? "fpunch " : "pread -q ") at(4096), any(64) * 4096 + 4096
			else if (kind == 6) { print "file 1"; print "pwrite -q -S " any(255) + 1, at(4096), any(16) * 4096 + 4096; print "file 0" }
			else if (kind == 7) print "falloc -k " at(4096), 131072
			else if (kind == 8) print "fzero -k " at(4096), any(16) * 4096 + 4096
			else if (kind == 9) { print "finsert " at(4096) " 65536"; print "fcollapse " at(4096) " 65536" }
			else print "reflink FILE " at(4096), at(4096), 65536
		}
		print "fsync"
	}'
}

# apply FILE: fills it and does all that to it; prints what xfs_io has to say.
apply() {
	xfs_io -f -c "pwrite -q -S 0x77 0 ${mib}m" "$1" 2>&1
	{
		[ "$fs" = tmpfs ] || printf 'open -d %s\nfile 0\n' "$1"
		sed "s#FILE#$1#" /tmp/ranges.commands
	} | xfs_io "$1" 2>&1 | sed -e "s#$1#FILE#g" -e '/ ops; /d'
}

echo 1..5
rm -f "$dir/quiet" "$dir/churn"
commands >/tmp/ranges.commands
apply "$dir/quiet" >/tmp/ranges.quiet
churn_start "$dir/churn" $mib
apply "$dir/churn" >/tmp/ranges.churn
churn_end
diff /tmp/ranges.quiet /tmp/ranges.churn | head -20 | sed 's/^/# /'
cmp -s /tmp/ranges.quiet /tmp/ranges.churn
result $? "xfs_io says the same"
grep -c . /tmp/ranges.quiet | sed 's/^/# lines said: /'
cmp "$dir/quiet" "$dir/churn" | sed 's/^/# /'
cmp -s "$dir/quiet" "$dir/churn"
result $? "the same bytes in memory"
sum=$(md5sum <"$dir/churn")
drop_cache
cmp -s "$dir/quiet" "$dir/churn"
result $? "the same bytes on the disk"
[ "$sum" = "$(md5sum <"$dir/churn")" ] && [ "$(stat -c %s "$dir/churn")" = $((mib << 20)) ]
result $? "the bytes that were there before the page cache was dropped"
rm -f "$dir/quiet" "$dir/churn" /tmp/ranges.*
finish
