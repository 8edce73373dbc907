#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds both kernels of PROFILE and compares them on random sequences: fuzz.sh SEQUENCES SEED
. "$(dirname "$0")/lib.sh"
check_variables
[ "$ARCH" = x86_64 ] || die "the sequences are made for x86_64" "make fuzz ARCH=x86_64"
for impl in rust c; do IMPL=$impl "$TOP/scripts/build.sh"; done
"$TOP/scripts/initramfs.sh"
exec "$TOP/scripts/fuzz.py" --profile "$PROFILE" --sequences "$1" --seed "$2"
