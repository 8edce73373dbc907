#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which lines of the Rust code the tests reach: build/results/coverage.txt.

The kernel is the release kernel with line tables, fault injection and KUnit. QEMU writes down each block of instructions
that it translates, which is what is executed at least once; nothing is counted in the guest, and nothing runs slower.
A line counts as reached if one of its instructions was; what the compiler made no instruction of is no line.
"""
import argparse
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import jobs  # noqa: E402

OURS = ("mm/khugepaged/", "mm/hugetlb_hgm/", "rust/kernel/mm/")
# Tests of the code are not code under test.
NOT_OURS = re.compile(r"mm/khugepaged/tests")
LISTS = ["collapse", "inject", "collapse-files", "inject-files", "entries", "mthp", "mthp-file", "inject-mthp-file", "mthp-waste",
         "races", "file-races", "trace", "kunit", "fail-nth", "hgm"]
ROW = re.compile(r"^0x([0-9a-f]{16})(.*)$")


def pieces_of(vmlinux):
    """What the line tables divide the code into: first addresses, and those behind."""
    dump = subprocess.run([f"llvm-dwarfdump-{llvm()}", "--debug-line", vmlinux], stdout=subprocess.PIPE, text=True, check=True)
    last, pieces = None, []
    for line in dump.stdout.split("\n"):
        found = ROW.match(line)
        if not found:
            continue
        at = int(found.group(1), 16)
        if last is not None and at > last:
            pieces.append((last, at))
        last = None if "end_sequence" in found.group(2) else at
    return pieces


def line_table(vmlinux):
    """Pieces of code, as (first address, address behind, file, line), of our files: the line itself and those it is inlined in."""
    pieces = pieces_of(vmlinux)
    asked = "".join(f"{first:#x}\n" for first, _ in pieces)
    told = subprocess.run([f"llvm-symbolizer-{llvm()}", "--obj=" + vmlinux, "--inlines", "--output-style=JSON"], input=asked,
                          stdout=subprocess.PIPE, text=True, check=True)
    table = []
    for (first, behind), answer in zip(pieces, told.stdout.split("\n")):
        for frame in json.loads(answer).get("Symbol", []):
            path = ours(frame.get("FileName", ""))
            if path and frame.get("Line"):
                table.append((first, behind, path, frame["Line"]))
    return table


def llvm():
    """The version that scripts/tools.sh names."""
    with open(os.path.join(jobs.TOP, "scripts/tools.sh")) as text:
        return re.search(r"LLVM_VERSION=(\d+)", text.read()).group(1)


def ours(path):
    """The file's path in this repository, if it is one of those in question."""
    for start in OURS:
        at = path.find(start)
        if at >= 0 and (at == 0 or path[at - 1] == "/") and not NOT_OURS.search(path):
            return path[at:]
    return None


def ranges(pieces):
    """All of the code in few ranges, as QEMU takes them."""
    merged = []
    for first, behind, _, _ in sorted(pieces):
        if merged and first <= merged[-1][1] + 0x800:
            merged[-1][1] = max(merged[-1][1], behind)
        else:
            merged.append([first, behind])
    return ",".join(f"{first:#x}..{behind - 1:#x}" for first, behind in merged)


def executed(path):
    """Addresses of all instructions that QEMU wrote down."""
    addresses = set()
    with open(path, errors="replace") as log:
        for line in log:
            if line.startswith("0x"):
                addresses.add(int(line[2:18].partition(":")[0], 16))
    return addresses


def reached(pieces, addresses):
    """For each file its lines, and whether each was reached."""
    ordered, lines = sorted(addresses), {}
    at = 0
    for first, behind, path, row in sorted(pieces):
        while at < len(ordered) and ordered[at] < first:
            at += 1
        hit = at < len(ordered) and ordered[at] < behind
        rows = lines.setdefault(path, {})
        rows[row] = rows.get(row, False) or hit
    return lines


def write(lines, out):
    """A line for each file, then what was not reached, as source text."""
    total = [0, 0]
    for path in sorted(lines):
        rows = lines[path]
        got = sum(rows.values())
        total[0] += got
        total[1] += len(rows)
        out.write(f"{path:<48} {got:5d} of {len(rows):5d} lines  {100 * got // len(rows):3d}%\n")
    out.write(f"{'all':<48} {total[0]:5d} of {total[1]:5d} lines  {100 * total[0] // max(1, total[1]):3d}%\n")
    for path in sorted(lines):
        missed = sorted(row for row, hit in lines[path].items() if not hit)
        if not missed:
            continue
        out.write(f"\n{path}: not reached\n")
        with open(os.path.join(jobs.TOP, path)) as text:
            source = text.read().split("\n")
        out.writelines(f"  {row:5d}  {source[row - 1]}\n" for row in missed if row <= len(source))
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", default=" ".join(LISTS), help="of scripts/tests")
    parser.add_argument("--cpus", default="2")
    args = parser.parse_args()
    os.makedirs(jobs.RESULTS, exist_ok=True)
    jobs.build("build.sh", IMPL="rust", PROFILE="coverage")
    jobs.build("initramfs.sh")
    kernel = os.path.join(jobs.TOP, "build", jobs.VARIANT, "coverage-rust")
    pieces = line_table(os.path.join(kernel, "vmlinux"))
    if not pieces:
        sys.exit("error: the kernel has no line tables of this code")
    out = os.path.join(jobs.RESULTS, "coverage")
    words = [kernel, *(os.path.join(jobs.LISTS, f"{name}.list") for name in args.lists.split()), "--cpus", args.cpus,
             "--mem", "2304", "--numa", "2", "--hugetlb", "96", "--disk", "ext4:512", "--disk", "xfs:512", "--title", "coverage", "--out", out,
             "--kvm", "0", "--executed", out + ".log", "--executed-in", ranges(pieces)]
    for setting in ("RACE_SECONDS=2", "RACE_CUT=1", "RACE_MTHP=1", "SWAP_CUT=1", "DRIFT_OPS=1000", "HGM_SECONDS=4",
                    "HGM_EXPECTED=1"):
        words += ["--env", setting]
    guest_args = guest.complete(guest.parser().parse_args(words))
    tests = guest.read_lists(guest_args.lists, [])
    report = guest.run(guest_args, tests, out, guest.Progress("coverage", len(tests)))
    guest.print_report(report, out, 0)
    with open(out + ".txt", "w") as text:
        total = write(reached(pieces, executed(out + ".log")), text)
    os.remove(out + ".log")
    print(f"{total[0]} of {total[1]} lines reached: {os.path.relpath(out)}.txt")
    sys.exit(1 if report.counts()["failed"] else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
