#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random sequences of calls, on the C and on the Rust kernel: what can be seen must be the same.

The program in the guest (tools/testing/selftests/mm/collapse/fuzz.c) prints a line for each seed: a hash of what came of
it, one of the counters (0 if these are not to be compared), and whether memory held something else than it must. A
difference that comes again is made shorter, call by call, and printed as a program.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import tap  # noqa: E402

TOP = guest.TOP
RESULTS = os.path.join(TOP, "build/results")
HEADERS = os.path.join(TOP, "tools/testing/selftests/mm/collapse")
LINE = re.compile(r"^@(\d+) ([0-9a-f]{16}) ([0-9a-f]{8})(?: wrong: (.*))?$")
# A guest lives for so many sequences: one that hangs costs no more than these.
PORTION = 5000
REPEATS = 3


class Outcome:
    """What came of one sequence on one kernel."""

    def __init__(self, seed, trace, counters, wrong):
        self.seed, self.trace, self.counters, self.wrong = int(seed), trace, int(counters, 16), wrong

    def differs(self, other):
        return self.trace != other.trace or (self.counters and other.counters and self.counters != other.counters)


class Side:
    """One of the two that are compared: a kernel, and options of the program."""

    def __init__(self, name, kernel, *options):
        self.name, self.kernel, self.options = name, kernel, options

    def run(self, words, what, verbose=False):
        """Boots, runs these seeds (or SEED:CALL,...), and returns outcomes and all lines."""
        title = f"{guest.kernel_name(self.kernel)} {what}"
        out = os.path.join(RESULTS, title.replace(" ", "-") + ("-broken" if self.options else ""))
        args = guest.complete(guest.parser().parse_args([self.kernel, "--mem", "2048", "--title", title, "--out", out]))
        command = " ".join(["./fuzz", *self.options, *(["-v"] if verbose else []), *words])
        count = sum(int(word.split("-")[1]) - int(word.split("-")[0]) + 1 if "-" in word else 1 for word in words)
        # A sequence that does not end takes its minute; those that are run by themselves are few.
        limit = 60 + count + 64 * sum("-" not in word for word in words)
        report = guest.run(args, [["fuzz", str(limit), "/tests/collapse", command]], out, guest.Progress(title, 1))
        # That memory is wrong is an outcome, anything else a failure of the run.
        problems = [p for p in report.points if p.outcome == "failed" and not (p.test == "fuzz" and p.name.startswith("what is read"))]
        if problems:
            raise RuntimeError(f"{title}: {problems[0].key()}: {problems[0].reason}; see {out}.out and {out}.console")
        with open(out + ".out") as text:
            lines = [line.rstrip("\n") for line in text]
        return outcomes_of(lines), lines


def outcomes_of(lines):
    return [Outcome(*found.groups()) for found in map(LINE.match, lines) if found]


def run_both(sides, words, what, verbose=False):
    """Two guests at a time; results in the order of the sides."""
    results, problems = [None, None], []

    def work(i):
        try:
            results[i] = sides[i].run(words, what, verbose)
        except (Exception, SystemExit) as problem:  # told by the main thread
            problems.append(str(problem))
    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise RuntimeError("; ".join(problems))
    return results


def suspects(left, right):
    """Seeds that are worth another look."""
    if len(left) != len(right) or [o.seed for o in left] != [o.seed for o in right]:
        raise RuntimeError(f"the guests did different work: {len(left)} and {len(right)} sequences")
    return [a.seed for a, b in zip(left, right) if a.differs(b) or a.wrong or b.wrong]


def verdict(lefts, rights):
    """Of runs of the same sequence: why it fails, or None. What differs from run to run tells nothing, but wrong bytes do."""
    for outcome in lefts + rights:
        if outcome.wrong:
            return f"wrong: {outcome.wrong}"
    if all(a.differs(b) for a in lefts for b in rights):
        return "different"
    return None


def confirm(sides, words, repeats=REPEATS):
    """{word: verdict} of those that fail again."""
    if not words:
        return {}
    repeated = [word for word in words for _ in range(repeats)]
    (left, _), (right, _) = run_both(sides, repeated, "fuzz again")
    if len(left) != len(repeated) or len(right) != len(repeated):
        raise RuntimeError(f"of {len(repeated)} sequences {len(left)} and {len(right)} were run")
    failing = {}
    for i, word in enumerate(words):
        part = slice(i * repeats, (i + 1) * repeats)
        why = verdict(left[part], right[part])
        if why:
            failing[word] = why
    return failing


