#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# fsx.sh DIR [shrink]: fsx reads, writes, maps and extends a file at random, and knows what every byte must be, while
# the file is collapsed and split all the time. Then the page cache is dropped: the disk must have it, too.
# With "shrink", and always on tmpfs, the file is also truncated, punched and cloned.
# shellcheck source=tools/testing/selftests/mm/collapse/churned.sh
. "$(dirname "$0")/churned.sh"
dir=$1 ops=${FSX_OPS:-3000} seed=${FSX_SEED:-1}
file=$dir/fsx conf=/tmp/fsx.toml

command -v fsx >/dev/null || skip_all "no fsx in this guest: scripts/fsx.sh builds it"
[ -d "$dir" ] || skip_all "no directory $dir"

if shrinks "$2"; then weight=2; else weight=0; fi
cat >$conf <<END
flen = 8388608
[opsize]
max = 262144
[weights]
close_open = 1
read = 10
write = 10
mapread = 10
mapwrite = 10
invalidate = 1
fsync = 1
fdatasync = 1
sendfile = 2
posix_fadvise = 2
truncate = $weight
punch_hole = $weight
posix_fallocate = $weight
copy_file_range = $weight
END

echo 1..3
churn_start "$file" 8
fsx -f $conf -N "$ops" -S "$seed" -P /tmp "$file" >/tmp/fsx.log 2>&1
status=$?
[ $status = 0 ] || { head -n 8 /tmp/fsx.log; echo ...; tail -n 60 /tmp/fsx.log; } | sed "s/^/# /"
result $status "fsx read what it had written, in $ops operations"
churn_end
sum=$(md5sum <"$file")
drop_cache
[ -s "$file" ] && [ "$sum" = "$(md5sum <"$file")" ]
result $? "the disk has what memory had"
rm -f "$file" /tmp/fsx*
finish
