#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""All tests: builds the kernels, runs every list in its guests, compares Rust with C.

Release kernels come first, so that most failures show within minutes. The last line counts everything.
For arm64 it is the release kernels (FULL=1: debug as well), and with 16 and 64 KiB pages a short form.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fuzz  # noqa: E402
import guest  # noqa: E402
import runner_test  # noqa: E402
import stress  # noqa: E402
import tap  # noqa: E402
from jobs import ARCH, FULL, LISTS, PAGE_SIZE, RESULTS, TOP, USER, VARIANT, Job, build, run_jobs, slots  # noqa: E402

IMPLS = (os.environ.get("CHECK_IMPLS") or "rust c").split()
PROFILES = (os.environ.get("CHECK_PROFILES") or ("release debug" if FULL or ARCH == "x86_64" else "release")).split()
# Some guests only, by what they are called, such as "trace".
JOBS = (os.environ.get("CHECK_JOBS") or "").split()


def impls_of(profile):
    """The C implementation is measured against on the release kernel; on the debug kernel if all is asked for."""
    return [impl for impl in IMPLS if FULL or profile != "debug" or impl != "c" or IMPLS == ["c"]]


# How long a race lasts and how many operations the accounts must survive: a debug kernel is slow and sees more.
RACE_SECONDS = {"release": 5 if FULL else 2, "debug": 10 if FULL else 5}
FILE_RACE_SECONDS = {"release": 2, "debug": 4 if FULL else 2}
DRIFT_OPS = {"release": 100000 if FULL or ARCH == "x86_64" else 30000, "debug": 5000}
# The accounts of the C implementation are not what is in question.
C_DRIFT_OPS = 10000
START, MINUTES, LONGEST_GUEST = time.monotonic(), int(os.environ.get("CHECK_MINUTES") or 0), 10
STRESS_SECONDS = 20 if FULL else 4
FUZZ_LAST = {"release": 3000 if FULL else 1200, "debug": 200}
# Which kernels have high-granularity mapping of HugeTLB pages, and how long each of its races lasts.
HGM = ARCH == "x86_64"
HGM_SECONDS = {"release": 60 if FULL else 4, "debug": 60 if FULL else 8}
LONGEST_FIRST = ["upstream", "hgm", "hgm-hvo", "stress", "upstream-hugetlb", "file-races", "collapse-files", "upstream-files", "races", "collapse", "files", "migration", "trace", "fuzz",
                 "entries", "mthp-file", "programs", "mthp", "mthp-waste", "kunit"]
FILES_OPS = {"release": ["--env", "FSX_OPS=3000", "--env", "RANGES_OPS=600"],
             "debug": ["--env", "FSX_OPS=1000" if FULL else "FSX_OPS=600", "--env", f"RANGES_OPS={200 if FULL else 120}"]}
DISKS = ["--disk", "ext4:512", "--disk", "xfs:512"]


# Upstream's tests map memory where they expect nothing to be, which address randomisation may disappoint.
UPSTREAM = ["--mem", "3072", "--hugetlb", "128", "--append", "norandmaps"]
# Of these, what is run with pages of 16 and 64 KiB; a huge page of hugetlb is as large as a PMD there, too.
UPSTREAM_SHORT = ["--hugetlb", {"16k": "8", "64k": "2"}.get(PAGE_SIZE, "0"), "--append", "norandmaps", "--only",
                  "khugepaged(?!-of).*|transhuge-stress|prctl_thp_disable|process_madv|madv_populate|guard-regions"]
SHORT = "(?!khugepaged-of|khugepaged-xfs|cow|soft-dirty|ksm_functional_tests|mremap_test|uffd-unit-tests|split_huge_page|folio_split_race_test).*"


# arm64: how many processors the guest of each list has, and of which model. cortex-a35 leaves it to the kernel to keep
# accessed and dirty bits; max does it by itself, and has memory tags, 52-bit addresses and invalidation by ranges.
ARM64 = {"races": (4, "max"), "file-races": (4, "cortex-a35"), "collapse": (2, "cortex-a35"), "collapse-files": (2, "max"),
         "files": (2, "cortex-a35"), "migration": (4, "max"), "trace": (1, "max"), "upstream": (1, "cortex-a35"),
         "upstream-files": (1, "max"), "kunit": (1, "max"), "mthp": (4, "max"), "mthp-waste": (2, "cortex-a35"),
         "mthp-file": (2, "max"), "stress": (4, "cortex-a35")}
