#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boots a kernel in QEMU, runs a list of tests in it and writes what happened as TAP.

The one place that knows how a guest is run. A guest fails on a failed test, on a test that did not end in its
time, on anything in the kernel log that says an invariant broke, and if it does not get to the end of its list.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402
import splat  # noqa: E402
import tap  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


# The smallest disk that each can be made on, in MiB; whole-page blocks, so that pages and blocks are the same.
DISK_MINIMUM = {"ext4": 16, "xfs": 300}
MKFS = {"ext4": ["mkfs.ext4", "-q", "-F", "-b", "{block}"], "xfs": ["mkfs.xfs", "-q", "-f", "-b", "size={block}"]}


class ListError(Exception):
    pass


def read_lists(paths, only):
    """Lines "name seconds command", run in the directory of the last "@dir" line, as [name, seconds, dir, command]."""
    tests = []
    for path in paths:
        directory = "/tests/collapse"
        with open(path) as lines:
            for number, line in enumerate(lines, 1):
                fields = line.strip().split(None, 2)
                if not fields or fields[0].startswith("#"):
                    continue
                if fields[0] == "@dir" and len(fields) == 2:
                    directory = fields[1]
                    continue
                if len(fields) != 3 or not fields[1].isdigit():
                    raise ListError(f"{path}:{number}: expected: name seconds command")
                if not only or any(re.fullmatch(p, fields[0]) for p in only):
                    tests.append([fields[0], fields[1], directory, fields[2]])
    if not tests:
        raise ListError("no test left to run in " + " ".join(paths))
    names = [t[0] for t in tests]
    for name in names:
        if names.count(name) > 1:
            raise ListError(f"two tests are called {name}")
    return tests


def cpio_entry(name, mode, data, inode):
    name = name.encode() + b"\0"
    fields = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def cpio(files):
    out = cpio_entry("run", 0o040755, b"", 1)
    for inode, (name, data) in enumerate(files.items(), 2):
        out += cpio_entry(name, 0o100755, data, inode)
    return out + cpio_entry("TRAILER!!!", 0, b"", 0)


def disk_option(text):
    """FS:MIB as ("ext4", MiB)."""
    name, _, size = text.partition(":")
    if name not in MKFS or not size.isdigit():
        raise argparse.ArgumentTypeError(f"\"{text}\": expected " + " or ".join(f"{fs}:MiB" for fs in MKFS))
    if int(size) < DISK_MINIMUM[name]:
        raise argparse.ArgumentTypeError(f"\"{text}\": {name} needs {DISK_MINIMUM[name]} MiB")
    return name, int(size)


