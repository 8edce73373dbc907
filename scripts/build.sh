#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds one kernel: IMPL=rust|c PROFILE=release|debug|coverage, from build/src into build/ARCH/PROFILE-IMPL
# (ARCH=arm64 PAGE_SIZE=16k|64k: build/arm64-16k, build/arm64-64k).
# The second implementation of a profile starts from a copy of the first one's objects.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
check_variables
use_tools
"$TOP/scripts/apply.sh" apply "$SRC" link >/dev/null

NAME=$(named "$PROFILE-$IMPL")
OUT=$(kernel_dir "$IMPL" "$PROFILE")
IMAGE=$OUT/$KERNEL_IMAGE

# The settings of this kernel, later lines winning, each symbol once.
fragments() {
	local f files=("$TOP/configs/base.config" "$TOP/configs/$ARCH.config")
	[ ! -f "$TOP/configs/$ARCH-$PAGE_SIZE.config" ] || files+=("$TOP/configs/$ARCH-$PAGE_SIZE.config")
	[ "$PROFILE" = release ] || files+=("$TOP/configs/$PROFILE.config")
	files+=("$TOP/configs/impl-$IMPL.config")
	for f in "$TOP/configs/$ARCH-$IMPL.config" "$TOP/configs/$PROFILE-$ARCH.config" "$TOP/configs/$PROFILE-$IMPL.config"; do
		[ ! -f "$f" ] || files+=("$f")
	done
	cat "${files[@]}" | sed -n 's/^CONFIG_/&/p' | tac | awk -F= '!seen[$1]++' | tac |
		if same_llvm; then cat; else grep -v '^CONFIG_RUST_INLINE_HELPERS='; fi
}

verify_config() {
	local line lost=
	while read -r line; do
		case $line in
		*=n) ! grep -q "^${line%=n}=" "$OUT/.config" || lost="$lost $line" ;;
		*) grep -qxF "$line" "$OUT/.config" || lost="$lost $line" ;;
		esac
	done <"$OUT/fragments"
	[ -z "$lost" ] || {
		rm -f "$OUT/.configured"
		die "Kconfig does not keep these settings:$lost" "correct configs/*.config: a dependency is missing (see $OUT/.config)"
	}
}

seed_from_sibling() {
	local sibling
	if [ "$PROFILE" = coverage ]; then
		sibling=$(kernel_dir rust release)
	elif [ "$IMPL" = c ]; then sibling=$(kernel_dir rust "$PROFILE"); else sibling=$(kernel_dir c "$PROFILE"); fi
	[ ! -d "$OUT" ] && [ -f "$sibling/.complete" ] || return 0
	rm -rf "$OUT.new"
	step "copy for $NAME" "copy-$NAME.log" "free some disk space" cp -a --reflink=auto "$sibling" "$OUT.new"
	rm -f "$OUT.new/.complete" "$OUT.new/.configured"
	# Some commands name the output directory. Without this objtool would be built anew, and then everything.
	# (find | grep would fail if the last batch of files it hands over had no match.)
	grep -rlZF --include='.*.cmd' "$sibling" "$OUT.new" | xargs -0r sed -i "s#$sibling#$OUT#g"
	mv "$OUT.new" "$OUT"
}

configure() {
	local key
	fragments >"$OUT/fragments.new"
	key=$({ cat "$OUT/fragments.new"; "$RUSTC" -vV; clang-$LLVM_VERSION --version; "$BINDGEN" --version; } | hash_stdin)
	if [ -f "$OUT/.config" ] && [ "$(cat "$OUT/.configured" 2>/dev/null)" = "$key" ]; then return; fi
	mv "$OUT/fragments.new" "$OUT/fragments"
	step "configure $NAME" "config-$NAME.log" "see the log; make clean starts afresh" \
		"${KMAKE[@]}" -C "$SRC" O="$OUT" KCONFIG_ALLCONFIG="$OUT/fragments" allnoconfig
	verify_config
	echo "$key" >"$OUT/.configured"
}

# How far the build is: steps done, out of those of the last complete build.
total=$(cat "$OUT/.steps" 2>/dev/null || case $ARCH in arm64) echo 1670 ;; *) echo 2050 ;; esac)
# shellcheck disable=SC2317
build_progress() {
	local n
	n=$(grep -cE '^  [A-Z]+ ' "$1" 2>/dev/null) || n=0
	[ "$fresh" = 1 ] && printf '%d of about %d (%d%%) ' "$n" "$total" $((n * 100 / total > 99 ? 99 : n * 100 / total))
	tail -n 1 "$1" 2>/dev/null | sed 's/^ *\([A-Z]*\) */\1 /' | cut -c1-44
}

mkdir -p "$BUILD/$VARIANT"
seed_from_sibling
mkdir -p "$OUT"
configure
# Which addresses belong to which line.
[ "$PROFILE" != coverage ] || KMAKE+=("KRUSTFLAGS=-Cdebuginfo=line-tables-only")
fresh=0
[ -f "$OUT/vmlinux" ] || fresh=1
whole=0
[ -f "$OUT/.started" ] || whole=$fresh
: >"$OUT/.started"
rm -f "$OUT/.complete"
PROGRESS=build_progress step "kernel $NAME" "kernel-$NAME.log" \
	"correct the first error in the log and run the same command again; if it is out of disk or memory, use JOBS=1" \
	"${KMAKE[@]}" -C "$SRC" O="$OUT" "$KERNEL_TARGET"
[ $whole = 0 ] || grep -cE '^  [A-Z]+ ' "$LOGS/kernel-$NAME.log" >"$OUT/.steps"
[ -f "$IMAGE" ] || die "the build ended without $IMAGE" "see $LOGS/kernel-$NAME.log"
: >"$OUT/.complete"
