# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced after lib.sh: which compilers build the kernel, and the one way make is called on it.

LLVM_VERSION=22
BINDGEN_VERSION=0.72.1
FSX_VERSION=0.3.2
RUST_MINIMUM=1.85.0
BINDGEN_MINIMUM=0.71.1

version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$2" ]; }

# A compiler is accepted if it is new enough and its library source is there, which the kernel compiles.
rustc_works() {
	local version
	version=$("$1" --version 2>/dev/null | awk '{ print $2 }') || return 1
	[ -n "$version" ] && version_at_least "${version%%-*}" "$RUST_MINIMUM" &&
		[ -f "$("$1" --print sysroot)/lib/rustlib/src/rust/library/core/src/lib.rs" ]
}

# The compiler behind a rustup proxy, so that a toolchain file elsewhere cannot change it between two steps.
rustup_rustc() { command -v rustup >/dev/null && rustup which rustc 2>/dev/null; }

find_rustc() {
	local candidate
	for candidate in ${RUSTC:+"$RUSTC"} /usr/bin/rustc "$(rustup_rustc || true)"; do
		if [ -x "$candidate" ] && rustc_works "$candidate"; then
			echo "$candidate"
			return
		fi
	done
	return 1
}

bindgen_works() { version_at_least "$("$1" --version 2>/dev/null | awk '{ print $2 }')" "$BINDGEN_MINIMUM"; }

find_bindgen() {
	local candidate
	for candidate in ${BINDGEN:+"$BINDGEN"} "$CACHE/bindgen-$BINDGEN_VERSION/bin/bindgen" "$(command -v bindgen || true)" "$HOME/.cargo/bin/bindgen"; do
		if [ -x "$candidate" ] && bindgen_works "$candidate"; then
			echo "$candidate"
			return
		fi
	done
	return 1
}

# What the guest's user space is built with, and the file system exerciser that tests use, which scripts/fsx.sh builds.
# User space of another architecture than this machine's is built by clang against the packages of scripts/sysroot.sh.
# shellcheck disable=SC2034
case $ARCH in
arm64)
	TRIPLE=aarch64-linux-gnu
	SYSROOT=$CACHE/sysroot-$ARCH
	CROSS_FLAGS="--target=$TRIPLE --sysroot=$SYSROOT -fuse-ld=lld"
	USER_CC="ccache clang-$LLVM_VERSION $CROSS_FLAGS"
	USER_STRIP=llvm-strip-$LLVM_VERSION
	FSX=$CACHE/fsx-$FSX_VERSION-$ARCH/bin/fsx
	;;
*)
	USER_CC="ccache gcc"
	USER_STRIP="strip"
	SYSROOT=
	FSX=$CACHE/fsx-$FSX_VERSION/bin/fsx
	;;
esac

export CCACHE_DIR=$CACHE/ccache CCACHE_BASEDIR=$BUILD CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=8G
export CCACHE_COMPILERCHECK=content
export KBUILD_BUILD_TIMESTAMP=@1 KBUILD_BUILD_USER=khugepaged KBUILD_BUILD_HOST=rust

# use_tools: fills KMAKE, the command line of every call of the kernel's make.
use_tools() {
	local bin
	RUSTC=$(find_rustc) || die "no usable Rust compiler (>= $RUST_MINIMUM with its library source)" "run: make setup"
	BINDGEN=$(find_bindgen) || die "no usable bindgen (>= $BINDGEN_MINIMUM)" "run: make setup"
	command -v clang-$LLVM_VERSION >/dev/null || die "clang-$LLVM_VERSION is missing" "run: make setup"
	bin=$(dirname "$RUSTC")
	KMAKE=(make -j"$JOBS" "LLVM=-$LLVM_VERSION" "CC=ccache clang-$LLVM_VERSION" "RUSTC=$RUSTC" "HOSTRUSTC=$RUSTC"
		"RUSTDOC=$bin/rustdoc" "RUSTFMT=$bin/rustfmt" "BINDGEN=$BINDGEN" "ARCH=$ARCH")
	command -v ccache >/dev/null || KMAKE+=("CC=clang-$LLVM_VERSION")
}

# The helpers can be folded into Rust code only if both compilers speak the same LLVM.
same_llvm() {
	[ "$("$RUSTC" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')" = "$(clang-$LLVM_VERSION -dumpversion | cut -d. -f1)" ]
}
