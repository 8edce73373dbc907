// SPDX-License-Identifier: GPL-2.0
/*
 * drift: after very many collapses and failures every account is balanced.
 *
 * A worker process, in a memory cgroup of its own, goes through rounds of
 * MADV_COLLAPSE calls and khugepaged passes that succeed or fail in every way
 * user space can bring about, and checks each result. Then the node and VM
 * counters, the charge of the emptied cgroup and the worker's page tables must
 * be what they were after a single round.
 *
 * DRIFT_OPS in the environment or argv[1] sets the number of operations.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "collapse.h"
#include "kselftest.h"

#define DEFAULT_OPS	100000
#define PASS_MS		60000
#define SETTLE_MS	10000

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static struct memcg cg;
static uint32_t version;

/* ---- operations: each returns what the collapse returned ---- */

/* Collapse with a page at every @step'th place, check them, give all back. */
static int fill_and_collapse(char *r, size_t step)
{
	int err;
	size_t i;

	stamp_small(r, pmd_size, step, ++version);
	err = collapse_settled(r, pmd_size);
	for (i = 0; i < pmd_pages; i += step)
		if (stamp_check(r + i * page_size, version))
			err = -EIO;
	advise(r, pmd_size, MADV_DONTNEED);
	return err;
}

static int do_one(char *r) { return fill_and_collapse(r, pmd_pages); }
static int do_some(char *r) { return fill_and_collapse(r, 8); }
static int do_all(char *r) { return fill_and_collapse(r, 1); }
static int do_plain(char *r) { return collapse(r, pmd_size); }

static int do_pte_thp(char *r)
{
	int err;

	stamp_small(r, pmd_size, pmd_pages, 1);
	make_huge(r, pmd_size);
	split_pmds(r, pmd_size);
	err = collapse_settled(r, pmd_size);
	advise(r, pmd_size, MADV_DONTNEED);
	return err;
}

static int do_forked(char *r)
{
	pid_t pid;
	int err;

	stamp_small(r, pmd_size, 64, 1);
	pid = share_with_child();
	err = collapse_settled(r, pmd_size);
	child_end(pid);
	advise(r, pmd_size, MADV_DONTNEED);
	return err;
}

/* The child exits with the huge page mapped as well. */
static int do_fork_huge(char *r)
{
	int err = do_plain(r);

	child_end(share_with_child());
	return err;
}

static int do_swapped(char *r)
{
	int err;

	stamp_small(r, pmd_size, 64, ++version);
	must(page_out(r, page_size), "page out");
	err = collapse_settled(r, pmd_size);
	if (stamp_check(r, version))
		err = -EIO;
	advise(r, pmd_size, MADV_DONTNEED);
	return err;
}

static int do_pin_isolated(char *r)
{
	pid_t pid;
	int err;

	stamp_small(r, pmd_size, 8, 1);
	pid = share_swapped(r, 1, 256, true);
	err = collapse(r, pmd_size);
	child_end(pid);
	advise(r, pmd_size, MADV_DONTNEED);
	return err;
}

static int do_charge(char *r)
{
	int err;

	must(memcg_set(&cg, "memory.swap.max", "0"), "memory.swap.max");
	must(memcg_set_num(&cg, "memory.max", memcg_num(&cg, "memory.current") + pmd_size / 2),
	     "memory.max");
	err = collapse(r, pmd_size);
	must(memcg_set(&cg, "memory.max", "max"), "memory.max");
	must(memcg_set(&cg, "memory.swap.max", "max"), "memory.swap.max");
	return err;
}

static int do_unmap(char *r)
{
	char *own = region_map(2);
	int err;

	stamp_small(own, 2 * pmd_size, pmd_pages, 1);
	err = collapse_settled(own, 2 * pmd_size);
	region_unmap(own, 2);
	return err;
}

/*
 * One pass of the daemon over four PMDs: one to collapse, one with too many
 * holes, one pinned and one not referenced.
 */
