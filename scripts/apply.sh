#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Puts the overlay into a kernel tree, and takes it out again.
#
#   apply.sh apply   TREE [copy|link]   new files copied (default) or linked, hooks patched
#   apply.sh unapply TREE               the tree as it was
#
# Nothing changes in TREE before every hook has been tried on a copy of the files it touches. Only files are
# linked, never directories: "#include" and "mod" resolve from the path as named.
. "$(dirname "$0")/lib.sh"

ACTION=${1:-} TREE=${2:-} MODE=${3:-copy}
[ -n "$TREE" ] || die "no kernel tree given" "make $ACTION KSRC=/path/to/linux-$KERNEL_SERIES"
[ -f "$TREE/Makefile" ] && [ -f "$TREE/mm/Kconfig" ] || die "$TREE is not a kernel source tree" "give the top directory of a Linux $KERNEL_SERIES tree"
TREE=$(cd "$TREE" && pwd -P)
STATE=$TREE/.khugepaged-rust
MANIFEST=$STATE/manifest

STAGE=$(mktemp -d "${TMPDIR:-/tmp}/khugepaged-rust.XXXXXX")
trap 'rm -rf "$STAGE"' EXIT

# Paths of the overlay's new files, as they are called in the kernel tree.
overlay_files() {
	local dirs=() d
	for d in mm rust include tools Documentation; do [ ! -d "$TOP/$d" ] || dirs+=("$d"); done
	cd "$TOP" || exit
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files -co --exclude-standard -- "${dirs[@]}"
	else
		find "${dirs[@]}" -type f ! -name '*~' ! -name '.*'
	fi | while read -r f; do [ ! -f "$f" ] || printf '%s\n' "$f"; done | sort -u
	[ ! -f Kconfig ] || echo mm/khugepaged/Kconfig
}

# Where a file of the overlay is in this clone.
origin() { case $1 in mm/khugepaged/Kconfig) echo "$TOP/Kconfig" ;; *) echo "$TOP/$1" ;; esac; }

touched_by() { sed -n 's|^+++ b/\([^\t]*\).*|\1|p' "$@" | sort -u; }

# Patches the staged copies: stage_hooks -R|"" DIRECTORY
stage_hooks() {
	local reverse=$1 dir=$2 hook hooks out
	[ -f "$dir/series" ] || return 0
	hooks=$(grep -v '^ *\(#\|$\)' "$dir/series") || return 0
	[ -z "$reverse" ] || hooks=$(printf '%s\n' "$hooks" | tac)
	for hook in $hooks; do
		for f in $(touched_by "$dir/$hook"); do
			[ -f "$STAGE/$f" ] || {
				[ -f "$TREE/$f" ] || die "hook $hook changes $f, which this tree does not have; nothing was changed" "use a Linux $KERNEL_SERIES tree"
				mkdir -p "$STAGE/$(dirname "$f")"
				cp -p "$TREE/$f" "$STAGE/$f"
			}
		done
		out=$(patch -d "$STAGE" -p1 --no-backup-if-mismatch -N -r - $reverse <"$dir/$hook" 2>&1) ||
			die "hook $hook does not apply ${reverse:+in reverse }to $(touched_by "$dir/$hook" | tr '\n' ' ')in $TREE; nothing was changed
$out" "${reverse:+undo your own changes to these files, or take a fresh tree}${reverse:-use an unmodified Linux $KERNEL_SERIES tree, or refresh hooks/$hook}"
	done
}

# Replaces the files whose staged copy differs; the others keep their time stamps.
install_stage() {
	local f
	(cd "$STAGE" && find . -type f -printf '%P\n') | while read -r f; do
		cmp -s "$STAGE/$f" "$TREE/$f" || {
			cp "$STAGE/$f" "$TREE/$f.khp-new"
			mv "$TREE/$f.khp-new" "$TREE/$f"
		}
	done
}

is_ours() { [ -f "$MANIFEST" ] && awk -v f="$1" '$3 == f { found = 1 } END { exit !found }' "$MANIFEST"; }