def candidates(calls):
    """Sequences without a part of the calls: halves first, single calls last."""
    size, found = len(calls) // 2, []
    while size:
        for at in range(0, len(calls), size):
            rest = calls[:at] + calls[at + size:]
            if rest and rest not in found:
                found.append(rest)
        size //= 2
    return found


def word_of(seed, calls):
    return f"{seed}:" + ",".join(map(str, calls))


def shrink(sides, seed):
    """The fewest calls that still fail: no single one of them can be left out."""
    _, lines = sides[0].run([str(seed)], "fuzz calls", verbose=True)
    calls = [int(line.split()[1]) for line in lines if line.startswith("#call ")]
    _, lines = sides[1].run([str(seed)], "fuzz calls", verbose=True)
    more = [int(line.split()[1]) for line in lines if line.startswith("#call ")]
    calls = whole = max(calls, more, key=len)
    while True:
        shorter = {word_of(seed, c): c for c in candidates(calls)}
        failing = confirm(sides, list(shorter), 1)
        if not failing:
            return calls if confirm(sides, [word_of(seed, calls)]) else whole
        calls = min((shorter[word] for word in failing), key=len)


def header_text():
    """The calls, in one piece."""
    text = ""
    for name in ("fuzz_arena.h", "fuzz_call.h"):
        with open(os.path.join(HEADERS, name)) as header:
            text += header.read()
    with open(os.path.join(HEADERS, "fuzz_call_more.h")) as header:
        text = text.replace('#include "fuzz_call_more.h"\n', header.read())
    return text.replace('#include "fuzz_arena.h"\n', "").replace("/* SPDX-License-Identifier: GPL-2.0 */\n", "")


def program(sides, seed, calls):
    """The sequence as C: compile it with -static, and run it as root on a kernel with one processor."""
    told, settings = [], None
    texts = {}
    for side in sides:
        _, lines = side.run([word_of(seed, calls)], "fuzz calls", verbose=True)
        gave = {}
        for line in lines:
            words = line.split(None, 2)
            if line.startswith("#call "):
                texts[int(words[1])] = words[2].rstrip(";")
            elif line.startswith("#gave "):
                gave[int(words[1])] = words[2]
            elif line.startswith("#seed "):
                settings = dict(zip(line.split()[2::2], line.split()[3::2]))
        told.append(gave)
    orders = int(settings["sizes"], 16)
    sizes = "".join(f'\tf_knob("hugepages-{4 << order}kB/enabled", "{"inherit" if orders >> order & 1 else "never"}");\n'
                    for order in range(2, 9))
    body = ""
    for i in calls:
        left, right = told[0].get(i, "not reached"), told[1].get(i, "not reached")
        note = f"both: {left}" if left == right else f"{sides[0].name}: {left} | {sides[1].name}: {right}"
        body += f"\t/* {note} */\n\tf_show({i}, {texts.get(i, 0)});\n"
    return f"""// SPDX-License-Identifier: GPL-2.0
/* Seed {seed}, calls {",".join(map(str, calls))}. After each call: what it gave, and pages:categories of PAGEMAP_SCAN. */
{header_text()}
int main(void)
{{
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	f_knob("enabled", "{"always" if settings["always"] == "1" else "madvise"}");
	f_knob("shmem_enabled", "{"advise" if settings["shmem"] == "1" else "never"}");
{sizes}	f_knob("khugepaged/pages_to_scan", "1048576");
	f_knob("khugepaged/alloc_sleep_millisecs", "1");
	f_knob("khugepaged/scan_sleep_millisecs", "86400000");
	f_limits(511, 64, 256);
	f_daemon_open();
	f_start({'"/tmp"' if settings["file"] == "1" else "NULL"}, 2 * PMD_PAGES);
	f_uffd_open({settings["async"]});
{body}	if (f_child)
		f_reap();
	return 0;
}}
"""


