#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds both release kernels, measures them and prints the comparison.
. "$(dirname "$0")/lib.sh"
check_variables
for impl in rust c; do IMPL=$impl PROFILE=release "$TOP/scripts/build.sh"; done
"$TOP/scripts/initramfs.sh"
exec "$TOP/scripts/bench.py"
