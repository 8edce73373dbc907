#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the guest's user space: busybox, upstream's mm selftests and this repository's, all static; and the tools that
# tests use, with the libraries they need: xfs_io, and fsx if scripts/fsx.sh has built it. On x86_64 these are this
# machine's own, for arm64 those of scripts/sysroot.sh.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
check_variables

UPSTREAM="khugepaged transhuge-stress split_huge_page_test cow soft-dirty ksm_functional_tests guard-regions
uffd-unit-tests prctl_thp_disable process_madv migration mremap_test madv_populate
folio_split_race_test memory-failure pagemap_ioctl rmap uffd-stress uffd-wp-mremap"
# Directories of our own tests, below mm/.
OWN="collapse"
# What has to do with high-granularity mapping is for x86_64.
if [ "$ARCH" = x86_64 ]; then
	OWN="$OWN hugetlb_hgm"
	UPSTREAM="$UPSTREAM hugetlb-mmap hugetlb-shm hugetlb-mremap hugetlb-madvise hugetlb_dio hugetlb_fault_after_madv
	hugetlb_madv_vs_map hugetlb-soft-offline hugetlb-read-hwpoison"
fi
# arm64 has no bit for soft-dirty in its page-table entries, and upstream does not build the test there.
[ "$ARCH" != arm64 ] || UPSTREAM=${UPSTREAM/ soft-dirty / }
UAPI=$USER_DIR/uapi
TESTS=$USER_DIR/selftests
ROOT=$USER_DIR/initramfs/root
IMAGE=$USER_DIR/initramfs/base.cpio
SELFTESTS=$SRC/tools/testing/selftests
# The one of this machine says which commands there are: Debian's has the same on every architecture.
OWN_BUSYBOX=$(command -v busybox || echo /bin/busybox)

# Runs make in a directory of the kernel's selftests: selftest_make DIRECTORY OUTPUT TARGET...
selftest_make() {
	local dir=$1 out=$2
	shift 2
	mkdir -p "$out"
	make -C "$SELFTESTS/$dir" -j"$JOBS" O="$UAPI" OUTPUT="$out" CC="${TEST_CC:-$USER_CC}" ARCH="$ARCH" \
		KHDR_INCLUDES="-isystem $UAPI/usr/include" EXTRA_CFLAGS=-static "$@"
}

headers() { make -C "$SRC" O="$UAPI" ARCH="$ARCH" -j"$JOBS" headers; }

build_upstream() {
	local t targets=()
	mkdir -p "$TESTS/mm"
	for t in $UPSTREAM; do targets+=("$TESTS/mm/$t"); done
	selftest_make mm "$TESTS/mm" "${targets[@]}"
}

build_own() {
	local dir bad=0
	for dir in $OWN; do selftest_make "mm/$dir" "$TESTS/$dir" -k all || bad=1; done
	return $bad
}

# The names the Makefile of our tests gives them: own_files DIRECTORY [programs]
own_files() {
	local names='$(TEST_PROGS) $(TEST_GEN_PROGS)'
	[ "${2:-}" = programs ] || names="$names"' $(TEST_FILES) $(TEST_GEN_FILES) $(TEST_PROGS_EXTENDED) $(TEST_GEN_PROGS_EXTENDED)'
	make -s -C "$SELFTESTS/mm/$1" OUTPUT="$TESTS/$1" O="$UAPI" ARCH="$ARCH" --no-print-directory \
		--eval="khp_files: ; @printf '%s\\n' $names" khp_files
}

# The first of these files that the packages have: in_sysroot FILE...
in_sysroot() {
	local f
	for f; do
		if [ -e "$SYSROOT/$f" ]; then
			echo "/$f"
			return
		fi
	done
	die "no package for $ARCH has $(basename "$1")" "add the package to scripts/sysroot.sh"
}