# Lists that the C implementation goes through only if all is asked for: they wait, and say no more than that it passes, or
# that it wastes what mthp-waste counts. And elsewhere than on x86_64:
NOT_FOR_C = ("races", "file-races", "files", "mthp-waste", "stress")
# What the release kernel does as a part of "stress".
IN_STRESS = ("races", "file-races")
C_ON_X86 = ("migration",)
# What depends on who keeps these bits runs on both.
BOTH = [(1, "cortex-a35"), (4, "max")]


def places(what, cpus):
    """On how many processors, of which model, the guests of a list run."""
    if ARCH == "x86_64":
        return [(cpus, None)]
    if what == "entries":
        return BOTH
    number, model = ARM64[what]
    return [(number, "cortex-a35"), (number, "max")] if FULL else [(number, model)]


def jobs_of(profile):
    """The matrix, longest first so that the last guests end together."""
    jobs = short_jobs(profile) if PAGE_SIZE != "4k" else full_jobs(profile)
    jobs = [job for job in jobs if not JOBS or job.what in JOBS]
    return sorted(jobs, key=lambda job: LONGEST_FIRST.index(job.what))


def short_jobs(profile):
    """Of kernels with larger pages: collapse itself."""
    jobs = []
    for impl in impls_of(profile):
        jobs += [
            Job("upstream", impl, profile, 1, *UPSTREAM_SHORT, compare=True, model="max"),
            Job("upstream-files", impl, profile, 4, *UPSTREAM_SHORT, *DISKS, compare=True, model="cortex-a35"),
            # drift does ten thousands of collapses.
            Job("collapse", impl, profile, 2, "--only", "(?!drift).*", compare=True, model="cortex-a35"),
            *(Job("entries", impl, profile, number, *DISKS, compare=True, model=model) for number, model in BOTH),
            Job("mthp", impl, profile, 2, compare=True, model="cortex-a35"),
            *([] if impl == "c" and not FULL else [Job("mthp-waste", impl, profile, 2, model="cortex-a35")]),
            # A PMD has four times as many pages, and each is looked at for each order.
            *([Job("mthp-file", impl, profile, 2, *DISKS, model="max")] if impl == "rust" and FULL else []),
        ]
    return jobs


