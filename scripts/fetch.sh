#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Brings the kernel source to build/src, in this order: KSRC, the cache, kernel.org, Debian.
# What is given is never modified: build/src is a copy.
. "$(dirname "$0")/lib.sh"
check_variables

TARBALLS=$CACHE/source
STAMP=$BUILD/src.stamp
mkdir -p "$TARBALLS"

# kernel.org: the newest release of the series that the signed list of sums names.
from_kernel_org() {
	local base=https://cdn.kernel.org/pub/linux/kernel/v${KERNEL_SERIES%%.*}.x sums line sum file
	sums=$(curl -fsS --connect-timeout 10 --max-time 60 "$base/sha256sums.asc") || return 1
	line=$(printf '%s\n' "$sums" | grep -E "  linux-${KERNEL_SERIES//./\\.}(\.[0-9]+)?\.tar\.xz$" | sort -V -k2 | tail -1)
	[ -n "$line" ] || { echo "kernel.org lists no linux-$KERNEL_SERIES"; return 1; }
	sum=${line%% *} file=${line##* }
	curl -fS --connect-timeout 10 --retry 3 -C - -o "$TARBALLS/$file.part" "$base/$file" || return 1
	echo "$sum  $TARBALLS/$file.part" | sha256sum -c - || { rm -f "$TARBALLS/$file.part"; return 1; }
	mv "$TARBALLS/$file.part" "$TARBALLS/$file"
}

# Debian's source package, through a private apt set-up: the system's own lists and settings stay as they are.
from_debian() {
	local work=$CACHE/apt stanza options package=linux-source-$KERNEL_SERIES suite deb
	rm -rf "$work"
	mkdir -p "$work"/{parts,lists/partial,cache/archives/partial,prefs,out}
	stanza=$(awk 'BEGIN { RS = "" } /URIs: [^\n]*\/debian\/?(\n|$)/ && /Suites:/ { print; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
	if [ -z "$stanza" ]; then
		stanza=$(awk '$1 == "deb" { o = 2; if ($2 ~ /^\[/) { while ($o !~ /\]$/) o++; o++ }
			if ($o ~ /\/debian\/?$/) { print "Types: deb\nURIs: " $o "\nSuites: x\nComponents: main"; exit } }' \
			/etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true)
		[ -z "$stanza" ] || stanza="$stanza
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"
	fi
	[ -n "$stanza" ] || { echo "no Debian archive in /etc/apt"; return 1; }
	options=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists"
		-o "Dir::Cache=$work/cache" -o "Dir::Etc::preferencesparts=$work/prefs" -o APT::Sandbox::User=root
		-o Acquire::Retries=3 -o "Dir::Etc::preferences=/dev/null")
	for suite in trixie-backports sid; do
		printf '%s\n' "$stanza" | grep -v '^#' | sed "s/^Suites:.*/Suites: $suite/" >"$work/parts/kernel.sources"
		apt-get "${options[@]}" update || continue
		(cd "$work/out" && apt-get "${options[@]}" download "$package") && break
	done
	deb=$(ls "$work"/out/"$package"_*.deb) || return 1
	dpkg -x "$deb" "$work/x"
	mv "$work/x/usr/src/$package.tar.xz" "$TARBALLS/$(basename "$deb" .deb).tar.xz"
	rm -rf "$work"
}

cached() { find "$TARBALLS" -name "linux*$KERNEL_SERIES*.tar.xz" | sort -V | tail -1; }

download() { from_kernel_org || from_debian; }

# shellcheck disable=SC2317
download_progress() { du -sm "$TARBALLS" "$CACHE/apt" 2>/dev/null | awk '{ n += $1 } END { print n " MiB" }'; }

unpack() {
	rm -rf "$SRC.new"
	mkdir -p "$SRC.new"
	tar -C "$SRC.new" --strip-components=1 -xf "$1"
}

# Only what the tree's version control knows, with local changes; of an unpacked tree, everything.
copy_tree() {
	rm -rf "$SRC.new"
	mkdir -p "$SRC.new"
	if git -C "$1" rev-parse --git-dir >/dev/null 2>&1; then
		git -C "$1" ls-files -z | rsync -a --ignore-missing-args --files-from=- --from0 "$1/" "$SRC.new/"
	else
		rsync -a --exclude=/.khugepaged-rust "$1/" "$SRC.new/"
	fi
	[ ! -f "$SRC.new/.config" ] && [ ! -d "$SRC.new/include/config" ] || make -C "$SRC.new" mrproper
}

tree_key() {
	find "$1" -name .git -prune -o -type f -printf '%P %s %T@\n' | sort | hash_stdin
}

if [ -n "${KSRC:-}" ]; then
	[ -d "$KSRC" ] || die "KSRC=$KSRC is not a directory" "give the top directory of a Linux $KERNEL_SERIES tree"
	KSRC=$(cd "$KSRC" && pwd -P)
	version=$("$TOP/scripts/version.sh" "$KSRC")
	[ ! -d "$KSRC/.khugepaged-rust" ] || die "the overlay is applied to $KSRC itself" "make unapply KSRC=$KSRC"
	key="tree $KSRC $(tree_key "$KSRC")"
	origin=$KSRC
elif [ -d "$SRC" ] && [ -f "$STAMP" ]; then
	# What was chosen before stays until "make clean" or another KSRC.
	key=$(head -1 "$STAMP")
else
	[ -n "$(cached)" ] || PROGRESS=download_progress step "kernel source" fetch.log \
		"check the network; or give a tree you have: make KSRC=/path/to/linux-$KERNEL_SERIES" download
	tarball=$(cached)
	[ -n "$tarball" ] || die "no kernel source was fetched" "give a tree you have: make KSRC=/path/to/linux-$KERNEL_SERIES"
	key="tarball $(basename "$tarball") $(stat -c %s "$tarball")"
	origin=$tarball
fi

if [ ! -d "$SRC" ] || [ "$(head -1 "$STAMP" 2>/dev/null)" != "$key" ]; then
	# shellcheck disable=SC2317
	unpack_progress() { printf '%d MiB of about 1500' "$(du -sm "$SRC.new" 2>/dev/null | cut -f1)"; }
	if [ -n "${KSRC:-}" ]; then
		PROGRESS=unpack_progress step "copy of $KSRC" unpack.log "free some disk space: 8 GiB are needed" copy_tree "$KSRC"
	else
		PROGRESS=unpack_progress step "unpack" unpack.log "free some disk space; if the archive is damaged: rm $tarball" unpack "$tarball"
	fi
	version=$("$TOP/scripts/version.sh" "$SRC.new") || exit 1
	rm -rf "$SRC.old"
	[ ! -d "$SRC" ] || mv "$SRC" "$SRC.old"
	rm -f "$STAMP"
	mv "$SRC.new" "$SRC"
	printf '%s\nversion %s\norigin %s\n' "$key" "$version" "$origin" >"$STAMP.new"
	mv "$STAMP.new" "$STAMP"
	rm -rf "$SRC.old"
	rm -f "$BUILD"/*/uapi/.stamp
fi
say "  Linux $(sed -n 's/^version //p' "$STAMP"), from $(sed -n 's/^origin //p' "$STAMP")"