static int do_daemon(char *r)
{
	long collapsed = pages_collapsed();
	struct pin pin;
	int err = 0;

	stamp_small(r + 3 * pmd_size, pmd_size, 4, ++version);
	knob_set("/proc/self/clear_refs", "1");
	fill_small(r, page_size * 8, version);
	stamp_small(r + pmd_size, page_size, 1, version);
	stamp_small(r + 2 * pmd_size, pmd_size, 4, version);
	must(pin_vmsplice(&pin, r + 2 * pmd_size + 256 * page_size), "vmsplice");
	knob_set_num("khugepaged/max_ptes_none", pmd_pages - 8);
	advise(r, 4 * pmd_size, MADV_HUGEPAGE);
	must(khugepaged_wake(PASS_MS), "waking khugepaged");
	if (pages_collapsed() != collapsed + 1)
		err = -EXDEV;
	if (count_huge(0, r, 4 * pmd_size) != 1)
		err = -ERANGE;
	if (verify(r, page_size * 8, version) || verify_zero(r + 8 * page_size, pmd_size - 8 * page_size))
		err = -EIO;
	pin_release(&pin);
	advise(r, 4 * pmd_size, MADV_NOHUGEPAGE);
	advise(r, 4 * pmd_size, MADV_DONTNEED);
	return err;
}

/* ---- what they need, once per run ---- */

static struct pin pins;
static int uffd_holes, uffd_guarded;

static void set_full(char *r) { fill_small(r, pmd_size, 1); }
static void set_huge(char *r) { set_full(r); make_huge(r, pmd_size); }
static void set_nohuge(char *r) { set_full(r); advise(r, pmd_size, MADV_NOHUGEPAGE); }

static void set_pinned(char *r)
{
	set_full(r);
	must(pin_vmsplice(&pins, r + 300 * page_size), "vmsplice");
}

static void set_guard(char *r)
{
	set_full(r);
	advise(r + 7 * page_size, page_size, MADV_GUARD_INSTALL);
}

static void set_uffd_hole(char *r)
{
	set_full(r);
	advise(r + 200 * page_size, page_size, MADV_DONTNEED);
	uffd_holes = uffd_open(0);
	must(uffd_holes, "userfaultfd");
	must(uffd_register_range(uffd_holes, r, pmd_size, UFFDIO_REGISTER_MODE_MISSING),
	     "UFFDIO_REGISTER");
}

static void set_uffd_wp(char *r)
{
	set_full(r);
	uffd_guarded = uffd_open(0);
	must(uffd_guarded, "userfaultfd");
	must(uffd_register_range(uffd_guarded, r, pmd_size, UFFDIO_REGISTER_MODE_WP),
	     "UFFDIO_REGISTER");
	must(uffd_wp(uffd_guarded, r + 200 * page_size, page_size, true), "UFFDIO_WRITEPROTECT");
}

static struct op {
	const char *name;
	unsigned int per_round;
	int want;
	int (*act)(char *r);
	void (*set)(char *r);
	size_t nr_pmds;
	unsigned int counts_as;
	bool used;			/* faulted in before */
	char *r;
} ops[] = {
	{ "one page of 512, collapsed",         60, 0,       .act = do_one },
	{ "64 pages of 512, collapsed",         20, 0,       .act = do_some },
	{ "all pages, collapsed",                4, 0,       .act = do_all },
	{ "PTE-mapped THP, collapsed",           4, 0,       .act = do_pte_thp },
	{ "shared with a child, collapsed",      3, 0,       .act = do_forked },
	{ "page in swap, collapsed",             5, 0,       .act = do_swapped },
	{ "two PMDs, collapsed, unmapped",       5, 0,       .act = do_unmap },
	{ "already huge, then forked",           3, 0,       .act = do_fork_huge, .set = set_huge },
	{ "already huge",                      100, 0,       .act = do_plain, .set = set_huge },
	{ "never touched",                      50, -EINVAL, .act = do_plain },
	{ "no page table",                     100, -EINVAL, .act = do_plain, .used = true },
	{ "MADV_NOHUGEPAGE",                    80, -EINVAL, .act = do_plain, .set = set_nohuge },
	{ "pin found by scan",                 200, -EAGAIN, .act = do_plain, .set = set_pinned },
	{ "pin found by isolation",              3, -EAGAIN, .act = do_pin_isolated },
	{ "guard page, found by swap-in",       95, -EINVAL, .act = do_plain, .set = set_guard },
	{ "userfaultfd and a hole",            120, -EBUSY,  .act = do_plain, .set = set_uffd_hole },
	{ "userfaultfd write protection",      130, -EINVAL, .act = do_plain, .set = set_uffd_wp },
	{ "charge fails",                       10, -EBUSY,  .act = do_charge, .set = set_full },
	{ "khugepaged: one of four PMDs",        2, 0,       .act = do_daemon, .nr_pmds = 4, .counts_as = 4 },
};
#define NR_OPS (sizeof(ops) / sizeof(ops[0]))

