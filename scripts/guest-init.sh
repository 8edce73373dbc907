#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# /init of the guest: mounts what tests need, makes a swap device, runs /run/list and powers off.
# The kernel log goes to the console; what tests print to another serial port, framed by lines that scripts/guest.py reads.
export PATH=/bin:/tests/bin HOME=/ TERM=linux

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/shm /dev/pts /dev/hugepages /tmp /mnt/tmpfs
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o huge=advise tmpfs /mnt/tmpfs
mount -t hugetlbfs hugetlbfs /dev/hugepages
ln -sfn /proc/self/fd /dev/fd
echo '+memory +pids +cpuset' >/sys/fs/cgroup/cgroup.subtree_control
echo 1 >/proc/sys/vm/overcommit_memory
echo 8 >/proc/sys/kernel/printk
hostname guest

SCALE=1 SWAP=zram SWAP_MB=512 HUGETLB=0 MODE=run RESULTS=ttyS1 DISKS=
[ ! -f /run/options ] || . /run/options
THP=/sys/kernel/mm/transparent_hugepage

# The disk to which QEMU gave this serial number.
disk_of() {
	for d in /sys/block/vd*; do
		[ "$(cat "$d/serial" 2>/dev/null)" != "$1" ] || echo "/dev/${d##*/}"
	done
}

swap_on() {
	case $SWAP in
	zram) echo "${SWAP_MB}M" >/sys/block/zram0/disksize && dev=/dev/zram0 ;;
	disk) dev=$(disk_of swap) && [ -n "$dev" ] ;;
	none) return ;;
	esac
	mkswap $dev >/dev/null && swapon $dev
}

# mount_disk FILE_SYSTEM: at /mnt/FILE_SYSTEM
mount_disk() {
	dev=$(disk_of "$1")
	mkdir -p "/mnt/$1" && [ -n "$dev" ] && mount -t "$1" "$dev" "/mnt/$1"
}

# Every file with a setting that a killed test may leave changed.
settings() {
	find $THP /sys/kernel/mm/ksm -type f -perm -200
	for f in overcommit_memory nr_hugepages drop_caches swappiness min_free_kbytes max_map_count \
		compaction_proactiveness enable_soft_offline user_reserve_kbytes; do
		[ $f = drop_caches ] || echo /proc/sys/vm/$f
	done
	find /sys/block/vd*/queue/read_ahead_kb 2>/dev/null
}

value_of() { sed 's/.*\[\(.*\)\].*/\1/' "$1" 2>/dev/null; }

save_settings() {
	settings | while read -r f; do
		v=$(value_of "$f") && [ -n "$v" ] && printf '%s %s\n' "$f" "$v"
	done >/tmp/.settings
}

restore_settings() {
	while read -r f v; do
		[ "$(value_of "$f")" = "$v" ] || echo "$v" >"$f" 2>/dev/null
	done </tmp/.settings
}

mark() {
	echo "@@ $*"
	echo "khp: $*" >/dev/kmsg
}

# What a test left behind: everything but this shell and its children of the moment.
sweep() {
	for d in /proc/[0-9]*; do
		pid=${d#/proc/}
		[ "$pid" != 1 ] && [ "$pid" != $$ ] && [ -n "$(tr -d '\0' <"$d/cmdline" 2>/dev/null)" ] || continue
		read -r _ _ _ _ _ sid _ <"$d/stat" 2>/dev/null && [ "$sid" != "$OWN_SID" ] && kill -9 "$pid" 2>/dev/null
	done
	echo 0 >/sys/kernel/tracing/events/enable
	echo 0 >/sys/kernel/tracing/tracing_on
	echo >/sys/kernel/tracing/trace
	echo 1 >/sys/kernel/tracing/tracing_on
}

run_one() {
	name=$1 limit=$(($2 * SCALE)) dir=$3
	shift 3
	mark "begin $name $limit"
	cd "$dir" || return
	start=$(cut -d' ' -f1 /proc/uptime)
	setsid sh -c "$*" </dev/null 2>&1 &
	pid=$!
	(
		# Short naps: the rest of a long one would outlive the test.
		n=0
		while [ $n -lt $limit ] && [ -d /proc/$pid ]; do sleep 1; n=$((n + 1)); done
		if [ -d /proc/$pid ] && [ "$(cut -d' ' -f3 /proc/$pid/stat 2>/dev/null)" != Z ]; then
			echo "@@ timeout $name"
			echo "khp: timeout $name" >/dev/kmsg
			for d in /proc/[0-9]*; do
				read -r p c s _ _ sid _ <"$d/stat" 2>/dev/null
				[ "$sid" = $pid ] || continue
				echo "# $p $c $s"
				sed 's/^/#   /' "$d/stack" 2>/dev/null
				kill -9 "$p" 2>/dev/null
			done
		fi
	) &
	watch=$!
	wait $pid
	status=$?
	{ kill $watch; wait $watch; } 2>/dev/null
	cd /
	sweep
	find /mnt -mindepth 2 -maxdepth 2 -exec rm -rf {} +
	restore_settings
	mark "end $name $status $start $(cut -d' ' -f1 /proc/uptime)"
}

kmemleak_scan() {
	f=/sys/kernel/debug/kmemleak
	[ -f $f ] || return
	echo scan >$f
}

run_list() {
	mark "guest $(uname -r) $(nproc) cpus $(awk '/MemTotal/ { print $2 }' /proc/meminfo) kB"
	kmemleak_scan && echo clear >/sys/kernel/debug/kmemleak
	while read -r name limit dir command; do
		run_one "$name" "$limit" "$dir" "$command"
	done </run/list
	# What still holds a file now has lost a reference.
	for fs in $DISKS; do
		umount "/mnt/$fs" || echo "khp: BUG: the guest could not unmount $fs" >/dev/kmsg
	done
	if [ -f /sys/kernel/debug/kmemleak ]; then
		mark "begin kmemleak 0"
		kmemleak_scan
		sleep 6
		kmemleak_scan
		cat /sys/kernel/debug/kmemleak
		[ -z "$(cat /sys/kernel/debug/kmemleak)" ]
		mark "end kmemleak $? 0 0"
	fi
	mark "finished"
}

swap_on || echo "khp: BUG: the guest could not set up its swap device ($SWAP)" >/dev/kmsg
for fs in $DISKS; do
	mount_disk "$fs" || echo "khp: BUG: the guest could not mount its disk with $fs" >/dev/kmsg
done
[ "$HUGETLB" = 0 ] || echo "$HUGETLB" >/proc/sys/vm/nr_hugepages
save_settings
OWN_SID=$(cut -d' ' -f6 /proc/self/stat)
if [ "$MODE" = shell ]; then
	echo 4 >/proc/sys/kernel/printk
	echo "khugepaged guest: tests in /tests, kernel log with dmesg, leave with \"exit\""
	cd /tests || cd /
	setsid cttyhack sh
else
	# Raw: no echo, no CR LF.
	stty -F "/dev/$RESULTS" raw -echo 2>/dev/null
	exec >"/dev/$RESULTS" 2>&1 </dev/null
	run_list
	sync
	# A port that is emulated may still have the last line when the power goes.
	sleep 1
fi
poweroff -f
