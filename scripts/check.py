#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""All tests: builds the kernels, runs every list in its guests, compares Rust with C.

Release kernels come first, so that most failures show within minutes. The last line counts everything.
For arm64 it is the release kernels (FULL=1: debug as well), and with 16 and 64 KiB pages a short form.
"""
import os
import re
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fuzz  # noqa: E402
import guest  # noqa: E402
import machine  # noqa: E402
import runner_test  # noqa: E402
import tap  # noqa: E402

TOP = guest.TOP
ARCH, PAGE_SIZE = os.environ.get("ARCH") or "x86_64", os.environ.get("PAGE_SIZE") or "4k"
VARIANT = machine.variant(ARCH, PAGE_SIZE)
USER = os.path.join(TOP, "build", ARCH)
RESULTS = os.path.join(TOP, "build/results")
LISTS = os.path.join(TOP, "scripts/tests")
# FULL=1 makes it three times as long: the debug kernel with the C implementation, upstream's tests on two processors,
# and those that take minutes each on a debug kernel.
FULL = os.environ.get("FULL", "0") not in ("", "0")
IMPLS = (os.environ.get("CHECK_IMPLS") or "rust c").split()
PROFILES = (os.environ.get("CHECK_PROFILES") or ("release debug" if FULL or ARCH == "x86_64" else "release")).split()
# Tests that do not apply to an architecture, or to a size of its pages, and why.
EXCLUDED = {"soft-dirty": "arm64 has no soft-dirty bit in its page-table entries"} if ARCH == "arm64" else {}
if PAGE_SIZE == "64k":
    EXCLUDED["khugepaged"] = "collapse_compound_extreme fills 512 MiB 8192 times"
    EXCLUDED.update({"khugepaged-" + kind: "the page cache has no folio of 512 MiB: MAX_PAGECACHE_ORDER is 11"
                     for kind in ("shmem", "shmem-4", "ext4", "xfs", "tmpfs")})
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
FUZZ_LAST = {"release": 3000 if FULL else 1200, "debug": 200}
LONGEST_FIRST = ["upstream", "file-races", "collapse-files", "upstream-files", "races", "collapse", "files", "migration", "trace", "fuzz",
                 "entries", "mthp-file", "mthp", "mthp-waste", "kunit"]
FILES_OPS = {"release": ["--env", "FSX_OPS=3000", "--env", "RANGES_OPS=600"],
             "debug": ["--env", "FSX_OPS=1000" if FULL else "FSX_OPS=600", "--env", f"RANGES_OPS={200 if FULL else 120}"]}
DISKS = ["--disk", "ext4:512", "--disk", "xfs:512"]


class Job:
    """One guest: a kernel, a list, and the machine that the list needs."""

    def __init__(self, what, impl, profile, cpus, *options, compare=False, files=None, model=None):
        self.what, self.impl, self.profile, self.cpus = what, impl, profile, cpus
        self.options, self.compare = [*options, *(["--cpu", model] if model else [])], compare
        self.files = files or [what]
        self.kernel = os.path.join(TOP, "build", VARIANT, f"{profile}-{impl}")
        kernel = guest.kernel_name(self.kernel)
        self.where = f"{cpus}cpu" + (f" {model}" if model else "")
        self.name = f"{kernel}-{what}-{self.where}".replace(" ", "-")
        self.title = f"{kernel} {what} {self.where}"
        self.out = os.path.join(RESULTS, self.name)
        self.report, self.progress, self.error = None, guest.Progress(self.title, 0), None

    def run(self):
        try:
            lists = [os.path.join(LISTS, f"{name}.list") for name in self.files]
            words = [self.kernel, *lists, "--cpus", str(self.cpus), "--title", self.title, "--out", self.out, *self.options]
            args = guest.complete(guest.parser().parse_args(words))
            tests = guest.read_lists(args.lists, args.only)
            for test in tests:
                if test[0] in EXCLUDED:
                    test[3] = f"echo '1..0 # SKIP {EXCLUDED[test[0]]}'; exit 4"
            self.progress = guest.Progress(self.title, len(tests))
            self.report = guest.run(args, tests, self.out, self.progress)
            self.args, self.tests = args, tests
        except (Exception, SystemExit) as problem:  # a broken runner is a failed run, not a missing one
            self.error = f"{problem}\n{traceback.format_exc()}"


    def again(self):
        """Twice more, by itself, what failed without harm: an accident, such as a machine too slow, is told apart by that."""
        doubtful = self.report.doubtful() if self.report and not FULL else []
        if not doubtful or len(doubtful) > MAX_DOUBTFUL:
            return
        points = {}
        for point in doubtful:
            points.setdefault(point.test, []).append(point.name)
        tests = [[*test[:3], only_points(test[3], points[test[0]])] for test in self.tests if test[0] in points]
        self.progress = guest.Progress(f"{self.title}, again", len(tests))
        self.report.doubt(*(guest.run(self.args, tests, f"{self.out}-again{turn}", self.progress) for turn in (1, 2)))
        with open(self.out + ".tap", "w") as target:
            target.write(self.report.text())


# More than this is no accident.
MAX_DOUBTFUL = 3


def only_points(command, names):
    """The command for these points of a program of ours; for anything else, all of it."""
    if re.fullmatch(r"\./\w+", command) and all(re.fullmatch(r"\w+(\.\w+)+", name) for name in names):
        return command + "".join(f" -r {name}" for name in names)
    return command


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
         "mthp-file": (2, "max")}
# Lists that the C implementation goes through only if all is asked for: they wait, and say no more than that it passes, or
# that it wastes what mthp-waste counts. And elsewhere than on x86_64:
NOT_FOR_C = ("races", "file-races", "files", "mthp-waste")
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
        add("races", 2, "--mem", "2048", "--numa", "2", "--env", f"RACE_SECONDS={RACE_SECONDS[profile]}", compare=True)
        add("file-races", 2, "--mem", "2048", *DISKS, *cut, *few, *lesser, "--env", f"RACE_SECONDS={FILE_RACE_SECONDS[profile]}")
        add("collapse", 2, "--mem", "2048", "--env", f"DRIFT_OPS={drift_ops}", files=["collapse", *inject], compare=True)
        add("collapse-files", 2, "--mem", "2048", *DISKS, *few, files=["collapse-files", *inject_files, *nth], compare=True)
        add("files", 2, "--mem", "2048", *DISKS, *FILES_OPS[profile], files=["files", *shrink])
        add("entries", 2, "--mem", "2048", *DISKS, compare=True)
        add("mthp", 2, "--mem", "2048", compare=True)
        add("mthp-waste", 2, "--mem", "2048")
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
    return jobs


def run_jobs(jobs, slots):
    waiting, running, ticker, start = list(jobs), [], guest.Ticker(), time.monotonic()
    while waiting or running:
        while waiting and len(running) < slots:
            job = waiting.pop(0)
            thread = threading.Thread(target=job.run, daemon=True)
            thread.start()
            running.append((job, thread))
        time.sleep(0.2)
        for job, thread in [r for r in running if not r[1].is_alive()]:
            running.remove((job, thread))
            ticker.clear()
            if job.report:
                guest.print_report(job.report, job.out, job.progress.seconds())
            else:
                print(f"  {job.title}: FAILED to run: {job.error}", flush=True)
        ticker.show(int(time.monotonic() - start), "; ".join(job.progress.text() for job, _ in running) +
                    (f"; {len(waiting)} guests wait" if waiting else ""))
    ticker.clear()


def build(script, **variables):
    status = subprocess.call([os.path.join(TOP, "scripts", script)], env=dict(os.environ, **variables))
    if status:
        print(f"0 passed, 1 failed, 0 skipped ({script} failed)")
        sys.exit(1)


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
    """Every program of the collapse selftests is in a list."""
    with open(os.path.join(USER, "selftests/collapse.programs")) as names:
        programs = set(names.read().split())
    listed = set()
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
            differences, total = tap.compare(c.out + ".tap", rust.out + ".tap")
            yield name, differences, f"{total} test points"


def available_mib():
    """Memory of this host for guests."""
    with open("/proc/meminfo") as fields:
        return next(int(line.split()[1]) for line in fields if line.startswith("MemAvailable:")) // 1024


def main():
    os.makedirs(RESULTS, exist_ok=True)
    total = dict.fromkeys(tap.OUTCOMES, 0)
    slots = max(1, min(os.cpu_count() or 1, 8, available_mib() // machine.MEMORY[PAGE_SIZE]))
    start, everything = time.monotonic(), []
    print("Guest's user space", flush=True)
    build("fsx.sh")
    build("initramfs.sh")
    all_listed(total)
    for profile in PROFILES:
        print(f"Kernels, {profile}", flush=True)
        for impl in impls_of(profile):
            build("build.sh", IMPL=impl, PROFILE=profile)
        print(f"Guests, {profile}", flush=True)
        if profile == PROFILES[0]:
            runner_works(total)
            fuzz_works(total)
        jobs = jobs_of(profile)
        run_jobs(jobs, slots)
        for job in jobs:
            job.again()
        everything += jobs
        for name, differences, what in comparisons(jobs):
            total["failed" if differences else "passed"] += 1
            print(f"  {name}: {'DIFFERENT' if differences else 'equal, ' + what}")
            for difference in differences[:20]:
                print("    " + difference)
            if len(differences) > 20:
                print(f"    and {len(differences) - 20} more")
    print(f"Results, after {int(time.monotonic() - start) // 60} minutes (each test: build/results/*.tap)")
    for job in everything:
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
