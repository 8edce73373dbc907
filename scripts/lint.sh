#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Everything that can be said of the code without running it. Each check runs; the exit status is that of all.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
use_tools
cd "$TOP" || exit
failed=0

# lint NAME COMMAND...: one line, and what the check has to say.
lint() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		printf '  %-34s ok\n' "$name"
		[ -z "$out" ] || printf '%s\n' "$out"
	else
		printf '  %-34s FAILED\n%s\n' "$name" "$out"
		failed=1
	fi
}

files() { git ls-files -co --exclude-standard -- "$@" 2>/dev/null | while read -r f; do [ ! -f "$f" ] || echo "$f"; done; }

format() {
	local list
	mapfile -t list < <(files '*.rs')
	[ ${#list[@]} = 0 ] || "$(dirname "$RUSTC")/rustfmt" --check --color never --edition 2021 --config-path "$SRC/.rustfmt.toml" "${list[@]}" ||
		{ echo "remedy: rustfmt --edition 2021 --config-path build/src/.rustfmt.toml FILE"; return 1; }
}

# Not for patches of an overlay: who signed off, and MAINTAINERS entries.
# checkpatch takes a file that git knows for source, so patches go in by standard input.
IGNORE=MISSING_SIGN_OFF,FILE_PATH_CHANGES,COMMIT_MESSAGE,EMAIL_SUBJECT,SPDX_LICENSE_TAG,NO_AUTHOR_SIGN_OFF,GIT_COMMIT_ID
hooks_style() {
	local f bad=0
	for f in hooks/*.patch hooks/hgm/*.patch; do
		perl "$SRC/scripts/checkpatch.pl" --root="$SRC" --no-signoff --quiet --terse --no-summary --ignore "$IGNORE" - \
			< <(sed '0,/^--- a/s//---\n&/' "$f") || { echo "in $f"; bad=1; }
	done
	return $bad
}

# What checkpatch wants of kernel code only.
USER_SPACE=,VOLATILE,EMBEDDED_FUNCTION_NAME,ARRAY_SIZE,PREFER_DEFINED_ATTRIBUTE_MACRO,MACRO_WITH_FLOW_CONTROL
USER_SPACE=$USER_SPACE,ENOSYS,SPACING,SINGLE_STATEMENT_DO_WHILE_MACRO,COMPLEX_MACRO
c_style() {
	local f bad=0 more
	for f in $(files '*.c' '*.h'); do
		case $f in tools/*) more=$USER_SPACE ;; *) more= ;; esac
		perl "$SRC/scripts/checkpatch.pl" --root="$SRC" --quiet --terse --no-summary --ignore "$IGNORE$more" -f "$f" 2>/dev/null || bad=1
	done
	return $bad
}

kernel_doc() {
	local list
	list=$(files '*.c' '*.h')
	# shellcheck disable=SC2086
	[ -z "$list" ] || python3 -B "$SRC/tools/docs/kernel-doc" -none -Werror $list
}

enum_of() { sed -n '/^enum scan_result {/,/^};/p' "$1" | grep -o 'SCAN_[A-Z_]*'; }

scan_result() {
	diff <(enum_of "$SRC/mm/khugepaged.c") <(enum_of mm/khugepaged/scan_result.h) ||
		{ echo "remedy: give mm/khugepaged/scan_result.h the order of enum scan_result in mm/khugepaged.c"; return 1; }
}

licences() {
	local f bad=0
	for f in $(files '*.rs' '*.c' '*.h' '*.sh' '*.py' '*.config' '*.list' Makefile 'mm/*Makefile' 'tools/*Makefile' Kconfig); do
		head -3 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0' || { echo "$f: no SPDX line"; bad=1; }
	done
	return $bad
}

shell_style() {
	local list
	mapfile -t list < <(files 'scripts/*.sh' 'tools/*.sh' '.ci/run')
	shellcheck -x -S warning "${list[@]}"
}

python_syntax() { python3 -c 'import ast, sys
for f in sys.argv[1:]: ast.parse(open(f).read(), f)' scripts/*.py; }

say "Lint"
lint "rustfmt" format
lint "SAFETY comments, unsafe budget" python3 -B scripts/lint.py
lint "order of enum scan_result" scan_result
lint "checkpatch, hooks" hooks_style
lint "checkpatch, C files" c_style
lint "kernel-doc" kernel_doc
lint "SPDX lines" licences
lint "Python syntax" python_syntax
if command -v shellcheck >/dev/null; then lint "shellcheck" shell_style; else say "  shellcheck                         not checked: apt-get install shellcheck"; fi
[ $failed = 0 ] || die "lint found faults"
say "lint: no faults"
