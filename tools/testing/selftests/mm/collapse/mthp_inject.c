// SPDX-License-Identifier: GPL-2.0
/*
 * Failure injected at each step of a collapse to folios below the size of a
 * PMD. Needs the attribute directory fail_collapse in debugfs:
 * KHUGEPAGED_RUST_FAULT_INJECTION.
 */
#include "harness.h"

#define ORDER 4

FIXTURE(inject) {
	char *mem;
	size_t nr;
	struct balance before;
};

FIXTURE_VARIANT(inject) {
	unsigned int step;
	bool per_page;		/* the step is taken once for each page, else once for each region */
	bool for_all;		/* once for the table */
};

#define STEP(name_, ...) \
FIXTURE_VARIANT_ADD(inject, name_) { __VA_ARGS__ }

STEP(allocate,		.step = 1);
STEP(charge,		.step = 2);
STEP(isolate_lock,	.step = 4, .per_page = true);
STEP(isolate_pin,	.step = 5, .per_page = true);
STEP(isolate_lru,	.step = 6, .per_page = true);
STEP(copy,		.step = 7, .per_page = true);
STEP(revalidate,	.step = 8, .for_all = true);

FIXTURE_SETUP(inject)
{
	knobs_baseline();
	inject_disarm();
	size_enable(pmd_order(), "never");
	size_enable(ORDER, "madvise");
	/* One pass, then a long sleep, whatever fails. */
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	knob_set("khugepaged/alloc_sleep_millisecs", "1");
	/* All of these wake the daemon; from here on it sleeps until it is told. */
	khugepaged_register(LONG_MS);
	self->nr = pmd_pages >> ORDER;
	self->mem = region_map_used(1);
	ASSERT_EQ(0, madvise(self->mem, pmd_size, MADV_HUGEPAGE));
	fill_small(self->mem, pmd_size, 1);
	balance_read(&self->before);
}

FIXTURE_TEARDOWN(inject)
{
	inject_disarm();
	region_unmap(self->mem, 1);
}

/* Each region is as it was or a folio; the content is the same. */
static void check(struct __test_metadata *_metadata, FIXTURE_DATA(inject) *self)
{
	EXPECT_EQ(0, verify(self->mem, pmd_size, 1));
	EXPECT_EQ(pmd_pages, count_pages(0, self->mem, pmd_size, PAGE_PRESENT));
	EXPECT_EQ((long)(pmd_size >> 10), smaps_kb(0, self->mem, pmd_size, "Rss"));
	EXPECT_EQ(0, balance_check(&self->before, 0));
}

TEST_F_TIMEOUT(inject, one_region_fails, 600)
{
	const size_t regions[] = { 0, 1, self->nr / 2, self->nr - 1 };
	size_t i, was, is;

	for (i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
		/* The first page of a region, the last, and two in between. */
		size_t page = (regions[i] << ORDER) + i * ((1 << ORDER) - 1) / 3;

		was = count_folios(self->mem, pmd_size, ORDER);
		ASSERT_EQ(0, was);
		inject_arm(variant->step, variant->for_all ? 0 : variant->per_page ? page : regions[i], 1);
		ASSERT_EQ(0, khugepaged_wake(LONG_MS));
		EXPECT_TRUE(inject_spent()) TH_LOG("step %u was not reached", variant->step);
		is = count_folios(self->mem, pmd_size, ORDER);
		/* A failed charge ends the table, a failed allocation makes the daemon come again. */
		EXPECT_TRUE(variant->step <= 2 || variant->for_all || is >= self->nr - 1);
		EXPECT_TRUE(!variant->per_page || is == self->nr ||
			    !is_folio(self->mem + (page * page_size & -(page_size << ORDER)), ORDER));
		check(_metadata, self);
		inject_disarm();
		/* Then nothing fails, and all is well. */
		ASSERT_EQ(0, khugepaged_wake(LONG_MS));
		EXPECT_EQ(self->nr, count_folios(self->mem, pmd_size, ORDER));
		check(_metadata, self);
		ASSERT_EQ(0, madvise(self->mem, pmd_size, MADV_DONTNEED));
		fill_small(self->mem, pmd_size, 1);
	}
}

TEST_F_TIMEOUT(inject, repeated_failures_leak_nothing, 600)
{
	long before = free_kb();
	int i;

	inject_arm(variant->step, 0, -1);
	for (i = 0; i < 40; i++)
		ASSERT_EQ(0, khugepaged_wake(LONG_MS));
	EXPECT_EQ(0, count_folios(self->mem, pmd_size, ORDER));
	check(_metadata, self);
	inject_disarm();
	/* 40 times 2 MiB would be 80. */
	EXPECT_LT(before - free_kb(), 20l << 10) TH_LOG("memory leaked");
	ASSERT_EQ(0, khugepaged_wake(LONG_MS));
	EXPECT_EQ(self->nr, count_folios(self->mem, pmd_size, ORDER));
	check(_metadata, self);
}

int main(int argc, char **argv)
{
	collapse_init();
	if (!inject_there())
		return KSFT_SKIP;
	return test_harness_run(argc, argv);
}
