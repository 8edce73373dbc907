#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Reads what tests print (TAP and KTAP), writes TAP, counts, and compares runs test by test."""
import fnmatch
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
POINT = re.compile(r"^\s*(not ok|ok)\b\s*(\d*)\s*-?\s*(.*)$")
PLAN = re.compile(r"^\s*1\.\.(\d+)\s*(#.*)?$")
DIRECTIVE = re.compile(r"\s*(?<!\\)#\s*(SKIP|XFAIL|TODO|XPASS)\b:?\s*(.*)$", re.I)
# What our own tests say of what must never happen.
WRONG = re.compile(r"\s*# (wrong:|wrong data|counters?\b|.*: counters are not back|.*lost its content)")
KSFT_SKIP = 4
OUTCOMES = ("passed", "failed", "skipped", "known", "unstable")
UNSTABLE = "failed once, passed twice by itself"


class Point:
    """One leaf of a test: passed, failed or skipped, with a reason; doubtful if it failed and no harm is known of."""

    def __init__(self, test, name, outcome, reason="", doubtful=False):
        self.test, self.name, self.outcome, self.reason, self.doubtful = test, name, outcome, reason, doubtful

    def key(self):
        return f"{self.test}: {self.name}" if self.name else self.test


def stable(text):
    """A name without what differs from run to run."""
    text = re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b", "ADDR", text)
    return re.sub(r"\s+", " ", text).strip()


class Result:
    """What one test of a list did."""

    def __init__(self, name):
        self.name, self.lines, self.status, self.seconds = name, [], None, 0.0
        self.started = self.timed_out = False

    def leaves(self):
        """Test points without the summary points of groups: a point that follows deeper ones sums them up."""
        points, plan, plan_depth, depth_of_last = [], None, None, None
        top, said = 0, []
        for line in self.lines:
            said.append(line)
            depth = len(line) - len(line.lstrip(" "))
            found = PLAN.match(line)
            if found:
                if plan_depth is None or depth < plan_depth:
                    plan, plan_depth = int(found.group(1)), depth
                continue
            found = POINT.match(line)
            if not found or (not found.group(2) and not found.group(3)):
                continue
            if plan_depth is not None and depth == plan_depth:
                top += 1
            if depth_of_last is not None and depth < depth_of_last and points:
                depth_of_last = depth
                summary = found.group(1) == "not ok" and not any(p.outcome == "failed" for p in points)
                if not summary:
                    continue
            depth_of_last = depth
            words, outcome, reason = found.group(3), "passed" if found.group(1) == "ok" else "failed", ""
            directive = DIRECTIVE.search(words)
            if directive:
                reason, words = directive.group(2), words[:directive.start()]
                kind = directive.group(1).upper()
                # An expected failure that the test itself announces is what it wants to see.
                outcome = {"SKIP": "skipped", "XFAIL": "passed", "TODO": "skipped"}.get(kind, outcome)
                words = words.strip() or reason
            words, _, remark = words.partition(" # ")
            if outcome == "skipped" and not reason:
                reason = words or "no reason given"
            wrong = [s for s in said if WRONG.match(s)] if outcome == "failed" else []
            doubtful = outcome == "failed" and not wrong
            if outcome == "failed" and not reason:
                # What the test found, or else what the harness says of it.
                told = wrong or [s for s in said if ":Expected " in s]
                reason = told[0].strip(" #\n") if told else remark
            said = []
            points.append(Point(self.name, stable(words), outcome, reason, doubtful))
        seen = {}
        for point in points:
            seen[point.name] = seen.get(point.name, 0) + 1
            if seen[point.name] > 1:
                point.name += f" #{seen[point.name]}"
        return points, plan, top

    def points(self):
        if self.status is None:
            why = "did not end: the guest stopped or hung in it" if self.started else "not run: the guest ended before"
            done = self.leaves()[0] if self.started else []
            return done + [Point(self.name, "(end)", "failed", why)]
        points, plan, top = self.leaves()
        problem = None
        if self.timed_out:
            problem = "did not end in its time and was killed"
        elif self.status > 128:
            problem = f"ended by signal {self.status - 128}"
        elif points and plan and top < plan:
            problem = f"planned {plan} test points, reported {top}"
        elif self.status not in (0, KSFT_SKIP) and not any(p.outcome == "failed" for p in points):
            problem = f"exit status {self.status}: {self.last_words()}"
        elif not points:
            if self.status == 0:
                return [Point(self.name, "", "passed")]
            return [Point(self.name, "", "skipped", self.last_words())]
        return points + ([Point(self.name, "(end)", "failed", problem)] if problem else [])

    def last_words(self):
        words = [line.strip() for line in self.lines if line.strip()]
        plan_skip = [DIRECTIVE.search(line) for line in words if PLAN.match(line) and DIRECTIVE.search(line)]
        if plan_skip:
            return plan_skip[0].group(2)
        return words[-1][-160:] if words else "no output"