def full_jobs(profile):
    """Everything."""
    jobs = []
    # One processor is what an emulated debug kernel is fastest with; the races and our own tests have two.
    for impl in impls_of(profile):
        def add(what, cpus, *options, **more):
            if impl == "c" and not FULL and what in NOT_FOR_C + (C_ON_X86 if ARCH != "x86_64" else ()):
                return
            if what in IN_STRESS and profile == "release" and not FULL:
                return
            jobs.extend(Job(what, impl, profile, number, *options, model=model, **more) for number, model in places(what, cpus))
        # Truncation of a file on a disk can hang the C implementation for ever: see files-shrink.list.
        shrink, cut = (["files-shrink"], ["--env", "RACE_CUT=1"]) if impl == "rust" else ([], [])
        # fail_collapse is there on the debug kernel.
        faults = (profile, impl) == ("debug", "rust")
        inject, inject_files = (["inject"], ["inject-files"]) if faults else ([], [])
        # On the debug kernel what cannot be a huge page for the moment becomes lesser folios, where there is such a thing.
        lesser = ["--env", "RACE_MTHP=1"] if faults else []
        nth = ["fail-nth"] if profile == "debug" and FULL else []
        few = ["--env", "FEW_KINDS=1"] if profile == "debug" and not FULL else []
        drift_ops = C_DRIFT_OPS if impl == "c" and not FULL else DRIFT_OPS[profile]
        if profile == "release" and (impl == "rust" or FULL):
            jobs += [stress.job(impl, profile, number, STRESS_SECONDS, model=model) for number, model in places("stress", 4)]
        add("races", 2, "--mem", "2048", "--numa", "2", "--env", f"RACE_SECONDS={RACE_SECONDS[profile]}", compare=True)
        add("file-races", 2, "--mem", "2048", *DISKS, *cut, *few, *lesser, "--env", "SWAP_CUT=1", "--env", f"RACE_SECONDS={FILE_RACE_SECONDS[profile]}")
        add("collapse", 2, "--mem", "2048", "--env", f"DRIFT_OPS={drift_ops}", files=["collapse", *inject], compare=True)
        add("collapse-files", 2, "--mem", "2048", *DISKS, *few, "--env", "SWAP_CUT=1", files=["collapse-files", *inject_files, *nth], compare=True)
        add("files", 2, "--mem", "2048", *DISKS, *FILES_OPS[profile], files=["files", *shrink])
        add("entries", 2, "--mem", "2048", *DISKS, compare=True)
        add("mthp", 2, "--mem", "2048", compare=True)
        add("mthp-waste", 2, "--mem", "2048")
        if HGM and impl == "rust":
            # Without HGM_EXPECTED a kernel that has lost it would do nothing but skip. With HVO nobody can write to tail pages.
            hgm = ["--mem", "2048", "--numa", "2", "--hugetlb", "96", "--env", "HGM_EXPECTED=1",
                   "--env", f"HGM_SECONDS={HGM_SECONDS[profile]}"]
            add("hgm", 2, *hgm)
            if FULL or profile == "release":
                add("hgm-hvo", 2, *hgm, "--append", "hugetlb_free_vmemmap=on", files=["hgm"])
        # With the option on (Rust) and off (C); upstream's are slow on a debug kernel.
        if HGM and (FULL or profile == "release"):
            add("upstream-hugetlb", 2, "--mem", "2048", "--hugetlb", "256", *DISKS, compare=True)
        if impl == "rust":
            add("mthp-file", 2, "--mem", "2048", *DISKS, *few, files=["mthp-file", *(["inject-mthp-file"] if faults else [])])
        # They mostly wait, or print for a comparison: on the debug kernel only if all is asked for.
        if FULL or profile == "release":
            add("migration", 4, "--mem", "2048", "--numa", "3", "--hugetlb", "64", compare=True)
            add("trace", 1, "--mem", "2048", *DISKS)
            if ARCH == "x86_64":
                add("fuzz", 1, "--mem", "2048", "--env", f"FUZZ_LAST={FUZZ_LAST[profile]}")
        quick = [] if FULL or profile == "release" else ["--only", SHORT]
        for cpus in [1, 2] if FULL and profile == "release" and ARCH == "x86_64" else [1]:
            add("upstream", cpus, *UPSTREAM, *quick, compare=True)
            add("upstream-files", cpus, *UPSTREAM, *DISKS, *quick, compare=True)
        if profile == "debug" and impl == "rust":
            add("kunit", 1)
            if ARCH == "x86_64":
                few_programs = [] if FULL else ["--only", "(?!sqlite-xfs|compile-tmpfs).*"]
                add("programs", 2, "--mem", "2048", *DISKS, "--image", "programs", *few_programs,
                    "--env", f"PROGRAM_SECONDS={60 if FULL else 8}")
    return jobs


def runner_works(total):
    """The runner notices every way to fail: one point, and no other test counts without it."""
    job = Job("runner", IMPLS[0], PROFILES[0], 1)
    job.run()
    problems = runner_test.check(job.report) if job.report else [job.error]
    total["failed" if problems else "passed"] += 1
    print(f"  the runner notices failures: {'NO' if problems else 'yes'}", flush=True)
    for problem in problems:
        print("    " + problem)


def fuzz_works(total):
    """Faults that the program makes are found and made short: one point."""
    if "release" not in PROFILES or ARCH != "x86_64" or (JOBS and "fuzz" not in JOBS):
        return
    problems = fuzz.self_test(os.path.join(TOP, "build", VARIANT, f"release-{IMPLS[0]}"))
    total["failed" if problems else "passed"] += 1
    print(f"  fuzz finds faults and makes them short: {'NO' if problems else 'yes'}", flush=True)
    for problem in problems:
        print("    " + problem)


def all_listed(total):
    """Every program of our selftests is in a list, or runs for a failure class."""
    programs = set()
    for directory in ["collapse"] + ["hugetlb_hgm"] * (ARCH == "x86_64"):
        with open(os.path.join(USER, f"selftests/{directory}.programs")) as names:
            programs |= set(names.read().split())
    listed = stress.programs()
    for path in (os.path.join(LISTS, f) for f in os.listdir(LISTS) if f.endswith(".list")):
        listed |= {word[2:] for test in guest.read_lists([path], []) for word in test[3].split() if word.startswith("./")}
    missing = sorted(programs - listed)
    total["failed" if missing else "passed"] += 1
    if missing:
        print("  in no list of scripts/tests: " + " ".join(missing))


def trace_of(job):
    """What the trace workload printed between its markers."""
    lines, inside = [], False
    with open(job.out + ".out") as text:
        for line in text:
            if line.startswith("=== END trace_workload"):
                inside = False
            if inside:
                lines.append(line.rstrip())
            if line.startswith("=== BEGIN trace_workload"):
                inside = True
    return lines