# The loader and the libraries of a program of SYSROOT, as the guest's paths; ldd would have to run it.
sysroot_libraries() {
	local queue=("$1") seen=" " name found
	while [ ${#queue[@]} -gt 0 ]; do
		for name in $("llvm-readelf-$LLVM_VERSION" -d "${queue[0]}" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
			case $seen in *" $name "*) continue ;; esac
			seen="$seen$name "
			found=$(in_sysroot "lib/$name" "lib/$TRIPLE/$name" "usr/lib/$TRIPLE/$name")
			queue+=("$SYSROOT$found")
			echo "$found"
		done
		queue=("${queue[@]:1}")
	done
}

# carry PROGRAM ROOT: into the guest's /bin, with the loader and the libraries that it needs.
carry() {
	local lib list
	cp -L "$1" "$2/bin/"
	"$USER_STRIP" "$2/bin/$(basename "$1")" 2>/dev/null || true
	if [ -z "$SYSROOT" ]; then list=$(ldd "$1" | grep -o '/[^ ]*' || true); else list=$(sysroot_libraries "$1"); fi
	for lib in $list; do
		[ -f "$2$lib" ] || install -D "$SYSROOT$lib" "$2$lib"
	done
}

pack() {
	local f new=$ROOT.new applet dir
	rm -rf "$new"
	mkdir -p "$new"/{bin,dev,proc,sys,tests/mm,etc}
	cp "$BUSYBOX" "$new/bin/busybox"
	for applet in $("$OWN_BUSYBOX" --list); do [ "$applet" = busybox ] || ln -s busybox "$new/bin/$applet"; done
	printf '%s:x:%s:%s::/:/bin/sh\n' root 0 0 nobody 65534 65534 >"$new/etc/passwd"
	printf '%s:x:%s:\n' root 0 nogroup 65534 >"$new/etc/group"
	cp "$TOP/scripts/guest-init.sh" "$new/init"
	cp "$TOP/scripts/kunit.sh" "$new/bin/kunit"
	cp "$TOP/scripts/again.sh" "$new/bin/again"
	carry "$XFS_IO" "$new"
	[ ! -x "$FSX" ] || carry "$FSX" "$new"
	for f in $UPSTREAM; do cp "$TESTS/mm/$f" "$new/tests/mm/"; done
	for dir in $OWN; do
		mkdir -p "$new/tests/$dir"
		for f in $(own_files "$dir"); do
			if [ -f "$TESTS/$dir/$(basename "$f")" ]; then
				cp -L "$TESTS/$dir/$(basename "$f")" "$new/tests/$dir/"
			elif [ -f "$SELFTESTS/mm/$dir/$f" ]; then
				cp -L "$SELFTESTS/mm/$dir/$f" "$new/tests/$dir/"
			else
				echo "not built: $f"
			fi
		done
		own_files "$dir" programs | xargs -n1 basename >"$TESTS/$dir.programs"
	done
	find "$new/tests" -type f -exec sh -c 'for f; do case $f in *.sh) ;; *) "$0" "$f" 2>/dev/null || true ;; esac; done' "$USER_STRIP" {} +
	(cd "$new" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --quiet --owner=0:0 >"$IMAGE.new")
	rm -rf "$ROOT"
	mv "$new" "$ROOT"
	if cmp -s "$IMAGE.new" "$IMAGE"; then rm "$IMAGE.new"; else mv "$IMAGE.new" "$IMAGE"; fi
}

if [ -n "$SYSROOT" ]; then
	[ -f "$SYSROOT/.packages" ] || die "there is no user space for $ARCH" "make setup ARCH=$ARCH"
	BUSYBOX=$SYSROOT$(in_sysroot bin/busybox usr/bin/busybox)
	XFS_IO=$SYSROOT$(in_sysroot usr/sbin/xfs_io sbin/xfs_io)
else
	BUSYBOX=$OWN_BUSYBOX
	XFS_IO=$(PATH=$PATH:/usr/sbin:/sbin command -v xfs_io) || die "xfs_io is missing" "make setup, or by hand: apt-get install xfsprogs"
fi
file -L "$BUSYBOX" 2>/dev/null | grep -q 'dynamically linked' &&
	die "$BUSYBOX is not static" "apt-get install busybox-static"
mkdir -p "$USER_DIR/initramfs"
"$TOP/scripts/apply.sh" apply "$SRC" link >/dev/null
if [ ! -f "$UAPI/.stamp" ] || [ "$(cat "$UAPI/.stamp")" != "$(cat "$BUILD/src.stamp" 2>/dev/null)" ]; then
	step "kernel headers" "$(named headers.log)" "see the log" headers
	cat "$BUILD/src.stamp" >"$UAPI/.stamp" 2>/dev/null || true
fi
step "upstream selftests" "$(named selftests-mm.log)" "see the log; the kernel tree must be unmodified" build_upstream
# A test that does not compile fails the run, but the others can be used.
bad=0
(step "our selftests" "$(named selftests-own.log)" "correct the error in tools/testing/selftests/mm" build_own) || bad=1
step "initramfs" "$(named initramfs.log)" "see the log" pack
exit $bad
