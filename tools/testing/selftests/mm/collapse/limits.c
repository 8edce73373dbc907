// SPDX-License-Identifier: GPL-2.0
/* What khugepaged takes and what it leaves: limits, references, pace. */
#include "harness.h"

FIXTURE(limits) {
	char *mem;
};

FIXTURE_SETUP(limits)
{
	knobs_baseline();
	khugepaged_register(LONG_MS);
	self->mem = region_map(1);
	fill_small(self->mem, pmd_size, 1);
}

FIXTURE_TEARDOWN(limits)
{
}

#define MEM (self->mem)
#define PAGE(n) (self->mem + (n) * page_size)

/* Both views of one refusal, vmstat and the statistics of the size. */
struct refusals {
	long none, none_size, swap, swap_size, shared, shared_size;
	long collapsed;
};

static struct refusals refusals_read(void)
{
	struct refusals r = {
		vmstat("thp_scan_exceed_none_pte"), mthp_stat("collapse_exceed_none_pte"),
		vmstat("thp_scan_exceed_swap_pte"), mthp_stat("collapse_exceed_swap_pte"),
		vmstat("thp_scan_exceed_share_pte"), mthp_stat("collapse_exceed_shared_pte"),
		pages_collapsed(),
	};

	return r;
}

#define CHANGED(after, before, field) ((after).field - (before).field)

/* Lets the daemon make whole passes, then stops it. */
static void some_passes(struct __test_metadata *_metadata)
{
	khugepaged_fast();
	ASSERT_EQ(0, khugepaged_passes(2, LONG_MS));
	khugepaged_idle();
	/* The pass that was under way when it was told to sleep. */
	sleep_ms(50);
}

static void expect_taken(struct __test_metadata *_metadata, char *mem)
{
	struct refusals before = refusals_read(), after;

	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS));
	/* It counts after the page is in place. */
	EXPECT_EQ(0, khugepaged_passes(1, LONG_MS));
	khugepaged_idle();
	after = refusals_read();
	EXPECT_EQ(0, CHANGED(after, before, none));
	EXPECT_EQ(0, CHANGED(after, before, swap));
	EXPECT_EQ(0, CHANGED(after, before, shared));
	EXPECT_EQ(1, CHANGED(after, before, collapsed));
}

/* Refused, by the counter at index @which (0 none, 1 swap, 2 shared) alone. */
static void expect_left(struct __test_metadata *_metadata, char *mem, int which)
{
	struct refusals before = refusals_read(), after;
	long moved[3], size[3];
	int i;

	some_passes(_metadata);
	after = refusals_read();
	EXPECT_EQ(0, count_huge(0, mem, pmd_size));
	moved[0] = CHANGED(after, before, none);
	moved[1] = CHANGED(after, before, swap);
	moved[2] = CHANGED(after, before, shared);
	size[0] = CHANGED(after, before, none_size);
	size[1] = CHANGED(after, before, swap_size);
	size[2] = CHANGED(after, before, shared_size);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(i == which, moved[i] > 0) TH_LOG("counter %d", i);
		EXPECT_EQ(moved[i], size[i]) TH_LOG("per-size counter %d", i);
	}
	EXPECT_EQ(0, CHANGED(after, before, collapsed));
}

static void make_holes(char *mem, size_t nr)
{
	/* Spread, first and last page included when there are two or more. */
	size_t i;

	for (i = 0; i < nr; i++) {
		size_t at = nr > 1 ? i * (pmd_pages - 1) / (nr - 1) : pmd_pages / 2;

		madvise(mem + at * page_size, page_size, MADV_DONTNEED);
	}
}

static size_t holes_of(char *mem)
{
	return pmd_pages - count_pages(0, mem, pmd_size, PAGE_PRESENT);
}

static void none_boundary(struct __test_metadata *_metadata, char *mem, size_t nr,
			  bool zero_pages)
{
	size_t i;

	make_holes(mem, nr);
	ASSERT_EQ(nr, holes_of(mem));
	for (i = 0; zero_pages && i < pmd_pages; i++)
		(void)*(volatile char *)(mem + i * page_size);
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	if (nr) {
		knob_set_num("khugepaged/max_ptes_none", nr - 1);
		expect_left(_metadata, mem, 0);
	}
	if (nr < pmd_pages) {
		knob_set_num("khugepaged/max_ptes_none", nr);
		expect_taken(_metadata, mem);
	}
}

TEST_F(limits, none_0) { none_boundary(_metadata, MEM, 0, false); }
TEST_F(limits, none_1) { none_boundary(_metadata, MEM, 1, false); }
TEST_F(limits, none_100) { none_boundary(_metadata, MEM, 100, false); }
TEST_F(limits, none_all_but_one) { none_boundary(_metadata, MEM, pmd_pages - 1, false); }
TEST_F(limits, zero_pages_count_as_none) { none_boundary(_metadata, MEM, 37, true); }

