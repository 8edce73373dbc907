#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The failure classes on several kernels, as one table: build/results/stress.md, and stress.tap.

The tests are those of stress.sh in the guest, which can also be used without this.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import jobs  # noqa: E402
import tap  # noqa: E402

CLASSES = os.path.join(jobs.TOP, "tools/testing/selftests/mm/collapse/classes")
DISKS = ["--disk", "ext4:512", "--disk", "xfs:512"]


def classes():
    """Rows of the file, as (number, what goes wrong)."""
    with open(CLASSES) as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines if not line.startswith("#")]
    for row in rows:
        if len(row) != 3:
            raise SystemExit(f"error: {CLASSES}: expected 3 fields apart by tabs: {row}")
    return [(number, title) for number, _, title in rows]


def programs():
    """The test programs that the file names."""
    with open(CLASSES) as lines:
        fields = [line.split("\t") for line in lines if not line.startswith("#")]
    return {test.split(":")[0] for field in fields for test in field[1].split() if test != "-"}


def job(impl, profile, cpus, seconds, widen=100, only=(), model=None):
    """A guest that goes through them; truncation on disks can hang the C implementation for ever."""
    settings = {"STRESS_SECONDS": seconds, "STRESS_WIDEN": widen, "STRESS_CLASSES": f'"{" ".join(only)}"', "RACE_MTHP": 1, "SWAP_CUT": 1}
    if impl == "rust":
        settings["RACE_CUT"] = 1
    env = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    return jobs.Job("stress", impl, profile, cpus, "--mem", "2048", "--numa", "2", *DISKS, *env, model=model)


def cell(job, number):
    """What the kernel did in a class: the outcome, and the tests with another one."""
    points = [p for p in job.report.points if p.name.split(" ")[0] == number] if job.report else []
    bad, known, skipped = ([p for p in points if p.outcome == outcome] for outcome in ("failed", "known", "skipped"))
    for what, these in (("failed", bad), ("fails as is known", known)):
        if these:
            return f"{what}: " + ", ".join(p.name.partition(" ")[2] for p in these)
    if not points:
        return "not run"
    if len(skipped) == len(points):
        return "skipped"
    return "passed" + (f" ({len(skipped)} of {len(points)} skipped)" if skipped else "")


def write(done):
    """The table of these jobs."""
    head = [f"{job.profile} {job.impl} {job.where}" for job in done]
    table = ["| class | what goes wrong | " + " | ".join(head) + " |", "|---|---|" + "---|" * len(head)]
    points = []
    for number, title in classes():
        cells = [cell(job, number) for job in done]
        if all(text == "not run" for text in cells):
            continue
        table.append(f"| {number} | {title} | " + " | ".join(cells) + " |")
        for where, text in zip(head, cells):
            mark = "ok" if text.startswith(("passed", "skipped")) else "not ok"
            points.append((mark, f"class {number} on {where}", " # SKIP" if text == "skipped" else f" # {'TODO ' if text.startswith('fails as') else ''}{text}"))
    with open(os.path.join(jobs.RESULTS, "stress.md"), "w") as out:
        out.write("\n".join(table) + "\n")
    with open(os.path.join(jobs.RESULTS, "stress.tap"), "w") as out:
        out.write(f"TAP version 13\n1..{len(points)}\n")
        out.writelines(f"{mark} {n} {name}{rest}\n" for n, (mark, name, rest) in enumerate(points, 1))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="for each racing class (4)")
    parser.add_argument("--widen", type=int, default=100, metavar="US", help="how long collapses are held up (100 us; 0: not at all)")
    parser.add_argument("--impls", default="rust c")
    parser.add_argument("--profiles", default="release")
    parser.add_argument("--cpus", default="2")
    parser.add_argument("only", nargs="*", metavar="CLASS", help="only these")
    args = parser.parse_args()
    os.makedirs(jobs.RESULTS, exist_ok=True)
    unknown = set(args.only) - {number for number, _ in classes()}
    if unknown:
        parser.error("no such class: " + " ".join(sorted(unknown)))
    if jobs.PAGE_SIZE != "4k":
        parser.error("made for pages of 4 KiB")
    jobs.build("initramfs.sh")
    done = []
    for profile in args.profiles.split():
        for impl in args.impls.split():
            jobs.build("build.sh", IMPL=impl, PROFILE=profile)
            done += [job(impl, profile, int(cpus), args.seconds, args.widen, args.only) for cpus in args.cpus.split()]
    jobs.run_jobs(done, jobs.slots())
    print("\n".join(write(done)))
    print(f"The table is {os.path.relpath(jobs.RESULTS)}/stress.md, and stress.tap; each test is in stress's .tap files there")
    total = dict.fromkeys(tap.OUTCOMES, 0)
    for one in done:
        for outcome, number in (one.report.counts() if one.report else {"failed": 1}).items():
            total[outcome] += number
    print(tap.counts_line(total))
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
