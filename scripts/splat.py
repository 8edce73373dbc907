# SPDX-License-Identifier: GPL-2.0
"""Finds what in a kernel log says that the kernel broke one of its own rules."""
import re

SPLAT = re.compile(r"""
    \bBUG:\s | kernel\ BUG\ at | \bWARNING:\s | KASAN: | KFENCE: | UBSAN: | \bOops[:\s] | Kernel\ panic
  | general\ protection\ fault | Unable\ to\ handle | Internal\ error:\  | \bSError\b | invalid\ opcode:
  | possible\ (circular|recursive|irq) | possible\ .*deadlock | inconsistent\ lock\ state | suspicious\ RCU | held\ lock\ freed
  | bad\ unlock\ balance | lock\ held\ when\ returning | INFO:\ lockdep | turning\ off\ the\ locking\ correctness
  | rcu.*(stall|detected\ (expedited\ )?stalls) | INFO:\ task\ .*\ blocked\ for | hung_task: | soft\ lockup | hard\ LOCKUP
  | Bad\ page | Bad\ rss-counter | non-zero\ pgtables_bytes | bad\ page\ map | Bad\ swap | swap_(free|dup|info_get):\ Bad
  | kmemleak:\ \d+\ new | page_table_check | scheduling\ while\ atomic | sleeping\ function\ called
  | rust_kernel:\ panicked | refcount_t: | list_(add|del)\ corruption | Fixing\ recursive\ fault
  | unregister_netdevice | Memory\ failure:.*Sending\ SIGBUS\ to\ init | nonzero\ mapcount
  | EXT4-fs\ error | JBD2:.*error | XFS\ \(\w+\):\ (Corruption|Internal\ error|Metadata\ ) | Busy\ inodes\ after\ unmount
""", re.X | re.I)

# What tests provoke on purpose, and a kernel without entropy or calibrated clock says.
EXPECTED = re.compile(r"""
    Memory\ failure:\ 0x | FAULT_INJECTION: | page\ allocation\ failure | WARNING:\ memory\ hotplug
  | khp:\ [be] | Injecting\ memory\ failure | hwpoison
""", re.X | re.I)

STAMP = re.compile(r"^(<\d+>)?\[\s*\d+\.\d+\](\[[^]]*\])?\s?")


class Splat:
    def __init__(self, test, line, lines):
        self.test, self.line, self.lines = test, line, lines

    def key(self):
        return f"{self.test}: {self.line}"


def find(path):
    """Every splat in the log, with the test that ran at the time and the lines that follow it."""
    found, test, skip = [], "boot", 0
    with open(path, errors="replace") as log:
        lines = [STAMP.sub("", line.rstrip("\r\n")) for line in log]
    for number, line in enumerate(lines):
        marker = re.match(r"khp: (begin|end|finished) ?(\S*)", line)
        if marker:
            test = marker.group(2) if marker.group(1) == "begin" else "after " + (marker.group(2) or "the list")
            skip = 0
        elif skip:
            skip -= 1
        elif SPLAT.search(line) and not EXPECTED.search(line):
            found.append(Splat(test, line, lines[number:number + 60]))
            skip = 25
    return found