struct report {
	unsigned long done[NR_OPS], wrong[NR_OPS];
	int last_wrong[NR_OPS];
	unsigned long total;
	long vm_pte_before, vm_pte_after;
};

/* ---- rounds ---- */

static void one_round(struct report *rep, unsigned long limit)
{
	unsigned int k;
	size_t i;
	int err;

	for (i = 0; i < NR_OPS && rep->total < limit; i++) {
		for (k = 0; k < ops[i].per_round; k++) {
			err = ops[i].act(ops[i].r);
			rep->done[i]++;
			rep->total += ops[i].counts_as ? : 1;
			if (err != ops[i].want) {
				rep->wrong[i]++;
				rep->last_wrong[i] = err;
			}
		}
	}
}

static void run_rounds(struct report *rep, unsigned long limit)
{
	size_t i;

	for (i = 0; i < NR_OPS; i++) {
		size_t nr = ops[i].nr_pmds ? : 1;

		ops[i].r = ops[i].used ? region_map_used(nr) : region_map(nr);
		if (ops[i].set)
			ops[i].set(ops[i].r);
	}
	while (rep->total < limit)
		one_round(rep, limit);
	pin_release(&pins);
	close(uffd_holes);
	close(uffd_guarded);
	for (i = 0; i < NR_OPS; i++)
		region_unmap(ops[i].r, ops[i].nr_pmds ? : 1);
}

/* A process that does @limit operations inside a cgroup that is new. */
static void worker(struct report *rep, unsigned long limit)
{
	static struct report warm_up;
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid) {
		if (waitpid(pid, &status, 0) != pid || status)
			die("the worker ended with status %#x", status);
		return;
	}
	must(memcg_enter(&cg), "memory cgroup");
	khugepaged_register(PASS_MS);
	run_rounds(&warm_up, 1);
	rep->vm_pte_before = proc_status_kb(0, "VmPTE");
	run_rounds(rep, limit);
	rep->vm_pte_after = proc_status_kb(0, "VmPTE");
	_exit(0);
}

/* ---- accounts ---- */

/*
 * The kernel's own page tables, of vmalloc for one, are in nr_page_table_pages
 * as well and stay: a few may be new. Any kind of leak would be hundreds.
 */
static const struct {
	const char *name;
	long slack;
} accounts[] = {
	{ .name = "nr_isolated_anon" }, { .name = "nr_isolated_file" }, { "nr_page_table_pages", 32 },
	{ .name = "nr_anon_transparent_hugepages" },
	/* A page of a process that sleeps may be swapped out, or come back. */
	{ "nr_anon_pages", 8 },
	{ .name = "nr_shmem_hugepages" }, { .name = "nr_file_hugepages" },
};
#define NR_ACCOUNTS (sizeof(accounts) / sizeof(accounts[0]))

static void accounts_read(long *v)
{
	size_t i;

	/* Folds the per-CPU parts; fails if a counter is negative. */
	if (knob_try("/proc/sys/vm/stat_refresh", "1"))
		ksft_print_msg("stat_refresh found a negative counter\n");
	for (i = 0; i < NR_ACCOUNTS; i++)
		v[i] = vmstat(accounts[i].name);
}

