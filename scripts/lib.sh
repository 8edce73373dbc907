# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by every script here: where things are, how a step shows its progress, how a failure is told.

set -Eeuo pipefail
# A command that fails where nobody looks ends the script: say which one it was.
trap '[ "$BASH_SUBSHELL" != 0 ] || printf "\nerror: %s, line %s: \"%s\" failed\n" "$0" "$LINENO" "$BASH_COMMAND" >&2' ERR
export LC_ALL=C

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD=$TOP/build
CACHE=${KHP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/khugepaged-rust}
LOGS=$BUILD/logs
SRC=$BUILD/src

IMPL=${IMPL:-rust}
PROFILE=${PROFILE:-release}
ARCH=${ARCH:-x86_64}
PAGE_SIZE=${PAGE_SIZE:-4k}
DEMO_ARGS=${DEMO_ARGS:-}
JOBS=${JOBS:-$(nproc)}
KVM=${KVM:-auto}
KERNEL_SERIES=7.3

# Kernels of one architecture and page size have a directory of their own, user space is the same for all page sizes.
VARIANT=$ARCH
[ "$PAGE_SIZE" = 4k ] || VARIANT=$ARCH-$PAGE_SIZE
USER_DIR=$BUILD/$ARCH
# What make builds, and where it leaves it
case $ARCH in
arm64) KERNEL_TARGET=Image KERNEL_IMAGE=arch/arm64/boot/Image ;;
*) KERNEL_TARGET=bzImage KERNEL_IMAGE=arch/x86/boot/bzImage ;;
esac

mkdir -p "$BUILD" "$CACHE" "$LOGS"

# die MESSAGE [REMEDY]
die() {
	printf '\nerror: %s\n' "$1" >&2
	[ -z "${2:-}" ] || printf 'remedy: %s\n' "$2" >&2
	exit 1
}

say() { printf '%s\n' "$*"; }

elapsed() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

check_variables() {
	case $IMPL in rust | c) ;; *) die "IMPL=$IMPL" "use IMPL=rust or IMPL=c" ;; esac
	case $PROFILE in release | debug | coverage) ;; *) die "PROFILE=$PROFILE" "use PROFILE=release or PROFILE=debug" ;; esac
	case $ARCH in x86_64 | arm64) ;; *) die "ARCH=$ARCH is not supported" "use ARCH=x86_64 or ARCH=arm64" ;; esac
	case $ARCH-$PAGE_SIZE in
	*-4k | arm64-16k | arm64-64k) ;;
	*) die "PAGE_SIZE=$PAGE_SIZE is not supported on $ARCH" "use PAGE_SIZE=4k, or with ARCH=arm64 also 16k or 64k" ;;
	esac
	case $KVM in auto | 0 | 1) ;; *) die "KVM=$KVM" "use KVM=auto, KVM=0 or KVM=1" ;; esac
	case $JOBS in *[!0-9]* | '' | 0) die "JOBS=$JOBS" "give a number of jobs, such as JOBS=$(nproc)" ;; esac
}

# O= directory of one kernel: kernel_dir IMPL PROFILE
kernel_dir() { printf '%s/%s/%s-%s' "$BUILD" "$VARIANT" "$2" "$1"; }

# What a step's line and log are called: named SOMETHING
named() { if [ "$VARIANT" = x86_64 ]; then printf '%s' "$1"; else printf '%s-%s' "$VARIANT" "$1"; fi; }

# sha256 of standard input, and of files by content and name
hash_stdin() { sha256sum | cut -d' ' -f1; }

# One line of progress: overwritten on a terminal, repeated every 20 seconds elsewhere.
show_progress() {
	local name=$1 secs=$2 detail=$3
	if [ -t 1 ]; then
		printf '\r\033[K  %-26s %6s  %s' "$name" "$(elapsed "$secs")" "$detail"
	elif [ "$secs" -gt 0 ] && [ $((secs % 20)) = 0 ]; then
		printf '  %-26s %6s  %s\n' "$name" "$(elapsed "$secs")" "$detail"
	fi
}

# step NAME LOG REMEDY COMMAND...: runs the command with its output in the log file.
# PROGRESS, if set, names a function that gets the log file and prints one short word on how far it is.
step() {
	local name=$1 log=$LOGS/$2 remedy=$3 start pid rc=0 now
	shift 3
	start=$SECONDS
	# A process group of its own, so that an interrupt ends all of it.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'kill -TERM -- -$pid 2>/dev/null; printf "\ninterrupted; the same command goes on from here\n" >&2; exit 130' INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		now=$((SECONDS - start))
		show_progress "$name" "$now" "${PROGRESS:+$("$PROGRESS" "$log")}"
		sleep 1
	done &
	local ticker=$!
	wait "$pid" || rc=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	trap - INT TERM HUP
	now=$((SECONDS - start))
	[ -t 1 ] && printf '\r\033[K'
	if [ $rc != 0 ]; then
		printf '  %-26s %6s  FAILED\n' "$name" "$(elapsed $now)"
		printf '%s\n' "--- last lines of $log" >&2
		{ grep -nE '(^|[^a-z_])([Ee]rror|E:|fatal|FAILED|\*\*\*)' "$log" | tail -5; tail -n 12 "$log"; } >&2 || true
		die "step \"$name\" failed (exit $rc); log: $log" "$remedy"
	fi
	printf '  %-26s %6s  done\n' "$name" "$(elapsed $now)"
}

# Only one build at a time in this clone.
take_lock() {
	exec {LOCK_FD}>"$BUILD/.lock"
	if ! flock -n "$LOCK_FD"; then
		say "  waiting for another make in this clone"
		flock "$LOCK_FD"
	fi
}
