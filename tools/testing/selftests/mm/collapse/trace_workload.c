// SPDX-License-Identifier: GPL-2.0
/*
 * trace_workload: a fixed sequence of collapses and refusals, through both
 * doors, and the huge_memory trace events each of them causes.
 *
 * The events are normalised so that two kernels can be compared by diff:
 * only events of this process's mm are kept; time, CPU and flags are dropped;
 * the mm is "self"; a pfn becomes the page of the region it belonged to,
 * "none" for -1, or "elsewhere". After them come the counters that moved.
 * What matters is between the BEGIN and END lines.
 *
 * The daemon sleeps for a day and is woken for one pass per step, and address
 * space randomisation is off, so that the sequence is the same on every run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "collapse.h"

#define PASS_MS		60000

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static char *r;			/* the region of the current step */
static size_t len;

static char *page(size_t i)
{
	return r + i * page_size;
}

/* ---- the states ---- */

static void never(void) { }
static void empty(void) { }
static void full(void) { fill_small(r, len, 1); }
static void first(void) { stamp_small(r, len, pmd_pages, 1); }
static void last(void) { stamp_small(page(pmd_pages - 1), page_size, 1, 1); }
static void half(void) { stamp_small(r, len, 2, 1); }
static void huge(void) { full(); make_huge(r, len); }
static void pte_thp(void) { huge(); split_pmds(r, len); }
static void forked(void) { full(); work.child = share_with_child(); }
static void nohuge(void) { full(); advise(r, len, MADV_NOHUGEPAGE); }
static void lazyfree(void) { full(); advise(page(7), page_size, MADV_FREE); }
static void unreferenced(void) { full(); knob_set("/proc/self/clear_refs", "1"); }
static void shared_in_swap(void) { full(); work.child = share_swapped(r, 1, 300, false); }
static void pinned_in_swap(void) { full(); work.child = share_swapped(r, 1, 300, true); }

static void zeros(void)
{
	size_t i;

	/* Read faults map the zero page; a THP is not taken for them. */
	half();
	for (i = 1; i < pmd_pages; i += 2)
		if (*(volatile char *)page(i))
			die("memory that was never written is not zero");
}

static void hole_at_end(void)
{
	full();
	advise(page(pmd_pages - 1), page_size, MADV_DONTNEED);
}

static void thp_part(void)
{
	pte_thp();
	advise(page(pmd_pages / 2), len / 2, MADV_DONTNEED);
}

static void pinned(void)
{
	full();
	must(pin_vmsplice(&work.pin, page(100)), "vmsplice");
}

static void guarded(void)
{
	full();
	advise(page(20), page_size, MADV_GUARD_INSTALL);
}

static void swapped_some(void)
{
	full();
	must(page_out(page(40), 8 * page_size), "page out");
}

static void swapped_most(void)
{
	full();
	knob_set("/proc/self/clear_refs", "1");
	advise(page(3), page_size, MADV_DONTNEED);
	stamp_small(page(3), page_size, 1, 2);
	must(page_out(page(40), 8 * page_size), "page out");
}

static void uffd_hole(void)
{
	hole_at_end();
	workload_watch(r, len, 0, UFFDIO_REGISTER_MODE_MISSING);
}

static void uffd_protected(void)
{
	full();
	workload_watch(r, len, 0, UFFDIO_REGISTER_MODE_WP);
	must(uffd_wp(work.uffd, page(9), page_size, true), "UFFDIO_WRITEPROTECT");
}

static void uffd_protected_in_swap(void)
{
	uffd_protected();
	must(page_out(page(9), page_size), "page out");
}

static void three_one_pinned(void)
{
	full();
	must(pin_vmsplice(&work.pin, page(pmd_pages + 1)), "vmsplice");
}

static void charge_fails(void)
{
	full();
	workload_limit();
}

static void alloc_fails(void) { workload_starve(full); }

/* ---- the steps ---- */

enum door { MADV, DAEMON };

struct step {
	const char *name;
	enum door door;
	size_t nr_pmds;
	void (*state)(void);
	int none, swap, shared;		/* khugepaged's limits; -1: as baseline */
	unsigned int passes;
};

#define M(name, nr, state)		{ name, MADV, nr, state, -1, -1, -1, 0 }
#define D(name, nr, state)		{ name, DAEMON, nr, state, -1, -1, -1, 1 }
#define L(name, state, none, swap, shared) { name, DAEMON, 1, state, none, swap, shared, 1 }

