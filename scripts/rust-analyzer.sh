#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Writes rust-project.json for editors: the kernel's own crates and the crate in mm/khugepaged.
. "$(dirname "$0")/lib.sh"
. "$TOP/scripts/tools.sh"
check_variables
use_tools
OUT=$(kernel_dir "$IMPL" "$PROFILE")

step "rust-analyzer" rust-analyzer.log "see the log" "${KMAKE[@]}" -C "$SRC" O="$OUT" rust-analyzer
python3 - "$OUT/rust-project.json" "$TOP" "$SRC" <<'EOF'
import json, os, sys
path, top, src = sys.argv[1:]
with open(path) as text:
    project = json.load(text)
crates = project["crates"]
index = {crate["display_name"]: number for number, crate in enumerate(crates)}
if "khugepaged" not in index:
    wanted = ["core", "kernel", "pin_init", "zerocopy"]
    crates.append(dict(
        display_name="khugepaged", root_module=os.path.join(src, "mm/khugepaged/khugepaged.rs"), is_workspace_member=True,
        is_proc_macro=False, edition="2021", cfg=crates[index["kernel"]]["cfg"], env={"RUST_MODFILE": "This is only for rust-analyzer"},
        deps=[dict(crate=index[name], name=name) for name in wanted if name in index]))
with open(os.path.join(top, "rust-project.json"), "w") as text:
    json.dump(project, text, indent=1)
EOF
say "written: $TOP/rust-project.json (open the clone in your editor)"
