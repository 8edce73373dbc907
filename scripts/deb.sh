#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Debian packages of the kernel with the overlay and your own configuration: make deb CONFIG=/boot/config-...
. "$(dirname "$0")/lib.sh"
check_variables
[ "$ARCH" = x86_64 ] || die "make deb makes packages for x86_64 only" "make kernel ARCH=$ARCH CONFIG=file, then install the kernel as your distribution does"
[ -n "${CONFIG:-}" ] || die "no configuration given" "make deb CONFIG=/boot/config-\$(uname -r)"
exec "$TOP/scripts/own.sh" bindeb-pkg
