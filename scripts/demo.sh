#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Boots the kernel and shows it at work: the program's own words on the screen, the kernel log in a file.
. "$(dirname "$0")/lib.sh"
check_variables

say
# What only the Rust kernel of x86_64 has: HugeTLB pages that arrive in pieces.
also=() run="./demo $DEMO_ARGS"
if [ "$ARCH-$IMPL" = x86_64-rust ]; then
	also=(--hugetlb 80)
	run="$run && cd ../hugetlb_hgm && ./postcopy"
fi
exec "$TOP/scripts/guest.py" "$(kernel_dir "$IMPL" "$PROFILE")" --cpus 2 --mem "${DEMO_MEM:-0}" --disk ext4:256 \
	--out "$BUILD/results/demo-$(named "$PROFILE-$IMPL")" --title demo "${also[@]}" --run "$run"
