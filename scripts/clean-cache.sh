#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Removes what make keeps outside the clone.
. "$(dirname "$0")/lib.sh"
find "$CACHE" -maxdepth 1 \( -name source -o -name ccache -o -name 'apt*' -o -name 'bindgen-*' -o -name 'fsx-*' -o -name 'sysroot-*' \) \
	-exec rm -rf {} +
rmdir "$BUILD/logs" "$BUILD" "$CACHE" 2>/dev/null || true
say "removed what was kept in $CACHE"