def fuzz_differences(c, rust):
    """Sequences that fail, and whatever differs once and not again."""
    sides, outcomes = [fuzz.Side(job.impl, job.kernel) for job in (c, rust)], []
    for job in (c, rust):
        with open(job.out + ".out") as text:
            outcomes.append(fuzz.outcomes_of(text))
    try:
        failing, unsteady = fuzz.check_lists(sides, *outcomes)
    except RuntimeError as problem:
        return [str(problem)], ""
    differences = [f"seed {seed}: {why}; scripts/fuzz.py --seed {seed} --sequences 1 makes it short" for seed, why in failing.items()]
    if not outcomes[0]:
        differences.append("no sequence was run")
    return differences, f"{len(outcomes[0])} sequences" + (f", {unsteady} of them only when run again" if unsteady else "")


def comparisons(jobs):
    """Rust against C, one point per pair of guests."""
    for rust in [j for j in jobs if j.impl == "rust"]:
        partner = [j for j in jobs if j.impl == "c" and (j.files, j.profile, j.where) == (rust.files, rust.profile, rust.where)]
        if not partner or not (rust.compare or rust.what in ("trace", "fuzz")):
            continue
        name, c = f"{rust.profile} {rust.what} {rust.where}: Rust as C", partner[0]
        if rust.left_out or c.left_out:
            continue
        if not rust.report or not c.report:
            yield name, ["one of the two guests did not run"], ""
        elif rust.what == "fuzz":
            differences, what = fuzz_differences(c, rust)
            yield name, differences, what
        elif rust.what == "trace":
            left, right = trace_of(c), trace_of(rust)
            differences = [f"line {n}: C \"{a}\", Rust \"{b}\"" for n, (a, b) in enumerate(zip(left, right), 1) if a != b]
            if len(left) != len(right):
                differences.append(f"C {len(left)} events, Rust {len(right)}")
            if not left:
                differences.append("the C kernel traced no event")
            yield name, differences, f"{len(left)} trace events"
        else:
            yield name, *tap.compare(c.out + ".tap", rust.out + ".tap")


def in_time():
    """Whether a guest that is started now will be over in CHECK_MINUTES, if that is set; a debug kernel takes the longest."""
    return not MINUTES or time.monotonic() - START < (MINUTES - LONGEST_GUEST) * 60


def main():
    os.makedirs(RESULTS, exist_ok=True)
    total, everything = dict.fromkeys(tap.OUTCOMES, 0), []
    print("Guest's user space", flush=True)
    build("fsx.sh")
    build("initramfs.sh")
    build("programs.sh")
    all_listed(total)
    for profile in PROFILES:
        print(f"Kernels, {profile}", flush=True)
        for impl in impls_of(profile) if in_time() else []:
            build("build.sh", IMPL=impl, PROFILE=profile)
        print(f"Guests, {profile}", flush=True)
        if profile == PROFILES[0]:
            runner_works(total)
            fuzz_works(total)
        jobs = jobs_of(profile)
        run_jobs(jobs, slots(), in_time)
        for job in jobs:
            job.again()
        everything += jobs
        stressed = [job for job in everything if job.what == "stress" and job.report]
        if stressed:
            stress.write(stressed)
        for name, differences, what in comparisons(jobs):
            total["failed" if differences else "passed"] += 1
            print(f"  {name}: {'DIFFERENT' if differences else 'equal, ' + what}")
            for difference in differences[:20]:
                print("    " + difference)
            if len(differences) > 20:
                print(f"    and {len(differences) - 20} more")
    print(f"Results, after {int(time.monotonic() - START) // 60} minutes (each test: build/results/*.tap)")
    for job in everything:
        if job.left_out:
            total["skipped"] += 1
            print(f"  {job.title:<34} left out: it might not be over in CHECK_MINUTES={MINUTES}")
            continue
        if not job.report:
            total["failed"] += 1
            print(f"  {job.title:<34} did not run")
            continue
        counts = job.report.counts()
        for outcome, number in counts.items():
            total[outcome] += number
        print(f"  {job.title:<34} {tap.counts_line(counts)}")
    # Once more, as the end is what is read first.
    for job in everything:
        said = [*job.report.failures(), *job.report.unstable()] if job.report else []
        if said:
            print(f"  {job.title}:")
            print("".join(f"    {line}\n" for line in said), end="")
    print(tap.counts_line(total))
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
