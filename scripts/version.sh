#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Prints the version of a kernel tree; refuses one that is not of the series this overlay is for.
. "$(dirname "$0")/lib.sh"

tree=${1:?kernel tree}
[ -f "$tree/Makefile" ] || die "$tree is not a kernel source tree" "give the top directory of a Linux $KERNEL_SERIES tree"
version=$(awk '$2 == "=" && $1 ~ /^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)$/ { v[$1] = $3 }
	END { print v["VERSION"] "." v["PATCHLEVEL"] "." v["SUBLEVEL"] v["EXTRAVERSION"] }' "$tree/Makefile")
case $version in
$KERNEL_SERIES.*) printf '%s\n' "$version" ;;
*) die "$tree is Linux $version; this overlay is for Linux $KERNEL_SERIES" "give a $KERNEL_SERIES.x tree with KSRC=, or none to have it fetched" ;;
esac