def compiles(text):
    """What the compiler has against a program that was printed."""
    with tempfile.NamedTemporaryFile("w", suffix=".c") as source:
        source.write(text)
        source.flush()
        uapi = os.path.join(TOP, "build/x86_64/uapi/usr/include")
        done = subprocess.run(["gcc", "-Wall", "-Werror", "-O1", "-isystem", uapi, "-fsyntax-only", source.name],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout if done.returncode else ""


def explain(sides, seed, why):
    """Makes it short, writes the program, and says where it is."""
    calls = shrink(sides, seed)
    text = program(sides, seed, calls)
    path = os.path.join(RESULTS, f"fuzz-{seed}.c")
    with open(path, "w") as target:
        target.write(text)
    body = text[text.index("\tf_uffd_open("):].rstrip()
    return f"seed {seed}: {why}; {len(calls)} calls are enough: {os.path.relpath(path, TOP)}\n" + \
        "\n".join("      " + line for line in body.splitlines()[1:-4])


def check_lists(sides, left, right):
    """Of two guests that have run: {seed: why} that fail again, and the number of those that do not."""
    seeds = [str(seed) for seed in suspects(left, right)]
    failing = confirm(sides, seeds)
    # Memory that was wrong once is wrong.
    for outcome in left + right:
        if outcome.wrong:
            failing.setdefault(str(outcome.seed), f"wrong, once: {outcome.wrong}")
    return failing, len(seeds) - len(failing)


def self_test(kernel):
    """A kernel against itself, with a fault that the program makes: what of it is not found as it should be."""
    problems, well = [], Side("whole", kernel)
    for fault, expected in (("result", "different"), ("byte", "wrong")):
        sides = [well, Side("broken", kernel, "--break", fault)]
        try:
            (left, _), (right, _) = run_both(sides, ["1-100"], "fuzz test")
            if any(outcome.wrong for outcome in left):
                problems.append("memory is wrong without a fault")
            failing, _ = check_lists(sides, left, right)
            found = [seed for seed, why in failing.items() if why.startswith(expected)]
            if not found:
                problems.append(f"--break {fault}: not found in 100 sequences")
                continue
            if fault == "byte":
                continue
            calls = shrink(sides, int(found[0]))
            text = program(sides, int(found[0]), calls)
            # Something mapped, written, collapsed, and written again.
            if not 3 <= len(calls) <= 4 or "MADV_COLLAPSE" not in text[text.index("int main"):]:
                problems.append(f"seed {found[0]} was made {len(calls)} calls long: {calls}")
            problem = compiles(text)
            if problem:
                problems.append(f"what was printed does not compile: {problem[:400]}")
        except RuntimeError as problem:
            problems.append(str(problem))
    return problems


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--profile", default=os.environ.get("PROFILE") or "release")
    parser.add_argument("--kernels", nargs=2, metavar="DIRECTORY", help="others than the C and the Rust one of build/")
    parser.add_argument("--self-test", action="store_true", help="whether faults are found and made short")
    return parser


def main():
    args = parser().parse_args()
    os.makedirs(RESULTS, exist_ok=True)
    kernels = args.kernels or [os.path.join(TOP, "build/x86_64", f"{args.profile}-{impl}") for impl in ("c", "rust")]
    if args.self_test:
        problems = self_test(kernels[1])
        print("\n".join(problems) or "faults are found and made short: yes")
        sys.exit(1 if problems else 0)
    sides = [Side("C", kernels[0]), Side("Rust", kernels[1])] if not args.kernels else [Side(k, k) for k in kernels]
    counts, end, start = dict.fromkeys(tap.OUTCOMES, 0), args.seed + args.sequences, time.monotonic()
    for first in range(args.seed, end, PORTION):
        last = min(first + PORTION, end) - 1
        (left, lines), (right, _) = run_both(sides, [f"{first}-{last}"], "fuzz")
        failing, unsteady = check_lists(sides, left, right)
        summary = next((line[2:] for line in lines if re.match(r"# \d+ sequences", line)), "")
        counts["passed"] += len(left) - len(failing)
        counts["failed"] += len(failing)
        print(f"  seeds {first}-{last}: {len(failing)} fail, {unsteady} differed once and not again; {summary}; "
              f"{int(time.monotonic() - start)} s so far", flush=True)
        for seed, why in list(failing.items())[:3]:
            print("    " + explain(sides, int(seed), why), flush=True)
        if len(failing) > 3:
            print("    and " + " ".join(list(failing)[3:]))
    print(tap.counts_line(counts))
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
