#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds a kernel with the user's configuration (CONFIG=file): own.sh TARGET...
# The configuration is kept except for what the Rust implementation needs.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
check_variables
use_tools
[ -f "${CONFIG:-}" ] || die "CONFIG=${CONFIG:-} is not a file" "give a kernel configuration, such as CONFIG=/boot/config-\$(uname -r)"
OUT=$BUILD/$ARCH/own-$IMPL
[ "$PAGE_SIZE" = 4k ] || die "PAGE_SIZE=$PAGE_SIZE with CONFIG=$CONFIG" "the page size is the one that your configuration has"

"$TOP/scripts/apply.sh" apply "$SRC" link >/dev/null
mkdir -p "$OUT"
key=$({ cat "$CONFIG"; echo "$IMPL"; } | hash_stdin)
if [ "$(cat "$OUT/.configured" 2>/dev/null)" != "$key" ]; then
	cp "$CONFIG" "$OUT/.config"
	set_option() { "$SRC/scripts/config" --file "$OUT/.config" "$@"; }
	set_option -e TRANSPARENT_HUGEPAGE -e RUST -d MODVERSIONS -d DEBUG_INFO_BTF -d GCC_PLUGINS -d RANDSTRUCT_FULL -e RANDSTRUCT_NONE \
		--set-str SYSTEM_TRUSTED_KEYS "" --set-str SYSTEM_REVOCATION_KEYS "" --set-str LOCALVERSION "-khugepaged-$IMPL"
	if [ "$IMPL" = rust ]; then set_option -e KHUGEPAGED_RUST -d KHUGEPAGED_C; else set_option -e KHUGEPAGED_C -d KHUGEPAGED_RUST; fi
	step "configure" config-own.log "see the log" "${KMAKE[@]}" -C "$SRC" O="$OUT" olddefconfig
	want=CONFIG_KHUGEPAGED_$(printf %s "$IMPL" | tr a-z A-Z)=y
	grep -qx "$want" "$OUT/.config" || die "$CONFIG does not allow $want" "see what it depends on: $OUT/.config"
	echo "$key" >"$OUT/.configured"
fi
# shellcheck disable=SC2317
own_progress() { tail -n 1 "$1" | sed 's/^ *\([A-Z]*\) */\1 /' | cut -c1-60; }
PROGRESS=own_progress step "kernel, your configuration" kernel-own.log "correct the first error in the log and run again" \
	"${KMAKE[@]}" -C "$SRC" O="$OUT" "${@:-all}"
case ${1:-} in
bindeb-pkg) say "packages:" && ls "$BUILD/$ARCH"/*.deb ;;
*)
	say "kernel: $OUT/$KERNEL_IMAGE"
	[ "$ARCH" != x86_64 ] || say "to put it on this machine: make -C $SRC O=$OUT modules_install install"
	;;
esac
