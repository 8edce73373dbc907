# SPDX-License-Identifier: GPL-2.0
"""The machines that QEMU emulates: one class for each architecture, and which of them a built kernel is for.

RESULTS is the guest's name for the serial port that carries what tests print; the kernel log has the console.
"""
import os
import platform

# What a PMD maps grows with the page size: 2, 32, 512 MiB. Memory and swap, in MiB, that hold several of them.
MEMORY = {"4k": 2048, "16k": 3072, "64k": 8192}
SWAP = {"4k": 512, "16k": 1024, "64k": 3072}


class X86:
    arch, host, qemu, image = "x86_64", "x86_64", "qemu-system-x86_64", "arch/x86/boot/bzImage"
    console, results = "ttyS0", "ttyS1"
    # Without ERMS the kernel copies by 8-byte string moves, which TCG runs ten times as fast as byte moves.
    cpu = "Haswell-noTSX,-erms"
    append = "no_timer_check random.trust_cpu=on tsc=reliable"
    results_port = ["-serial", "stdio"]

    def machine(self, cpu, disks):
        # The ACPI code that routes PCI interrupts has a loop on "pc", which takes emulated debug kernels more than the 30 s
        # that they allow for; the disks would be without interrupts. "q35" has a table.
        return "q35" if disks else "pc"

    def model(self, cpu):
        return cpu


class Arm64:
    arch, host, qemu, image = "arm64", "aarch64", "qemu-system-aarch64", "arch/arm64/boot/Image"
    console, results = "ttyAMA0", "ttyS0"
    cpu = "cortex-a76"
    append = ""
    # The virt machine has one PL011 only.
    results_port = ["-chardev", "stdio,id=results,signal=off", "-device", "pci-serial,chardev=results"]

    def machine(self, cpu, disks):
        return "virt,gic-version=3" + (",mte=on" if cpu.split(",")[0] == "max" else "")

    def model(self, cpu):
        # Pointer authentication by the architecture's own cipher is slow to emulate.
        return cpu + ",pauth-impdef=on" if cpu == "max" else cpu


MACHINES = [X86(), Arm64()]


def native(machine):
    """Whether this host's processors can run the machine's code, which KVM needs."""
    return platform.machine() == machine.host


def of_kernel(directory):
    """The machine of the kernel in this O= directory, or None if there is no kernel."""
    return next((m for m in MACHINES if os.path.exists(os.path.join(directory, m.image))), None)


def page_size(directory):
    """4k, 16k or 64k, from the configuration of the kernel."""
    with open(os.path.join(directory, ".config")) as config:
        settings = config.read()
    return next((size for size in ("16k", "64k") if f"\nCONFIG_ARM64_{size.upper()}_PAGES=y\n" in settings), "4k")


def variant(arch, size):
    """What directories of kernels are called, as in scripts/lib.sh."""
    return arch if size == "4k" else f"{arch}-{size}"