static bool balanced(const long *before, const long *after, size_t i)
{
	return labs(after[i] - before[i]) <= accounts[i].slack;
}

/* Pages of exited processes and per-CPU caches may take a moment to go. */
static void accounts_settle(const long *before, long *after)
{
	uint64_t end = now_ms() + SETTLE_MS;
	size_t i;

	do {
		accounts_read(after);
		for (i = 0; i < NR_ACCOUNTS && balanced(before, after, i); i++)
			;
		if (i == NR_ACCOUNTS)
			return;
		sleep_ms(100);
	} while (now_ms() < end);
}

/* memory.high gives back what per-CPU stocks and caches hold, without an OOM. */
static long leftover_charge(void)
{
	uint64_t end = now_ms() + SETTLE_MS;
	long left;

	do {
		knob_try("/proc/sys/vm/drop_caches", "3");
		memcg_set(&cg, "memory.high", "0");
		left = memcg_num(&cg, "memory.current") + memcg_num(&cg, "memory.swap.current");
		if (!left)
			break;
		sleep_ms(100);
	} while (now_ms() < end);
	return left;
}

static long run_in_new_cgroup(const char *name, struct report *rep, unsigned long limit)
{
	long left;

	must(memcg_create(&cg, name), "memory cgroup");
	worker(rep, limit);
	left = leftover_charge();
	memcg_destroy(&cg);
	return left;
}

int main(int argc, char **argv)
{
	const char *want = argc > 1 ? argv[1] : getenv("DRIFT_OPS");
	unsigned long limit = want ? strtoul(want, NULL, 10) : DEFAULT_OPS;
	long before[NR_ACCOUNTS], after[NR_ACCOUNTS], left_one, left_all;
	struct report *rep;
	size_t i;

	ksft_print_header();
	setvbuf(stdout, NULL, _IOLBF, 0);
	collapse_init();
	if (geteuid())
		ksft_exit_skip("needs root: run it as root\n");
	if (swap_setup(64))
		ksft_exit_skip("needs swap: turn a swap device on or build with ZRAM\n");
	ksft_set_plan(NR_OPS + NR_ACCOUNTS + 2);
	knobs_baseline();
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	rep = mmap(NULL, 2 * sizeof(*rep), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	left_one = run_in_new_cgroup("drift_one", &rep[0], 1);
	accounts_read(before);
	left_all = run_in_new_cgroup("drift_all", &rep[1], limit);
	accounts_settle(before, after);
	rep++;

	ksft_print_msg("%lu operations\n", rep->total);
	for (i = 0; i < NR_OPS; i++) {
		if (rep->wrong[i])
			ksft_print_msg("%s: %lu of %lu wrong, last %s instead of %s\n",
				       ops[i].name, rep->wrong[i], rep->done[i],
				       strerror(-rep->last_wrong[i]), strerror(-ops[i].want));
		ksft_print_msg("%s: %lu times\n", ops[i].name, rep->done[i]);
		ksft_test_result(rep->done[i] && !rep->wrong[i], "%s\n", ops[i].name);
	}
	for (i = 0; i < NR_ACCOUNTS; i++) {
		ksft_print_msg("%ld, was %ld\n", after[i], before[i]);
		ksft_test_result(balanced(before, after, i), "%s\n", accounts[i].name);
	}
	/* A CPU may keep part of a page of small objects in stock. */
	ksft_print_msg("%ld, after one round %ld\n", left_all, left_one);
	ksft_test_result(left_all <= left_one + sysconf(_SC_NPROCESSORS_ONLN) * (long)page_size,
			 "charge of the emptied cgroup\n");
	ksft_print_msg("%ld kB, was %ld kB\n", rep->vm_pte_after, rep->vm_pte_before);
	ksft_test_result(rep->vm_pte_after == rep->vm_pte_before, "VmPTE\n");
	swap_teardown();
	ksft_finished();
}