TEST_F(limits, content_around_holes)
{
	ASSERT_EQ(0, madvise(PAGE(5), page_size, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	expect_taken(_metadata, MEM);
	EXPECT_EQ(0, verify(MEM, 5 * page_size, 1));
	EXPECT_EQ(0, verify_zero(PAGE(5), page_size));
	EXPECT_EQ(0, verify(PAGE(6), pmd_size - 6 * page_size, 1));
}

static void swap_boundary(struct __test_metadata *_metadata, char *mem, size_t nr)
{
	ASSERT_EQ(0, swap_setup(64)) TH_LOG("no swap: boot with zram");
	ASSERT_EQ(0, page_out(mem + 10 * page_size, nr * page_size));
	ASSERT_EQ(nr, count_pages(0, mem, pmd_size, PAGE_SWAPPED));
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	knob_set_num("khugepaged/max_ptes_swap", nr - 1);
	expect_left(_metadata, mem, 1);
	ASSERT_EQ(nr, count_pages(0, mem, pmd_size, PAGE_SWAPPED));
	knob_set_num("khugepaged/max_ptes_swap", nr);
	expect_taken(_metadata, mem);
	EXPECT_EQ(0, count_pages(0, mem, pmd_size, PAGE_SWAPPED));
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
	swap_teardown();
}

TEST_F(limits, swap_1) { swap_boundary(_metadata, MEM, 1); }
TEST_F(limits, swap_64) { swap_boundary(_metadata, MEM, 64); }
TEST_F(limits, swap_200) { swap_boundary(_metadata, MEM, 200); }

static void shared_boundary(struct __test_metadata *_metadata, char *mem, size_t nr)
{
	int ready[2];
	pid_t child;
	char c;

	ASSERT_EQ(0, pipe(ready));
	child = fork();
	if (!child) {
		/* Its own pages are none of this test's business. */
		madvise(mem, pmd_size, MADV_NOHUGEPAGE);
		if (write(ready[1], "r", 1) == 1)
			pause();
		_exit(0);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	/* Writing breaks the sharing of all but the first @nr. */
	fill_small(mem + nr * page_size, pmd_size - nr * page_size, 2);
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	knob_set_num("khugepaged/max_ptes_shared", nr - 1);
	expect_left(_metadata, mem, 2);
	knob_set_num("khugepaged/max_ptes_shared", nr);
	expect_taken(_metadata, mem);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	EXPECT_EQ(0, verify(mem, nr * page_size, 1));
	EXPECT_EQ(0, verify(mem + nr * page_size, pmd_size - nr * page_size, 2));
}

TEST_F(limits, shared_1) { shared_boundary(_metadata, MEM, 1); }
TEST_F(limits, shared_256) { shared_boundary(_metadata, MEM, 256); }
TEST_F(limits, shared_511) { shared_boundary(_metadata, MEM, pmd_pages - 1); }

/* ---- references ---- */

TEST_F(limits, idle_memory_is_left)
{
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	ASSERT_EQ(0, forget_references(MEM, pmd_size));
	expect_left(_metadata, MEM, -1);
	(void)*(volatile char *)PAGE(99);
	expect_taken(_metadata, MEM);
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

TEST_F(limits, half_must_be_referenced_with_swap)
{
	size_t i;

	ASSERT_EQ(0, swap_setup(64)) TH_LOG("no swap: boot with zram");
	ASSERT_EQ(0, page_out(MEM, 3 * page_size));
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	ASSERT_EQ(0, forget_references(MEM, pmd_size));
	for (i = 0; i < pmd_pages / 2 - 1; i++)
		(void)*(volatile char *)PAGE(3 + i);
	expect_left(_metadata, MEM, -1);
	(void)*(volatile char *)PAGE(3 + i);
	expect_taken(_metadata, MEM);
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	swap_teardown();
}

/* ---- pace and accounting ---- */

/* With one page to scan, each time it wakes it does one PMD at most. */
TEST_F(limits, pages_to_scan_bounds_a_wake_up)
{
	const size_t nr = 4;
	char *mem = region_map(nr);
	size_t before = 0, now;
	int wakes;

	fill_small(mem, nr * pmd_size, 1);
	knob_set("khugepaged/pages_to_scan", "1");
	ASSERT_EQ(0, madvise(mem, nr * pmd_size, MADV_HUGEPAGE));
	before = count_huge(0, mem, nr * pmd_size);
	EXPECT_EQ(0, before);
	for (wakes = 0; wakes < 100 && before < nr; wakes++) {
		/* Wakes it once, to sleep for a day afterwards. */
		khugepaged_idle();
		sleep_ms(200);
		now = count_huge(0, mem, nr * pmd_size);
		EXPECT_LE(now, before + 1);
		before = now;
	}
	EXPECT_EQ(nr, before) TH_LOG("the scan does not move on");
	EXPECT_EQ(0, verify(mem, nr * pmd_size, 1));
}

TEST_F(limits, passes_and_pages_are_counted)
{
	const size_t nr = 6;
	char *mem = region_map(nr);
	long collapsed = pages_collapsed(), scans = full_scans();
	long alloc = vmstat("thp_collapse_alloc"), malloc_ = mthp_stat("collapse_alloc");

	fill_small(mem, nr * pmd_size, 1);
	ASSERT_EQ(0, madvise(mem, nr * pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(mem, nr * pmd_size, nr, LONG_MS));
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	EXPECT_LT(scans, full_scans());
	EXPECT_EQ(collapsed + (long)nr, pages_collapsed());
	EXPECT_EQ(alloc + (long)nr, vmstat("thp_collapse_alloc"));
	EXPECT_EQ(malloc_ + (long)nr, mthp_stat("collapse_alloc"));
	/* What is huge is not counted again. */
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	EXPECT_EQ(collapsed + (long)nr, pages_collapsed());
}

/* MADV_COLLAPSE is not the daemon's work. */
TEST_F(limits, the_call_is_not_counted)
{
	long collapsed = pages_collapsed();

	ASSERT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(collapsed, pages_collapsed());
}

TEST_F(limits, pinned_memory_is_left)
{
	struct pin pin;

	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	ASSERT_EQ(0, pin_vmsplice(&pin, PAGE(400)));
	expect_left(_metadata, MEM, -1);
	pin_release(&pin);
	expect_taken(_metadata, MEM);
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

COLLAPSE_HARNESS_MAIN