def make_disk(path, mib, name=None, block=4096):
    """A sparse image, empty or with a new file system."""
    with open(path, "wb") as image:
        image.truncate(mib << 20)
    if not name:
        return
    command = [word.format(block=block) for word in MKFS[name]]
    # Debian keeps mkfs where only root looks for programs.
    command[0] = shutil.which(command[0], path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not command[0]:
        raise OSError(f"{MKFS[name][0]} is missing\nremedy: make setup")
    done = subprocess.run([*command, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)} {path}: {done.stdout.strip()[-300:]}")


def make_disks(args, directory):
    """Every disk of the guest: its serial number, by which the guest finds it, and its image."""
    disks = {name: os.path.join(directory, name) for name, _ in args.disk}
    for name, mib in args.disk:
        make_disk(disks[name], mib, name, int(args.page_size[:-1]) << 10)
    if args.swap == "disk":
        disks["swap"] = os.path.join(directory, "swap")
        make_disk(disks["swap"], args.swap_mb)
    return disks


def qemu_command(args, initrd, console, disks):
    node_mib, board = args.mem // args.numa & ~1, args.machine
    cpu = args.cpu or board.cpu
    command = [board.qemu, "-M", board.machine(cpu, disks), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
               "-m", f"{node_mib * args.numa}M", "-smp", str(args.cpus)]
    if args.kvm:
        command += ["-accel", "kvm", "-cpu", "host"]
    else:
        command += ["-cpu", board.model(cpu)]
        if args.icount:
            command += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
        else:
            command += ["-accel", "tcg,thread=" + ("multi" if args.cpus > 1 else "single")]
    if args.numa > 1:
        for node in range(args.numa):
            cpus = [c for c in range(args.cpus) if c % args.numa == node]
            command += ["-object", f"memory-backend-ram,id=m{node},size={node_mib}M"]
            command += ["-numa", f"node,nodeid={node},memdev=m{node}" + "".join(f",cpus={c}" for c in cpus)]
    for serial, image in disks.items():
        command += ["-drive", f"file={image},format=raw,if=none,id={serial},cache=unsafe",
                    "-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
    if args.executed:
        # What is translated is about to be executed, and each block of it is written down.
        command += ["-d", "in_asm", "-D", args.executed, "-dfilter", args.executed_in]
    append = " ".join(["console=" + board.console, "panic=-1 oops=panic", board.append, args.append])
    command += ["-kernel", os.path.join(args.kernel, board.image), "-initrd", initrd]
    if args.shell:
        command += ["-serial", "mon:stdio"]
        append += " quiet"
    else:
        command += ["-serial", f"file:{console}", *board.results_port]
    return command + ["-append", append.strip()]


class Progress:
    """How far a guest is, and one line that shows it: in place on a terminal, now and then elsewhere."""

    def __init__(self, title, total):
        self.title, self.total, self.done, self.bad, self.test = title, total, 0, 0, "booting"
        self.start = time.monotonic()

    def seconds(self):
        return int(time.monotonic() - self.start)

    def text(self):
        bad = f", {self.bad} bad" if self.bad else ""
        return f"{self.title}: {self.done} of {self.total}{bad}, {self.test}"


class Ticker:
    """Shows a changing line."""

    def __init__(self):
        self.tty, self.last = sys.stdout.isatty(), time.monotonic()

    def show(self, seconds, text):
        now = time.monotonic()
        if now - self.last < (1 if self.tty else 30):
            return
        self.last = now
        line = f"  {seconds // 60}:{seconds % 60:02d}  {text}"
        print("\r\033[K" + line[:150] if self.tty else line, end="" if self.tty else "\n", flush=True)

    def clear(self):
        if self.tty:
            print("\r\033[K", end="", flush=True)


class Session:
    """Reads what the guest prints and keeps each test's share of it."""

    def __init__(self, tests, live):
        self.tests, self.live = {t[0]: tap.Result(t[0]) for t in tests}, live
        self.current, self.finished, self.banner = None, False, ""

    def line(self, text):
        if not text.startswith("@@ "):
            if self.current:
                self.current.lines.append(text)
                if self.live:
                    print(text, flush=True)
            return
        word, *rest = text[3:].split()
        if word == "guest":
            self.banner = " ".join(rest)
        elif word == "begin":
            self.current = self.tests.setdefault(rest[0], tap.Result(rest[0]))
            self.current.started = True
        elif word == "timeout":
            self.tests[rest[0]].timed_out = True
        elif word == "end":
            result = self.tests[rest[0]]
            result.status, result.seconds = int(rest[1]), float(rest[3]) - float(rest[2])
            self.current = None
        elif word == "finished":
            self.finished = True


def run(args, tests, out, progress, tick=lambda: None):
    """Boots the kernel, runs the tests, leaves OUT.{out,console,tap} and returns the report."""
    limit = args.limit or 60 + args.scale * (30 + sum(int(t[1]) for t in tests))
    options = f"SCALE={args.scale}\nSWAP={args.swap}\nSWAP_MB={args.swap_mb}\nHUGETLB={args.hugetlb}\n"
    options += f"RESULTS={args.machine.results}\n"
    options += f"MODE={'shell' if args.shell else 'run'}\nDISKS=\"{' '.join(name for name, _ in args.disk)}\"\n"
    options += "".join(f"export {setting}\n" for setting in args.env)
    lines = "".join(" ".join(t) + "\n" for t in tests)
    with tempfile.TemporaryDirectory(prefix="guest.", dir=os.path.join(TOP, "build")) as scratch:
        initrd, console = os.path.join(scratch, "initrd"), out + ".console"
        with open(initrd, "wb") as target:
            for image in [args.initramfs, *args.images]:
                with open(image, "rb") as part:
                    target.write(part.read())
            target.write(cpio({"run/options": options.encode(), "run/list": lines.encode()}))
        command = qemu_command(args, initrd, console, make_disks(args, scratch))
        if args.shell:
            return subprocess.call(command)
        session = Session(tests, args.live)
        reason = watch(command, out, session, progress, tick, limit)
    splats = splat.find(console)
    report = tap.Report(args.title, session.tests.values(), splats, reason)
    with open(out + ".tap.new", "w") as target:
        target.write(report.text())
    os.replace(out + ".tap.new", out + ".tap")
    return report


def watch(command, out, session, progress, tick, limit):
    """Reads the guest until it ends; returns why it did not end well, or None."""
    deadline, tail, reason = time.monotonic() + limit, b"", None
    with open(out + ".out", "w") as copy, open(out + ".qemu", "w") as errors:
        guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                 start_new_session=True)
        os.set_blocking(guest.stdout.fileno(), False)
        try:
            while True:
                ended = guest.poll() is not None
                chunk = guest.stdout.read()
                if chunk:
                    *whole, tail = (tail + chunk).split(b"\n")
                    for raw in whole:
                        text = COLOUR.sub("", raw.decode("utf-8", "replace").rstrip("\r"))
                        copy.write(text + "\n")
                        session.line(text)
                    copy.flush()
                    progress.test = session.current.name if session.current else "between tests"
                    progress.done = sum(r.status is not None for r in session.tests.values())
                    progress.bad = sum(r.status not in (None, 0, tap.KSFT_SKIP) for r in session.tests.values())
                elif ended:
                    break
                else:
                    time.sleep(0.1)
                tick()
                if time.monotonic() > deadline:
                    reason = f"the guest did not end within {limit} s and was killed"
                    break
        finally:
            if guest.poll() is None:
                os.killpg(guest.pid, signal.SIGKILL)
            guest.wait()
        if tail:
            copy.write(tail.decode("utf-8", "replace") + "\n")
    if not reason and not session.finished and not finished_in_log(out + ".console"):
        reason = "the guest ended before its list did"
        # QEMU exits with 0 on a signal, but says so.
        with open(out + ".qemu") as errors:
            words = errors.read().strip()[-300:]
        if guest.returncode or words:
            reason += f" (QEMU exit {guest.returncode}: {words})"
    return reason


def finished_in_log(console):
    """Whether the guest got to the end as far as its kernel log knows, which has another port."""
    with open(console, errors="replace") as lines:
        return any(line.rstrip().endswith("] khp: finished") for line in lines)


def print_report(report, out, seconds):
    counts = report.counts()
    print(f"  {report.title:<34} {seconds // 60}:{seconds % 60:02d}  {tap.counts_line(counts)}")
    for line in report.problems():
        print("    " + line)
    if counts["failed"]:
        print(f"    see {os.path.relpath(out)}.tap (results), {os.path.relpath(out)}.console (kernel log)", flush=True)


def kvm_runs(args):
    """Whether a KVM guest of this kernel prints something: /dev/kvm may be there and still not run one."""
    if args.icount or args.cpu or args.kvm == "0":
        return False
    if args.kvm == "1":
        return True
    if not machine.native(args.machine):
        return False
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/sys/kernel/random/boot_id") as boot:
        stamp = os.path.join(TOP, "build", "kvm-" + boot.read().strip())
    if not os.path.exists(stamp):
        probe = argparse.Namespace(**vars(args))
        probe.kvm, probe.cpus, probe.numa, probe.mem, probe.swap, probe.limit = True, 1, 1, 1024, "none", 20
        probe.shell, probe.live, probe.title, probe.hugetlb, probe.scale = False, False, "KVM probe", 0, 1
        probe.disk = []
        tests = [["probe", "5", "/", "echo ok 1 probe"]]
        report = run(probe, tests, os.path.join(TOP, "build", "kvm-probe"), Progress("KVM probe", 1))
        with open(stamp, "w") as answer:
            answer.write("0" if report.counts()["failed"] else "1")
    with open(stamp) as answer:
        works = answer.read() == "1"
    return works


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", help="O= directory of a built kernel")
    parser.add_argument("lists", nargs="*", help="test lists: lines of name, seconds, command")
    parser.add_argument("--run", metavar="COMMAND", help="instead of a list: one shell command, output shown as it comes")
    parser.add_argument("--dir", default="/tests/collapse", help="where --run runs (default: %(default)s)")
    parser.add_argument("--time", type=int, default=300, help="seconds for --run")
    parser.add_argument("--only", action="append", default=[], metavar="REGEX", help="run only tests of this name")
    parser.add_argument("--out", help="result files start with this (default: build/results/KERNEL-Ncpu)")
    parser.add_argument("--title", help="name of this run")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--cpu", metavar="MODEL", help="QEMU's processor model, without KVM (arm64: cortex-a35 sets no accessed and "
                        "dirty bits by itself, max has everything)")
    parser.add_argument("--mem", type=int, default=0, help="MiB (default: 2048; 3072 with 16k, 8192 with 64k pages)")
    parser.add_argument("--numa", type=int, default=1, help="nodes")
    parser.add_argument("--swap", choices=["zram", "disk", "none"], default="zram")
    parser.add_argument("--swap-mb", type=int, default=0, help="MiB (default: 512; 1024 with 16k, 3072 with 64k pages)")
    parser.add_argument("--disk", action="append", default=[], type=disk_option, metavar="FS:MIB",
                        help="a disk with a new ext4 or xfs (at least 300 MiB) on it, mounted at /mnt/FS")
    parser.add_argument("--hugetlb", type=int, default=0, help="huge pages set aside")
    parser.add_argument("--scale", type=int, default=0, help="factor on all time limits (default: 1, debug kernels 4)")
    parser.add_argument("--limit", type=int, default=0, help="seconds for the whole guest")
    parser.add_argument("--append", default="", help="more kernel parameters")
    parser.add_argument("--image", action="append", default=[], dest="images", metavar="NAME",
                        help="one more image beside the guest's own, if it has been made, such as \"programs\"")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for the tests")
    parser.add_argument("--icount", action="store_true", help="a clock that counts instructions")
    parser.add_argument("--kvm", choices=["auto", "0", "1"], default=os.environ.get("KVM") or "auto")
    parser.add_argument("--executed", metavar="FILE", help="writes down which instructions were executed (no KVM) ...")
    parser.add_argument("--executed-in", default="0..0xffffffffffffffff", metavar="RANGES", help="... of these addresses")
    parser.add_argument("--shell", action="store_true", help="interactive")
    return parser


