# SPDX-License-Identifier: GPL-2.0
"""A guest with its kernel and its list as one thing to be done, and several of them at a time."""
import os
import re
import subprocess
import sys
import threading
import time
import traceback

import guest
import machine
import tap

TOP = guest.TOP
ARCH, PAGE_SIZE = os.environ.get("ARCH") or "x86_64", os.environ.get("PAGE_SIZE") or "4k"
VARIANT = machine.variant(ARCH, PAGE_SIZE)
USER = os.path.join(TOP, "build", ARCH)
RESULTS = os.path.join(TOP, "build/results")
LISTS = os.path.join(TOP, "scripts/tests")
# FULL=1 makes it three times as long: the debug kernel with the C implementation, upstream's tests on two processors,
# and those that take minutes each on a debug kernel.
FULL = os.environ.get("FULL", "0") not in ("", "0")
# Tests that do not apply to an architecture, or to a size of its pages, and why.
EXCLUDED = {"soft-dirty": "arm64 has no soft-dirty bit in its page-table entries"} if ARCH == "arm64" else {}
if PAGE_SIZE == "64k":
    EXCLUDED["khugepaged"] = "collapse_compound_extreme fills 512 MiB 8192 times"
    EXCLUDED.update({"khugepaged-" + kind: "the page cache has no folio of 512 MiB: MAX_PAGECACHE_ORDER is 11"
                     for kind in ("shmem", "shmem-4", "ext4", "xfs", "tmpfs")})


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
        self.left_out = False

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
        # Upstream's tests do not say whether what they found does harm.
        if any(test[2] not in ("/tests/collapse", "/tests/hugetlb_hgm") for test in tests):
            return
        self.progress = guest.Progress(f"{self.title}, again", len(tests))
        self.report.doubt(*(guest.run(self.args, tests, f"{self.out}-again{turn}", self.progress) for turn in (1, 2)))
        with open(self.out + ".tap", "w") as target:
            target.write(self.report.text())


# More than this is no accident.
MAX_DOUBTFUL = 3


def only_points(command, names):
    """The command for these points of a program of ours; for anything else, all of it."""
    if command.startswith("./stress.sh "):
        return command.replace("${STRESS_CLASSES:-}", " ".join({name.split(" ")[0]: None for name in names}))
    if re.fullmatch(r"\./\w+", command) and all(re.fullmatch(r"\w+(\.\w+)+", name) for name in names):
        return command + "".join(f" -r {name}" for name in names)
    return command


def run_jobs(jobs, slots, in_time=lambda: True):
    """All of them, so many at a time; what could not be started in time is left out, and says so."""
    waiting, running, ticker, start = list(jobs), [], guest.Ticker(), time.monotonic()
    while waiting or running:
        while waiting and len(running) < slots:
            if not in_time():
                for job in waiting:
                    job.left_out = True
                waiting = []
                break
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


def available_mib():
    """Memory of this host for guests."""
    with open("/proc/meminfo") as fields:
        return next(int(line.split()[1]) for line in fields if line.startswith("MemAvailable:")) // 1024


def slots():
    """How many guests at a time."""
    return max(1, min(os.cpu_count() or 1, 8, available_mib() // machine.MEMORY[PAGE_SIZE]))
