#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Instructions, allocations and interrupts per collapse: C against Rust, one table and a CSV file.

Both release kernels come from one tree and differ in one line of configuration. The guest's clock counts
instructions, so a figure repeats exactly. Instructions and allocations are measured with one processor,
interrupts and TLB flushes with two.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import machine  # noqa: E402

TOP = guest.TOP
RESULTS = os.path.join(TOP, "build/results")
BAR = 1.10
VARIANT = machine.variant(os.environ.get("ARCH") or "x86_64", os.environ.get("PAGE_SIZE") or "4k")
# x86_64 is what is meant if nothing is said.
PREFIX = "" if VARIANT == "x86_64" else VARIANT + "-"


def measure(impl, cpus):
    """Rows of one guest: {(row, unit): value}."""
    kernel = os.path.join(TOP, "build", VARIANT, f"release-{impl}")
    out = os.path.join(RESULTS, f"{PREFIX}bench-{impl}-{cpus}cpu")
    title = f"{PREFIX}bench {impl} {cpus}cpu"
    args = guest.complete(guest.parser().parse_args(
        [kernel, "--icount", "--cpus", str(cpus), "--mem", "2048", "--disk", "ext4:256", "--disk", "xfs:320", "--out", out, "--title", title]))
    tests = [["bench", "1800", "/tests/collapse", "./bench --csv"]]
    progress, ticker = guest.Progress(title, 1), guest.Ticker()
    report = guest.run(args, tests, out, progress, lambda: ticker.show(progress.seconds(), progress.text()))
    ticker.clear()
    if report.counts()["failed"]:
        guest.print_report(report, out, progress.seconds())
        sys.exit(f"error: the measurement on {impl} with {cpus} processor(s) failed\nremedy: see {out}.out and {out}.console")
    print(f"  {title:<26} {progress.seconds() // 60}:{progress.seconds() % 60:02d}  done", flush=True)
    values = {}
    with open(out + ".out") as lines:
        for line in lines:
            fields = line.strip().rsplit(",", 2)
            if len(fields) == 3 and not line.startswith(("@@", "row,")):
                values[fields[0], fields[1]] = float(fields[2])
    return values


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}".rstrip("0").rstrip(".")


def table(c, rust):
    """The lines of the table, the CSV, and the rows above the bar."""
    lines, csv, above, unit_before = [], ["row,unit,c,rust,ratio"], [], None
    keys = [key for key in c if key in rust]
    units = list(dict.fromkeys(unit for _, unit in keys))
    for unit in units:
        for row, its_unit in keys:
            if its_unit != unit:
                continue
            if unit != unit_before:
                lines += ["", f"{unit + ' per 2 MiB':<40} {'C':>12} {'Rust':>12} {'Rust/C':>8}"]
                unit_before = unit
            left, right = c[row, unit], rust[row, unit]
            ratio = right / left if left else (1.0 if right == left else float("inf"))
            mark = ""
            if c.get((row, "regions")) != rust.get((row, "regions")):
                mark = "  not the same work: see regions"
            elif unit == "insn" and ratio > BAR:
                above.append(row)
                mark = f"  above {BAR:.2f}"
            lines.append(f"{row:<40} {number(left):>12} {number(right):>12} {ratio:>8.3f}{mark}")
            csv.append(f"{row},{unit},{left},{right},{ratio:.4f}")
    for key in list(c) + list(rust):
        if key not in c or key not in rust:
            lines.append(f"{key[0]}, {key[1]}: measured on only one kernel")
            above.append(key[0])
    return lines, csv, above


def main():
    os.makedirs(RESULTS, exist_ok=True)
    values = {}
    for impl in ("c", "rust"):
        values[impl] = {}
        for cpus in (1, 2):
            values[impl].update(measure(impl, cpus))
    if not values["c"]:
        sys.exit(f"error: the bench printed no figure\nremedy: see build/results/{PREFIX}bench-c-1cpu.out")
    lines, csv, above = table(values["c"], values["rust"])
    print("\n".join(lines))
    path = os.path.join(RESULTS, PREFIX + "bench.csv")
    with open(path + ".new", "w") as target:
        target.write("\n".join(csv) + "\n")
    os.replace(path + ".new", path)
    print(f"\nwritten to {os.path.relpath(path)}")
    if above:
        sys.exit(f"rows above {BAR:.2f} or incomplete: " + ", ".join(dict.fromkeys(above)))


if __name__ == "__main__":
    main()