def kernel_name(directory):
    """release-rust on x86_64; elsewhere with the name of the directory above, as in arm64-16k-release-rust."""
    above, name = os.path.split(directory)
    above = os.path.basename(above)
    return name if above == "x86_64" else f"{above}-{name}"


def complete(args):
    """Fills in what follows from the kernel's name."""
    args.kernel = os.path.abspath(args.kernel)
    name = os.path.basename(args.kernel)
    args.live = bool(args.run)
    args.scale = args.scale or (4 if name.startswith("debug") else 1)
    args.title = args.title or f"{kernel_name(args.kernel)} {args.cpus}cpu"
    if len(dict(args.disk)) < len(args.disk):
        sys.exit("error: two disks with the same file system\nremedy: give --disk once for each")
    args.machine = machine.of_kernel(args.kernel)
    if not args.machine:
        sys.exit(f"error: there is no kernel in {args.kernel}\nremedy: make kernel")
    args.page_size = machine.page_size(args.kernel)
    args.mem, args.swap_mb = args.mem or machine.MEMORY[args.page_size], args.swap_mb or machine.SWAP[args.page_size]
    args.initramfs = os.path.join(TOP, "build", args.machine.arch, "initramfs/base.cpio")
    images = (os.path.join(os.path.dirname(args.initramfs), f"{name}.cpio") for name in args.images)
    args.images = [image for image in images if os.path.exists(image)]
    if not os.path.exists(args.initramfs):
        sys.exit(f"error: {args.initramfs} does not exist\nremedy: make initramfs ARCH={args.machine.arch}")
    args.kvm = kvm_runs(args)
    return args


def main():
    args = complete(parser().parse_args())
    name = kernel_name(args.kernel)
    out = args.out or os.path.join(TOP, "build/results", f"{name}-{args.cpus}cpu" + ("-run" if args.run else ""))
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    try:
        if args.run:
            tests = [["run", str(args.time), args.dir, args.run]]
        else:
            tests = [] if args.shell else read_lists(args.lists, args.only)
        progress, ticker = Progress(args.title, len(tests)), Ticker()
        tick = (lambda: None) if args.live else (lambda: ticker.show(progress.seconds(), progress.text()))
        report = run(args, tests, out, progress, tick)
        if args.shell:
            sys.exit(report)
        ticker.clear()
        failed = report.counts()["failed"]
        if failed or not args.live:
            print_report(report, out, progress.seconds())
        sys.exit(1 if failed else 0)
    except (ListError, OSError) as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
