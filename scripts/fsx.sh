#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds fsx, the file system exerciser of tools/testing/selftests/mm/collapse/fsx.sh, once for all clones.
# For arm64 it is linked statically.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
use_tools
[ ! -x "$FSX" ] || exit 0
cross=()
if [ "$ARCH" = arm64 ]; then
	target=aarch64-unknown-linux-gnu variable=CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU
	[ -d "$SYSROOT/usr/lib/rustlib/$target" ] || {
		say "  fsx: not for this guest: no Rust library for $ARCH goes with $RUSTC; Debian's rustc-web has one"
		exit 0
	}
	flags="--sysroot=$SYSROOT/usr -C target-feature=+crt-static"
	for flag in $CROSS_FLAGS; do flags="$flags -C link-arg=$flag"; done
	export "${variable}_LINKER=clang-$LLVM_VERSION" "${variable}_RUSTFLAGS=$flags"
	cross=(--target "$target")
fi

# shellcheck disable=SC2317
fsx_progress() { printf '%d crates' "$(grep -c Compiling "$1" 2>/dev/null || true)"; }
PROGRESS=fsx_progress step "fsx $FSX_VERSION" fsx.log "check the network, then run again" \
	env RUSTC="$RUSTC" cargo install fsx --version "$FSX_VERSION" --locked -j "$JOBS" \
	--root "${FSX%/bin/fsx}" --target-dir "$CACHE/fsx-build" "${cross[@]}"
rm -rf "$CACHE/fsx-build"
