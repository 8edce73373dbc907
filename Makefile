# SPDX-License-Identifier: GPL-2.0
# khugepaged in Rust: the front door. "make help" lists what there is.

IMPL ?= rust
PROFILE ?= release
ARCH ?= x86_64
PAGE_SIZE ?= 4k
JOBS ?= $(shell nproc)
KVM ?= auto
KSRC ?=
DEMO_ARGS ?=
SEQUENCES ?= 5000
SEED ?= 1
CPUS ?= 2
IMPLS ?= rust c
PROFILES ?= $(PROFILE)
WIDEN ?= 100
# How the scripts are told; nothing else in the environment changes what they do.
export IMPL PROFILE ARCH PAGE_SIZE JOBS KVM KSRC DEMO_ARGS CONFIG FORCE
# The kernel's make must not see this one's flags.
unexport MAKEFLAGS MFLAGS MAKELEVEL

KERNEL := build/$(ARCH)$(patsubst %,-%,$(filter-out 4k,$(PAGE_SIZE)))/$(PROFILE)-$(IMPL)

.PHONY: all demo setup source kernel initramfs check fuzz stress coverage bench shell lint apply unapply deb rust-analyzer clean distclean help
.NOTPARALLEL:

all: kernel initramfs demo

setup:
	@echo "Tools"
	@scripts/setup.sh

source: setup
	@echo "Kernel source"
	@scripts/fetch.sh
	@echo "  $$(scripts/apply.sh apply build/src link)"

kernel: source
	@echo "Kernel $(if $(CONFIG),with your configuration,$(PROFILE)-$(IMPL))"
	@$(if $(CONFIG),scripts/own.sh,scripts/build.sh)

initramfs: source
	@echo "Guest's user space"
	@scripts/initramfs.sh

demo:
	@scripts/demo.sh

ifeq ($(ARCH),all)
check:
	@scripts/check-all.sh
else
check: source
	@scripts/check.py
endif

fuzz: source
	@scripts/fuzz.sh $(SEQUENCES) $(SEED)

stress: source
	@scripts/stress.py --seconds $(if $(MINUTES),$$(($(MINUTES) * 60)),4) --profiles "$(PROFILES)" \
		--impls "$(IMPLS)" --cpus "$(CPUS)" --widen "$(WIDEN)" $(CLASSES)

coverage: source
	@scripts/coverage.py

bench: source
	@scripts/bench.sh

shell: kernel initramfs
	@scripts/guest.py $(KERNEL) --cpus 2 --disk ext4:512 --disk xfs:512 --shell

lint: source
	@scripts/lint.sh

apply:
	@scripts/apply.sh apply "$(KSRC)"

unapply:
	@scripts/apply.sh unapply "$(KSRC)"

deb: source
	@scripts/deb.sh

rust-analyzer: kernel
	@scripts/rust-analyzer.sh

clean:
	rm -rf build

# The downloaded source, the compiler cache and bindgen as well.
distclean: clean
	@scripts/clean-cache.sh

help:
	@sed -n '/^## /s/^## //p' Makefile

## khugepaged in Rust, for Linux 7.3
##
##   make                build the kernel with the Rust implementation, boot it in QEMU, show it at work
##   make check          all tests, on the C and the Rust kernels, release and debug
##                       (FULL=1: also on the debug kernel with C, upstream's with two processors, and
##                       all of upstream's on the debug kernels: about three times as long)
##                       (CHECK_PROFILES, CHECK_IMPLS, CHECK_JOBS: only these, for example
##                       CHECK_JOBS="file-races trace"; CHECK_MINUTES=n leaves out, and says so,
##                       what might not be over by then)
##   make fuzz           random sequences of calls on the C and the Rust kernel: SEQUENCES=n (5000), from SEED=s (1) on;
##                       what differs is made short and printed as a program
##   make stress         each known failure class on both kernels, as a table: a few seconds for each, or MINUTES=n; CPUS="1 2 4",
##                       PROFILES="release debug", IMPLS="rust c", CLASSES="16 N3"; WIDEN=us holds collapses up where
##                       they could lose a race (100)
##   make coverage       which lines of the Rust code the tests reach: build/results/coverage.txt
##   make bench          instructions per collapse, C against Rust
##   make shell          a shell in the guest, with file systems at /mnt/ext4, /mnt/xfs and /mnt/tmpfs
##   make lint           format, SAFETY comments, budget of unsafe, checkpatch, kernel-doc
##   make kernel         the kernel alone; CONFIG=file takes your own configuration
##   make deb            Debian packages of the kernel with your CONFIG=file
##   make apply KSRC=dir, make unapply KSRC=dir
##                       put the overlay into a Linux 7.3 tree of yours, and take it out again
##   make rust-analyzer  project file for editors
##   make setup, source, initramfs, clean, distclean
##
## Variables
##   IMPL=rust|c         which implementation (rust)
##   PROFILE=release|debug
##   ARCH=x86_64|arm64   arm64 is cross-built and emulated; its packages are installed when it is asked for
##                       (make check ARCH=all: both, and arm64 with pages of each size)
##   PAGE_SIZE=4k|16k|64k  of an arm64 kernel (4k)
##   JOBS=n              parallel jobs (all processors)
##   KVM=auto|0|1        auto uses KVM if a guest really runs with it
##   KSRC=dir            a Linux 7.3.x tree to use instead of downloading one; it is not modified
##   DEMO_ARGS=...       options of the demonstration, for example DEMO_ARGS="--help"
##   KHP_CACHE=dir       where downloads and the compiler cache are kept (~/.cache/khugepaged-rust)
