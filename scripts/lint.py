#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Rules for the Rust code that the compiler does not check: SAFETY comments and the budget of unsafe."""
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNSAFE = re.compile(r"\bunsafe\s*(\{|impl\b)")
UNSAFE_FN = re.compile(r"\bunsafe\s+(extern\s+\"C\"\s+)?fn\s+\w+\s*[(<]")
FFI_BLOCKS = 45
ABSTRACTION_PER_1000 = 110


def rust_files(*directories):
    for directory in directories:
        for path, _, names in sorted(os.walk(os.path.join(TOP, directory))):
            for name in sorted(names):
                if name.endswith(".rs"):
                    yield os.path.relpath(os.path.join(path, name), TOP)


def code_of(line):
    """The line without comments and without the contents of strings."""
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    return re.sub(r"//.*", "", line)


def comment_above(lines, number):
    """Comment lines directly above the statement or item that line NUMBER belongs to."""
    up = number - 1
    for _ in range(12):
        if up < 0:
            return []
        text = lines[up].strip()
        if text.startswith("//"):
            break
        if not text or (text.endswith((";", "}", "{", "},")) and not text.startswith("#[")):
            return []
        up -= 1
    found = []
    while up >= 0 and (lines[up].strip().startswith("//") or lines[up].strip().startswith("#[")):
        found.append(lines[up].strip())
        up -= 1
    return found


def in_trait_impl(lines, number):
    """Whether the line is inside "impl Trait for Type": its contract is written at the trait."""
    indent = len(lines[number]) - len(lines[number].lstrip())
    for line in reversed(lines[:number]):
        if line.strip() and len(line) - len(line.lstrip()) < indent:
            if line.lstrip().startswith(("where", "{", ")")):
                continue
            return bool(re.match(r"\s*(unsafe )?impl\b.* for ", line))
    return False


def check_file(path, problems):
    """Counts unsafe blocks; each must say why it is safe."""
    with open(os.path.join(TOP, path)) as source:
        lines = source.read().split("\n")
    blocks = code = 0
    for number, line in enumerate(lines):
        plain = code_of(line)
        if plain.strip():
            code += 1
        if re.search(r"SAFETY:\s*(TODO|FIXME|XXX)", line) or re.search(r"SAFETY:\s*$", line) and \
           not lines[number + 1].strip().startswith("//"):
            problems.append(f"{path}:{number + 1}: SAFETY comment says nothing")
        found = len(UNSAFE.findall(plain))
        if found:
            blocks += found
            here = [line.strip()] if "//" in line and "SAFETY:" in line else []
            if not any("SAFETY:" in c for c in comment_above(lines, number) + here):
                problems.append(f"{path}:{number + 1}: unsafe without a SAFETY comment directly above")
        if UNSAFE_FN.search(plain) and not re.match(r"\s*(extern|type)\b", plain) and not in_trait_impl(lines, number):
            above = comment_above(lines, number)
            if not any("# Safety" in c or "SAFETY:" in c for c in above):
                problems.append(f"{path}:{number + 1}: unsafe fn without a # Safety section")
    return blocks, code


def main():
    problems = []
    policy = ffi = abstraction = code = 0
    for path in rust_files("mm"):
        blocks, _ = check_file(path, problems)
        if re.match(r"mm/\w+/ffi(\.rs|/)", path):
            ffi += blocks
        else:
            policy += blocks
            if blocks:
                problems.append(f"{path}: {blocks} unsafe blocks; only ffi may have any")
    for path in rust_files("rust"):
        blocks, lines = check_file(path, problems)
        abstraction, code = abstraction + blocks, code + lines
    density = 1000 * abstraction / code if code else 0
    print(f"  unsafe blocks: policy {policy} (0 allowed), ffi {ffi} (fewer than {FFI_BLOCKS}), "
          f"abstractions {abstraction} in {code} lines: {density:.0f} per 1000 (fewer than {ABSTRACTION_PER_1000})")
    if ffi >= FFI_BLOCKS:
        problems.append(f"mm/*/ffi: {ffi} unsafe blocks; fewer than {FFI_BLOCKS} allowed")
    if density >= ABSTRACTION_PER_1000:
        problems.append(f"rust/: {density:.0f} unsafe blocks per 1000 lines; fewer than {ABSTRACTION_PER_1000} allowed")
    for problem in problems:
        print("  " + problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
