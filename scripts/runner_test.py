# SPDX-License-Identifier: GPL-2.0
"""What the runner must report for scripts/tests/runner.list, and for made-up logs."""
import os
import tempfile

import guest
import splat
import tap

EXPECTED = {
    "passes: fine": "passed",
    "passes-without-tap": "passed",
    "skips": "skipped",
    "fails-a-point: one": "passed",
    "fails-a-point: two": "failed",
    "exits-badly: one": "passed",
    "exits-badly: (end)": "failed",
    "crashes: (end)": "failed",
    "stops-short: one": "passed",
    "stops-short: two": "passed",
    "stops-short: (end)": "failed",
    "does-harm: a.point": "failed",
    "hangs: (end)": "failed",
    "leaves-a-child": "passed",
    "splat": "passed",
    "kernel log: splat": "failed",
}

SPLATS = [
    "BUG: KASAN: slab-use-after-free in collapse+0x10/0x20", "WARNING: CPU: 0 PID: 1 at mm/memory.c:1 x+0x1/0x2",
    "WARNING: mm/page_table_check.c:1 at x, CPU#0: a/1", "WARNING: possible circular locking dependency detected",
    "WARNING: possible recursive locking detected", "WARNING: suspicious RCU usage", "kernel BUG at mm/huge_memory.c:1!",
    "rcu: INFO: rcu_preempt self-detected stall on CPU", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "INFO: task x:1 blocked for more than 120 seconds.", "BUG: Bad page state in process x  pfn:00001",
    "BUG: Bad page map in process x  pte:00 pmd:00", "BUG: Bad rss-counter state mm:0 type:MM_ANONPAGES val:1",
    "BUG: non-zero pgtables_bytes on freeing mm: 4096", "kmemleak: 2 new suspected memory leaks (see x)",
    "Oops: general protection fault, probably for non-canonical address 0x0", "Kernel panic - not syncing: x",
    "BUG: sleeping function called from invalid context at x:1", "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
    "rust_kernel: panicked at mm/khugepaged/x.rs:1:1:", "BUG: kernel NULL pointer dereference, address: 0",
    "list_add corruption. next->prev should be prev", "refcount_t: underflow; use-after-free.",
    "Internal error: synchronous external abort: 0000000096000010 [#1]  SMP", "SError Interrupt on CPU0, code 0x00000000be000000 -- SError",
    "EXT4-fs error (device vda): ext4_lookup:1: inode #2: comm x: deleted inode referenced: 12",
    "XFS (vdb): Internal error x at line 1 of file fs/xfs/x.c.  Caller y+0x1/0x2", "XFS (vdb): Metadata CRC error detected at x",
]
HARMLESS = [
    "Memory failure: 0x1234: recovery action for clean LRU page: Recovered", "FAULT_INJECTION: forcing a failure.",
    "x: page allocation failure: order:9, mode:0x1", "Injecting memory failure for pfn 0x1 at process virtual address 0x2",
    "Run /init as init process", "khp: begin splat 10", "rcu: Hierarchical RCU implementation.",
    "Freeing unused kernel image (initmem) memory: 952K", "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc.",
    "EXT4-fs (vda): mounted filesystem x r/w with ordered data mode. Quota mode: disabled.",
    "XFS (vdb): Mounting V5 Filesystem x", "XFS (vdb): Ending clean mount", "XFS (vdb): Unmounting Filesystem x",
]

KTAP = """KTAP version 1
1..1
    KTAP version 1
    # Subtest: suite
    1..3
    ok 1 first
    not ok 2 second
    ok 3 third # SKIP not here
# suite: pass:1 fail:1 skip:1 total:3
not ok 1 suite
"""


def splats_in(lines):
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        for number, line in enumerate(lines):
            log.write(f"[    {number}.000000] khp: begin t{number} 1\n[    {number}.100000] {line}\n")
        log.flush()
        return {found.test for found in splat.find(log.name)}


def made_up(name, text, status):
    result = tap.Result(name)
    result.lines, result.status, result.started = text.split("\n"), status, True
    return result


def ktap_points():
    return [(p.name, p.outcome) for p in made_up("kunit", KTAP, 1).points()]


def outcome_after(first, *later, reason=None):
    """What a point comes to after it has been run again."""
    report = tap.Report("made up", [made_up("test", first, 1)], [], None)
    report.doubt(*(tap.Report("made up", [made_up("test", text, 0)], [], reason) for text in later))
    return report.points[0].outcome


def check(report):
    """Problems with the report on runner.list and with the made-up input; an empty list is a pass."""
    outcomes = {point.key(): point.outcome for point in report.points}
    problems = [f"{key}: expected {outcome}, got {outcomes.get(key, 'nothing')}"
                for key, outcome in EXPECTED.items() if outcomes.get(key) != outcome]
    problems += [f"unexpected: {key}: {outcome}" for key, outcome in outcomes.items() if key not in EXPECTED and key != "kmemleak"]
    noticed = splats_in(SPLATS)
    problems += [f"not noticed: {line}" for number, line in enumerate(SPLATS) if f"t{number}" not in noticed]
    noticed = splats_in(HARMLESS)
    problems += [f"not a splat: {line}" for number, line in enumerate(HARMLESS) if f"t{number}" in noticed]
    doubtful = [point.key() for point in report.points if point.doubtful]
    if doubtful != ["fails-a-point: two"] or report.doubtful():
        problems.append(f"doubtful are {doubtful}; of the whole: {report.doubtful()}")
    bad, harm, good = ("1..1\n" + text for text in ("# LATE: x\nnot ok 1 a", "# counters: x\nnot ok 1 a", "ok 1 a"))
    lost = "1..1\n# wrong: pin: discarded content came back\nnot ok 1 a"
    again = [outcome_after(lost, good, good), outcome_after(bad, good, good), outcome_after(bad, good, bad), outcome_after(bad), outcome_after(harm, good, good),
             outcome_after(bad, good, good, reason="hung")]
    if again != ["failed", "unstable", "failed", "failed", "failed", "failed"]:
        problems.append(f"further runs make {again} of it")
    for text, ended in (("[ 1.0] khp: end a 0 1 2\n[ 1.1] khp: finished\n", True), ("[ 1.0] khp: begin finished 9\n", False)):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
            log.write(text)
            log.flush()
            if guest.finished_in_log(log.name) != ended:
                problems.append(f"the end of a guest: not {ended} by {text!r}")
    harness = "1..1\n# a.c:1:b:Expected 0 (0) == x (-1)\nnot ok 1 a # exit status 1"
    reasons = [made_up("test", text, 1).points()[0].reason for text in (lost, harness, "1..1\nnot ok 1 a # exit status 1")]
    if reasons != ["wrong: pin: discarded content came back", "a.c:1:b:Expected 0 (0) == x (-1)", "exit status 1"]:
        problems.append(f"reasons are {reasons}")
    if ktap_points() != [("first", "passed"), ("second", "failed"), ("third", "skipped")]:
        problems.append(f"KTAP read as {ktap_points()}")
    return problems


def main():
    problems = check(tap.Report("made up", [], [], None))
    print("\n".join(p for p in problems if "expected" not in p) or "ok")


if __name__ == "__main__":
    assert os.path.basename(splat.__file__)
    main()