static const struct step steps[] = {
	M("all present", 1, full),
	M("only the first page", 1, first),
	M("only the last page", 1, last),
	M("every second page", 1, half),
	M("every second page, zero pages between", 1, zeros),
	M("never touched", 1, never),
	M("no page table", 1, empty),
	M("already huge", 1, huge),
	M("whole THP mapped by PTEs", 1, pte_thp),
	M("half a THP mapped by PTEs", 1, thp_part),
	M("shared with a child", 1, forked),
	M("eight pages in swap", 1, swapped_some),
	M("lazily freed page", 1, lazyfree),
	M("not referenced", 1, unreferenced),
	M("MADV_NOHUGEPAGE", 1, nohuge),
	M("pinned page", 1, pinned),
	M("pinned page, found by isolation", 1, pinned_in_swap),
	M("page in swap that a child has mapped", 1, shared_in_swap),
	M("guard page", 1, guarded),
	M("userfaultfd and a hole", 1, uffd_hole),
	M("userfaultfd write protection", 1, uffd_protected),
	M("userfaultfd write protection in swap", 1, uffd_protected_in_swap),
	M("charge fails", 1, charge_fails),
	M("allocation fails", 1, alloc_fails),
	M("three PMDs", 3, full),
	M("three PMDs, the second with a pin", 3, three_one_pinned),
	M("three PMDs, charge fails", 3, charge_fails),

	D("all present", 1, full),
	D("only the first page", 1, first),
	D("only the last page", 1, last),
	D("every second page, zero pages between", 1, zeros),
	D("never touched", 1, never),
	D("no page table", 1, empty),
	D("already huge", 1, huge),
	D("whole THP mapped by PTEs", 1, pte_thp),
	D("half a THP mapped by PTEs", 1, thp_part),
	D("lazily freed page", 1, lazyfree),
	D("not referenced", 1, unreferenced),
	D("MADV_NOHUGEPAGE", 1, nohuge),
	D("pinned page", 1, pinned),
	D("pinned page, found by isolation", 1, pinned_in_swap),
	D("guard page", 1, guarded),
	D("userfaultfd and a hole", 1, uffd_hole),
	D("userfaultfd write protection", 1, uffd_protected),
	D("userfaultfd write protection in swap", 1, uffd_protected_in_swap),
	D("shared with a child", 1, forked),
	D("eight pages in swap", 1, swapped_some),
	D("eight pages in swap, the rest hardly used", 1, swapped_most),
	D("charge fails", 1, charge_fails),
	D("allocation fails", 1, alloc_fails),
	D("three PMDs", 3, full),
	D("three PMDs, the second with a pin", 3, three_one_pinned),
	L("max_ptes_none=0, all present", full, 0, -1, -1),
	L("max_ptes_none=0, one hole", hole_at_end, 0, -1, -1),
	L("max_ptes_none=255, every second page", half, 255, -1, -1),
	L("max_ptes_none=256, every second page", half, 256, -1, -1),
	L("max_ptes_swap=8, eight in swap", swapped_some, -1, 8, -1),
	L("max_ptes_swap=7, eight in swap", swapped_some, -1, 7, -1),
	L("max_ptes_shared=511, shared with a child", forked, -1, -1, 511),
	L("max_ptes_shared=0, shared with a child", forked, -1, -1, 0),
	L("max_ptes_shared=0, shared only after swap-in", shared_in_swap, -1, -1, 0),
	L("max_ptes_shared=1, shared only after swap-in", shared_in_swap, -1, -1, 1),
	{ "pages_to_scan=1, three PMDs in pieces", DAEMON, 3, hole_at_end, 0, -1, -1, 4 },
};
#define NR_STEPS (sizeof(steps) / sizeof(steps[0]))

/* ---- one step ---- */

static void set_limits(const struct step *s)
{
	workload_limits(s->none, s->swap, s->shared);
	if (s->passes > 1)
		knob_set_num("khugepaged/pages_to_scan", 1);
}

static void run_step(size_t nr, const struct step *s)
{
	const char *who = s->door == MADV ? "MADV_COLLAPSE" : "khugepaged";
	struct workload_counters before, after;
	unsigned int i;
	size_t nr_huge;
	char *text;
	int err = 0;

	set_limits(s);
	r = s->state == never ? region_map(s->nr_pmds) : region_map_used(s->nr_pmds);
	len = s->nr_pmds * pmd_size;
	if (s->door == DAEMON)
		advise(r, len, MADV_HUGEPAGE);
	s->state();

	normal_before(r, len);
	workload_counters_read(&before);
	must(trace_start("huge_memory"), "tracefs");
	for (i = 0; i < s->passes; i++)
		must(khugepaged_wake(PASS_MS), "waking khugepaged");
	if (s->door == MADV)
		err = collapse(r, len);
	trace_stop();
	workload_counters_read(&after);
	normal_after(r, len);
	nr_huge = count_huge(0, r, len);
	workload_undo();

	printf("%s %zu: %s", who, nr, s->name);
	if (s->door == MADV)
		printf(": %s", err ? strerrorname_np(-err) : "0");
	printf(", %zu of %zu huge\n", nr_huge, s->nr_pmds);
	text = trace_take();
	normal_print(text);
	free(text);
	workload_counters_print(&before, &after);
	fflush(stdout);
	region_unmap(r, s->nr_pmds);
}

int main(int argc, char **argv)
{
	size_t i;

	workload_start(argc, argv, "trace_workload");
	for (i = 0; i < NR_STEPS; i++)
		run_step(i + 1, &steps[i]);
	workload_end("trace_workload");
	return 0;
}