def known_failures(kernel):
    """Patterns that apply to this kernel: lines "kernel-glob test-glob subtest-glob reason", fields apart by tabs."""
    known = []
    try:
        with open(os.path.join(HERE, "tests", "known-failures")) as lines:
            for line in lines:
                if line.strip() and not line.startswith("#"):
                    fields = [f.strip() for f in line.rstrip("\n").split("\t") if f.strip()]
                    if len(fields) != 4:
                        sys.exit(f"error: known-failures: expected 4 fields apart by tabs: {line}")
                    if fnmatch.fnmatchcase(kernel, fields[0]):
                        known.append(fields)
    except FileNotFoundError:
        pass
    return known


class Report:
    """One guest run."""

    def __init__(self, title, results, splats, reason):
        self.title, self.results = title, list(results)
        self.splats, self.reason = splats, reason
        known = known_failures(title)
        self.points = []
        for result in self.results:
            for point in result.points():
                for _, test, name, why in known:
                    if point.outcome == "failed" and fnmatch.fnmatchcase(point.test, test) and \
                       fnmatch.fnmatchcase(point.name or "-", name):
                        point.outcome, point.reason = "known", why
                self.points.append(point)
        if reason:
            self.points.append(Point("guest", "", "failed", reason))
        for found in splats:
            self.points.append(Point("kernel log", found.test, "failed", found.line))

    def counts(self):
        counts = dict.fromkeys(OUTCOMES, 0)
        for point in self.points:
            counts[point.outcome] += 1
        return counts

    def doubtful(self):
        """The failed points, if no harm is known of any and the guest itself was well."""
        failed = [p for p in self.points if p.outcome == "failed"]
        return failed if all(p.doubtful for p in failed) else []

    def doubt(self, *again):
        """A doubtful point that passed in each run of these, in which nothing ran beside it, is unstable."""
        passed = [set() if r.reason or r.splats else {p.key() for p in r.points if p.outcome == "passed"} for r in again]
        for point in self.doubtful():
            if passed and all(point.key() in keys for keys in passed):
                point.outcome, point.reason = "unstable", UNSTABLE

    def unstable(self):
        """One by one."""
        for point in self.points:
            if point.outcome == "unstable":
                yield f"unstable: {point.key()} ({UNSTABLE})"

    def failures(self):
        """Failures one by one."""
        failed = [p for p in self.points if p.outcome == "failed"]
        for point in failed[:20]:
            yield f"failed: {point.key()}" + (f" ({point.reason})" if point.reason else "")
        if len(failed) > 20:
            yield f"failed: {len(failed) - 20} more"

    def problems(self):
        """Failures one by one; skips and known failures by test and reason (the TAP file has each)."""
        groups = {}
        yield from self.failures()
        yield from self.unstable()
        for point in self.points:
            if point.outcome in ("skipped", "known"):
                reason = "" if point.reason == point.name else point.reason
                groups.setdefault((point.outcome, point.test, stable(reason)), []).append(point.name)
        for (outcome, test, reason), names in groups.items():
            what = names[0] if len(names) == 1 else f"{len(names)} tests, such as \"{names[0]}\""
            yield f"{'known failure' if outcome == 'known' else 'skipped'}: {test}: {what}" + (f" ({reason})" if reason else "")

    def text(self):
        lines = ["TAP version 13", f"1..{len(self.points)}"]
        by_test = {}
        for point in self.points:
            by_test.setdefault(point.test, []).append(point)
        number = 0
        for test, points in by_test.items():
            result = next((r for r in self.results if r.name == test), None)
            if result:
                lines.append(f"# {test}: {result.seconds:.1f} s, exit status {result.status}")
                if any(p.outcome in ("failed", "unstable") for p in points):
                    lines += ["#   " + line for line in result.lines[-400:]]
            for point in points:
                number += 1
                mark = {"passed": "ok", "failed": "not ok", "skipped": "ok", "known": "not ok", "unstable": "not ok"}[point.outcome]
                tail = {"passed": "", "failed": f" # {point.reason}" if point.reason else "",
                        "skipped": f" # SKIP {point.reason}", "known": f" # TODO known failure: {point.reason}",
                        "unstable": f" # TODO unstable: {point.reason}"}
                lines.append(f"{mark} {number} {point.key()}{tail[point.outcome]}")
        for found in self.splats:
            lines += [f"# kernel log during {found.test}:"] + ["#   " + line for line in found.lines]
        return "\n".join(lines) + "\n"


