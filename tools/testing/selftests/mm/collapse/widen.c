// SPDX-License-Identifier: GPL-2.0
/*
 * Wider windows for the races: a small BPF program on kprobes, which holds up
 * whoever collapses at the places where somebody else could come between. It
 * needs no kernel built for the purpose, and works on C and Rust alike, as both
 * call these functions.
 *
 * Better leave the probes where they are while races go on: QEMU 7.2 with
 * several processors may go on with a breakpoint that has just been taken away,
 * of which the kernel then does not know.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>

#include "collapse.h"

/* Where, and one in how many passages is held up: those that come once for each page are many. */
static const struct window {
	const char *function;
	unsigned int one_in;	/* a power of two */
} windows[] = {
	{ "__mem_cgroup_charge", 4 },		/* between the scan and the collapse: nobody holds a lock */
	{ "folio_isolate_lru", 256 },		/* some source folios are isolated, others are not yet */
	{ "pmdp_collapse_flush", 2 },		/* everything is found to be well, the table is still there */
	{ "tlb_remove_table_sync_one", 2 },	/* the PMD is empty, GUP-fast may still be in its table */
	{ "copy_mc_to_kernel", 256 },		/* the copy, on x86-64 */
	{ "copy_user_highpage", 256 },		/* the copy, on arm64 */
	{ "copy_highpage", 256 },		/* the same, for files */
	{ "folio_add_new_anon_rmap", 4 },	/* the copy is made, the PMD is still empty */
	{ "xas_create_range", 2 },		/* a file's tree is made ready for a huge folio */
	{ "try_to_unmap", 256 },		/* a file's page, before its mappings go */
	{ "folio_alloc_swap", 16 },		/* locked, and about to leave the page cache */
};

#define NR_WINDOWS (sizeof(windows) / sizeof(windows[0]))

/* One passage in @one_in: until @us microseconds are over. */
static int hold_up_program(unsigned int us, unsigned int one_in)
{
	struct bpf_insn code[] = {
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_prandom_u32 },
		{ .code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = 0, .imm = one_in - 1 },
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 0, .off = 7, .imm = 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ktime_get_ns },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ktime_get_ns },
		{ .code = BPF_ALU64 | BPF_SUB | BPF_X, .dst_reg = 0, .src_reg = 6 },
		{ .code = BPF_JMP | BPF_JGT | BPF_K, .dst_reg = 0, .off = 2, .imm = us * 1000 },
		{ .code = BPF_JMP | BPF_JCOND, .src_reg = BPF_MAY_GOTO, .off = 1 },
		{ .code = BPF_JMP | BPF_JA, .off = -5 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_KPROBE;
	attr.insns = (uintptr_t)code;
	attr.insn_cnt = sizeof(code) / sizeof(code[0]);
	attr.license = (uintptr_t)"GPL";
	fd = syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? -errno : fd;
}

static int attach(const char *function, int program)
{
	struct perf_event_attr attr;
	char type[16];
	int fd, err;

	if (knob_read("/sys/bus/event_source/devices/kprobe/type", type, sizeof(type)))
		return -EOPNOTSUPP;
	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.type = atoi(type);
	attr.config1 = (uintptr_t)function;
	/* On this CPU only as an event, but the program runs on all of them. */
	fd = syscall(__NR_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = ioctl(fd, PERF_EVENT_IOC_SET_BPF, program) || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) ? -errno : 0;
	if (err)
		close(fd);
	return err ?: fd;
}

int widen_one(const char *function, unsigned int us, unsigned int one_in)
{
	int program = hold_up_program(us, one_in), fd;

	if (program < 0)
		return program;
	/* One byte is written for a breakpoint, several in turn for a jump, which emulators are not always up to. */
	knob_try("/proc/sys/debug/kprobes-optimization", "0");
	fd = attach(function, program);
	close(program);
	return fd;
}

int widen(unsigned int us)
{
	int err = -ENOENT, nr = 0;
	size_t i;

	for (i = 0; i < NR_WINDOWS; i++) {
		int fd = widen_one(windows[i].function, us, windows[i].one_in);

		/* Not every kernel has each of them. */
		if (fd >= 0)
			nr++;
		else if (fd != -ENOENT && fd != -EINVAL)
			err = fd;
	}
	return nr ?: err;
}
