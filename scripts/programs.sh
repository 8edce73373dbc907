#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Unpacks Debian's packages of the programs that the list "programs" runs in the cache, and packs what the guest needs of
# them into an image of its own, which only these guests load. Nothing is installed on this machine, and no service is
# started. Without network the image is left out, and the tests are skipped.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
check_variables

PACKAGES="stress-ng redis-server redis-tools sqlite3 tcc"
PROGRAMS="stress-ng redis-server redis-cli sqlite3 tcc"
FROM=$CACHE/programs-$ARCH
WORK=$CACHE/apt-programs
IMAGE=$USER_DIR/initramfs/programs.cpio
LIBRARIES="lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu lib64"

# On arm64 everything is emulated, and they would take minutes each.
[ "$ARCH" = x86_64 ] || exit 0

unpack_packages() {
	local options deb
	rm -rf "$WORK" "$FROM.new"
	mkdir -p "$WORK"/{lists/partial,cache/archives/partial} "$FROM.new"
	: >"$WORK/status"
	options=(-o "Dir::State::lists=$WORK/lists" -o "Dir::State::status=$WORK/status" -o "Dir::Cache=$WORK/cache"
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 -o Debug::NoLocking=1)
	apt-get "${options[@]}" update
	# With no package there, all that they need is fetched.
	# shellcheck disable=SC2086
	apt-get "${options[@]}" install --download-only -y --no-install-recommends $PACKAGES
	for deb in "$WORK"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$FROM.new"; done
	rm -rf "$WORK" "$FROM"
	mv "$FROM.new" "$FROM"
	echo "$PACKAGES" >"$FROM/.packages"
}

# First of these that the packages have: found NAME DIRECTORY...
found() {
	local name=$1 dir
	shift
	for dir; do
		if [ -e "$FROM/$dir/$name" ]; then
			echo "$dir/$name"
			return
		fi
	done
	return 1
}

pack() {
	local new=$USER_DIR/initramfs/programs.new queue=() seen=" " name path
	rm -rf "$new"
	mkdir -p "$new/bin"
	for name in $PROGRAMS; do
		# shellcheck disable=SC2046
		cp -L "$FROM/$(found "$name" usr/bin bin)" "$new/bin/$name"
		queue+=("$new/bin/$name")
	done
	while [ ${#queue[@]} -gt 0 ]; do
		for name in $("llvm-readelf-$LLVM_VERSION" -d "${queue[0]}" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
			case $seen in *" $name "*) continue ;; esac
			seen="$seen$name "
			# shellcheck disable=SC2086
			path=$(found "$name" $LIBRARIES) || { echo "no package has $name"; return 1; }
			install -D "$(readlink -f "$FROM/$path")" "$new/lib/x86_64-linux-gnu/$name"
			queue+=("$new/lib/x86_64-linux-gnu/$name")
		done
		queue=("${queue[@]:1}")
	done
	install -D "$new/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$new/lib64/ld-linux-x86-64.so.2"
	find "$new" -type f -exec "$USER_STRIP" {} + 2>/dev/null || true
	(cd "$new" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --quiet --owner=0:0 >"$IMAGE.new")
	rm -rf "$new"
	mv "$IMAGE.new" "$IMAGE"
}

mkdir -p "$USER_DIR/initramfs"
if [ "$(cat "$FROM/.packages" 2>/dev/null)" != "$PACKAGES" ]; then
	# shellcheck disable=SC2317
	unpack_progress() { du -sm "$WORK" "$FROM.new" 2>/dev/null | awk '{ n += $1 } END { print n " MiB" }'; }
	rm -f "$IMAGE"
	(PROGRESS=unpack_progress step "programs for the guest" programs.log "check the network, then run again" unpack_packages) || {
		say "  stress-ng, redis, sqlite and tcc are not to be had: their tests will be skipped"
		exit 0
	}
fi
[ "$IMAGE" -nt "$0" ] || step "image of the programs" programs-image.log "see the log" pack
