#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Installs what is missing on a Debian 12 machine: packages, and bindgen, which Debian 12 has too old.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
check_variables

PACKAGES="clang-$LLVM_VERSION lld-$LLVM_VERSION llvm-$LLVM_VERSION libclang-$LLVM_VERSION-dev gcc libc6-dev make flex bison bc
libelf-dev libssl-dev cpio kmod rsync xz-utils patch python3 curl ca-certificates git file ccache busybox-static
e2fsprogs xfsprogs"
case $ARCH in
arm64) PACKAGES="$PACKAGES qemu-system-arm" ;;
*) PACKAGES="$PACKAGES qemu-system-x86 libcap-dev libnuma-dev libaio-dev liburing-dev" ;;
esac

as_root() {
	if [ "$(id -u)" = 0 ]; then
		env DEBIAN_FRONTEND=noninteractive "$@"
	elif command -v sudo >/dev/null; then
		sudo env DEBIAN_FRONTEND=noninteractive "$@"
	else
		die "packages are missing and this is neither root nor a user with sudo:$missing" "as root: apt-get install$missing"
	fi
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }

command -v dpkg-query >/dev/null || die "this is not a Debian system" "install these by hand and make the tools available on PATH: $PACKAGES"

find_rustc >/dev/null || PACKAGES="$PACKAGES rustc-web rust-web-src rustfmt-web"
# cargo builds bindgen, and fsx for the tests.
if ! find_bindgen >/dev/null || [ ! -x "$FSX" ]; then command -v cargo >/dev/null || PACKAGES="$PACKAGES cargo-web"; fi
missing=
for package in $PACKAGES; do installed "$package" || missing="$missing $package"; done
if [ -n "$missing" ]; then
	say "  to install:$missing"
	[ "$(id -u)" = 0 ] || ! command -v sudo >/dev/null || sudo -v
	install_remedy="check the network and /etc/apt/sources.list*, then run again; by hand: apt-get install$missing"
	step "package lists" apt-update.log "$install_remedy" as_root apt-get -o Acquire::Retries=3 update
	# shellcheck disable=SC2086
	step "packages" apt-install.log "$install_remedy" \
		as_root apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
fi

if ! find_bindgen >/dev/null; then
	# shellcheck disable=SC2317
	bindgen_progress() { printf '%d crates' "$(grep -c Compiling "$1" 2>/dev/null || true)"; }
	# The Rust compiler that builds the kernel builds bindgen too; a rustup default may be older.
	PROGRESS=bindgen_progress step "bindgen $BINDGEN_VERSION" bindgen.log "check the network, then run again" \
		env RUSTC="$(find_rustc)" LLVM_CONFIG_PATH=/usr/bin/llvm-config-$LLVM_VERSION cargo install bindgen-cli --version "$BINDGEN_VERSION" --locked \
		--root "$CACHE/bindgen-$BINDGEN_VERSION" --target-dir "$CACHE/bindgen-build"
	rm -rf "$CACHE/bindgen-build"
fi
use_tools
say "  $("$RUSTC" --version); clang $(clang-$LLVM_VERSION -dumpversion); $("$BINDGEN" --version)"
[ "$ARCH" = x86_64 ] || "$TOP/scripts/sysroot.sh"
same_llvm || say "  note: rustc and clang differ in LLVM version, so C helpers are not inlined into Rust code"