def counts_line(counts):
    """What has neither passed nor failed, for whatever reason, is no pass."""
    neither = counts["skipped"] + counts["known"] + counts["unstable"]
    return f"{counts['passed']} passed, {counts['failed']} failed, {neither} skipped"


def read(path):
    """Outcome of each point of a TAP file that Report wrote."""
    outcomes, order = {}, []
    with open(path) as lines:
        for line in lines:
            found = POINT.match(line) if not line.startswith("#") else None
            if not found:
                continue
            words, outcome, reason = found.group(3), "passed" if found.group(1) == "ok" else "failed", ""
            directive = DIRECTIVE.search(words)
            if directive:
                outcome = "skipped" if directive.group(1).upper() == "SKIP" else "known"
                if directive.group(2).startswith("unstable: "):
                    outcome = "unstable"
                reason, words = directive.group(2), words[:directive.start()]
            elif outcome == "failed":
                words, _, reason = words.partition(" # ")
            words = same_point(words)
            outcomes[words] = (outcome, reason)
            order.append(words)
    return outcomes, order


def same_point(name):
    """The name of a point without the figures that upstream's pagemap_ioctl puts into one of its names."""
    return re.sub(r"(Extra pages) \d+ \(.*", r"\1", name)


def compare(c_path, rust_path):
    """Differences between the C run and the Rust run, as TAP points; both must have the same points."""
    c, c_order = read(c_path)
    rust, rust_order = read(rust_path)
    differences, known = [], 0
    for name in c_order + [n for n in rust_order if n not in c]:
        if name.startswith(("kernel log", "guest")):
            continue
        left, right = c.get(name, ("absent", ""))[0], rust.get(name, ("absent", ""))[0]
        # C has bugs that Rust has not.
        if (left, right) == ("known", "passed"):
            known += 1
            continue
        # What each of the two would come to without the accident.
        if left.replace("unstable", "passed") != right.replace("unstable", "passed"):
            differences.append(f"{name}: C {left}, Rust {right}")
    return differences, f"{len(c_order)} test points" + (f", {known} of which are known to fail with C" if known else "")


def main():
    usage = "usage: tap.py count FILE... | tap.py compare C.tap RUST.tap"
    if len(sys.argv) < 3:
        sys.exit(usage)
    if sys.argv[1] == "count":
        total = dict.fromkeys(OUTCOMES, 0)
        for path in sys.argv[2:]:
            for outcome, _ in read(path)[0].values():
                total[outcome] += 1
        print(counts_line(total))
        sys.exit(1 if total["failed"] else 0)
    if sys.argv[1] == "compare" and len(sys.argv) == 4:
        differences, what = compare(sys.argv[2], sys.argv[3])
        for difference in differences:
            print("  differs: " + difference)
        print(f"  {what}; {len(differences)} different")
        sys.exit(1 if differences else 0)
    sys.exit(usage)


if __name__ == "__main__":
    main()
