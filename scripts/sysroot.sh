#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# For ARCH=arm64: unpacks Debian's arm64 packages in the cache, for the guest's user space. Tests are built with the C
# library there, fsx with Rust's; busybox and xfs_io are carried into the guest. apt works on a state of its own: the
# machine's architectures, lists and packages stay as they are.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
check_variables
use_tools

WORK=$CACHE/apt-$ARCH
PACKAGES="linux-libc-dev libc6 libc6-dev libgcc-12-dev libcap-dev libnuma-dev liburing-dev busybox-static
xfsprogs libbsd0 libdevmapper1.02.1 libedit2 libmd0 libpcre2-8-0 libselinux1 libtinfo6 libudev1"

# Rust's library must be of the compiler's own build: Debian's packages of one version are.
rust_library() {
	local version
	[ "$RUSTC" = /usr/bin/rustc ] || return 0
	version=$(dpkg-query -W -f '${Version}' libstd-rust-web-dev 2>/dev/null) || return 0
	echo "libstd-rust-web-dev=$version"
}

unpack_packages() {
	local options deb
	rm -rf "$WORK" "$SYSROOT.new"
	mkdir -p "$WORK"/{lists/partial,cache/archives/partial,out} "$SYSROOT.new"
	: >"$WORK/status"
	options=(-o "APT::Architecture=$ARCH" -o "APT::Architectures=$ARCH" -o "Dir::State::lists=$WORK/lists"
		-o "Dir::State::status=$WORK/status" -o "Dir::Cache=$WORK/cache" -o APT::Sandbox::User=root
		-o Acquire::Languages=none -o Acquire::Retries=3)
	apt-get "${options[@]}" update
	# shellcheck disable=SC2086
	(cd "$WORK/out" && apt-get "${options[@]}" download $PACKAGES)
	[ -z "$(rust_library)" ] || (cd "$WORK/out" && apt-get "${options[@]}" download "$(rust_library)") ||
		echo "no Rust library for $ARCH: fsx will not be built"
	for deb in "$WORK"/out/*.deb; do dpkg-deb -x "$deb" "$SYSROOT.new"; done
	rm -rf "$WORK" "$SYSROOT"
	mv "$SYSROOT.new" "$SYSROOT"
}

key=$(echo $PACKAGES "$(rust_library)")
[ "$(cat "$SYSROOT/.packages" 2>/dev/null)" != "$key" ] || exit 0
# shellcheck disable=SC2317
unpack_progress() { du -sm "$WORK" "$SYSROOT.new" 2>/dev/null | awk '{ n += $1 } END { print n " MiB" }'; }
PROGRESS=unpack_progress step "$ARCH user space" "sysroot-$ARCH.log" \
	"check the network, and that /etc/apt's Debian archive is not restricted to other architectures; then run again" unpack_packages
echo "$key" >"$SYSROOT/.packages"
