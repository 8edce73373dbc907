// SPDX-License-Identifier: GPL-2.0
/* What the traced workloads have in common. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <unistd.h>

#include "collapse.h"

#define PASS_MS	60000

static const char * const counter_names[WORKLOAD_COUNTERS] = {
	"thp_collapse_alloc", "thp_collapse_alloc_failed", "thp_scan_exceed_none_pte",
	"thp_scan_exceed_swap_pte", "thp_scan_exceed_share_pte", "thp_file_mapped", "collapse_alloc",
	"collapse_alloc_failed", "collapse_exceed_none_pte", "collapse_exceed_swap_pte",
	"collapse_exceed_shared_pte", "pages_collapsed", "full_scans",
};

struct workload work = { .pin = { { -1, -1 } }, .uffd = -1 };

static void same_addresses(char **argv)
{
	int old = personality(0xffffffff);

	if (old & ADDR_NO_RANDOMIZE)
		return;
	personality(old | ADDR_NO_RANDOMIZE);
	execv("/proc/self/exe", argv);
	die("cannot run without address space randomisation: %s", strerror(errno));
}

void workload_start(int argc, char **argv, const char *name)
{
	same_addresses(argv);
	if (argc > 1) {
		fprintf(stderr, "usage: %s\nPrints a normalised trace; run as root.\n", name);
		exit(2);
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	collapse_init();
	knobs_baseline();
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	must(swap_setup(64), "swap device");
	must(memcg_create(&work.cg, name), "memory cgroup");
	must(memcg_enter(&work.cg), "memory cgroup");
	khugepaged_register(PASS_MS);
	normal_learn_mm();
	printf("=== BEGIN %s\n", name);
}

void workload_end(const char *name)
{
	printf("=== END %s\n", name);
	fflush(stdout);
	must(memcg_leave(), "memory cgroup");
	memcg_destroy(&work.cg);
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "500");
	swap_teardown();
}

void workload_watch(char *start, size_t len, unsigned int features, unsigned long mode)
{
	work.uffd = uffd_open(features);
	must(work.uffd, "userfaultfd");
	must(uffd_register_range(work.uffd, start, len, mode), "UFFDIO_REGISTER");
}

void workload_limit(void)
{
	must(memcg_set(&work.cg, "memory.swap.max", "0"), "memory.swap.max");
	must(memcg_set_num(&work.cg, "memory.max",
			   memcg_num(&work.cg, "memory.current") + pmd_size / 2), "memory.max");
}

void workload_starve(void (*full)(void))
{
	work.starved = knob_there("/sys/kernel/debug/fail_page_alloc");
	if (!work.starved)
		work.child = starve_in_child();
	full();
	if (work.starved)
		must(huge_starve(), "failing allocations");
}

void workload_undo(void)
{
	if (work.starved)
		huge_feed();
	work.starved = false;
	must(memcg_set(&work.cg, "memory.max", "max"), "memory.max");
	must(memcg_set(&work.cg, "memory.swap.max", "max"), "memory.swap.max");
	pin_release(&work.pin);
	child_end(work.child);
	work.child = 0;
	if (work.uffd >= 0)
		close(work.uffd);
	work.uffd = -1;
}

void workload_counters_read(struct workload_counters *c)
{
	size_t i;

	for (i = 0; i < WORKLOAD_COUNTERS; i++)
		c->v[i] = i < 6 ? vmstat(counter_names[i]) : i < 11 ? mthp_stat(counter_names[i]) :
			  i == 11 ? pages_collapsed() : full_scans();
}

void workload_counters_print(const struct workload_counters *before,
			     const struct workload_counters *after)
{
	size_t i;

	printf("  counters");
	for (i = 0; i < WORKLOAD_COUNTERS; i++)
		if (after->v[i] != before->v[i])
			printf(" %s%+ld", counter_names[i], after->v[i] - before->v[i]);
	printf("\n");
}

void workload_limits(int none, int swap, int shared)
{
	knobs_baseline();
	knob_set_num("khugepaged/alloc_sleep_millisecs", 1);
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	must(khugepaged_wake(PASS_MS), "waking khugepaged");
	if (none >= 0)
		knob_set_num("khugepaged/max_ptes_none", none);
	if (swap >= 0)
		knob_set_num("khugepaged/max_ptes_swap", swap);
	if (shared >= 0)
		knob_set_num("khugepaged/max_ptes_shared", shared);
}