# A copied file that was edited in the tree is not thrown away.
check_edited() {
	local kind sum f
	[ -f "$MANIFEST" ] || return 0
	while read -r kind sum f; do
		[ "$kind" = copy ] && [ -f "$TREE/$f" ] && [ ! -L "$TREE/$f" ] || continue
		[ "$(hash_stdin <"$TREE/$f")" = "$sum" ] || [ "${FORCE:-0}" = 1 ] || cmp -s "$TREE/$f" "$(origin "$f")" ||
			die "$f was edited in $TREE; nothing was changed" "save your edit (or carry it to this clone), or run again with FORCE=1"
	done <"$MANIFEST"
}

remove_file() {
	rm -f "$TREE/$1"
	(cd "$TREE" && rmdir -p --ignore-fail-on-non-empty "$(dirname "$1")" 2>/dev/null) || true
}

apply() {
	local f list new=$STATE/manifest.new src
	"$TOP/scripts/version.sh" "$TREE" >/dev/null
	list=$(overlay_files)
	for f in $list; do
		if [ -e "$TREE/$f" ] || [ -L "$TREE/$f" ]; then
			is_ours "$f" || die "$f exists in $TREE and is not ours; nothing was changed" "use an unmodified tree"
		fi
	done
	check_edited
	stage_hooks -R "$STATE/hooks/hgm"
	stage_hooks -R "$STATE/hooks"
	stage_hooks "" "$TOP/hooks"
	stage_hooks "" "$TOP/hooks/hgm"

	mkdir -p "$STATE"
	: >"$new"
	for f in $list; do
		src=$(origin "$f")
		if [ "$MODE" = link ]; then echo "link - $f"; else echo "copy $(hash_stdin <"$src") $f"; fi >>"$new"
	done
	# The manifest first holds both generations, so that an interrupted run leaves no file unaccounted for.
	{ [ ! -f "$MANIFEST" ] || cat "$MANIFEST"; cat "$new"; } >"$MANIFEST.both"
	mv "$MANIFEST.both" "$MANIFEST"
	install_stage
	rm -rf "$STATE/hooks.new"
	cp -r "$TOP/hooks" "$STATE/hooks.new"
	rm -rf "$STATE/hooks"
	mv "$STATE/hooks.new" "$STATE/hooks"
	while read -r _ _ f; do
		grep -qF " $f" "$new" || remove_file "$f"
	done <"$MANIFEST"
	for f in $list; do
		src=$(origin "$f")
		mkdir -p "$TREE/$(dirname "$f")"
		if [ "$MODE" = link ]; then
			[ "$(readlink "$TREE/$f" || true)" = "$src" ] || ln -sfn "$src" "$TREE/$f"
		elif [ -L "$TREE/$f" ] || ! cmp -s "$src" "$TREE/$f"; then
			cp --remove-destination "$src" "$TREE/$f"
		fi
	done
	mv "$new" "$MANIFEST"
}

unapply() {
	local f
	[ -f "$MANIFEST" ] || die "the overlay is not applied to $TREE"
	check_edited
	stage_hooks -R "$STATE/hooks/hgm"
	stage_hooks -R "$STATE/hooks"
	install_stage
	while read -r _ _ f; do remove_file "$f"; done <"$MANIFEST"
	rm -rf "$STATE"
}

# Two runs on one tree would mix their manifests.
exec {TREE_LOCK}<"$TREE/Makefile"
flock "$TREE_LOCK"
# Not "apply && say": errexit would be off inside.
case $ACTION in
apply)
	apply
	say "overlay applied to $TREE ($MODE, $(wc -l <"$MANIFEST") files, $(cat "$TOP"/hooks/series "$TOP"/hooks/hgm/series | grep -c '^[^#].*\.patch') hooks)"
	;;
unapply)
	unapply
	say "overlay removed from $TREE"
	;;
*) die "unknown action \"$ACTION\"" "apply.sh apply|unapply TREE" ;;
esac
