// SPDX-License-Identifier: GPL-2.0
/*
 * Failure injected at each step of a collapse, at different pages. Needs the
 * attribute directory fail_collapse in debugfs: KHUGEPAGED_RUST_FAULT_INJECTION.
 */
#include "harness.h"

#define SLACK	(256 * page_size)
#define SWAPPED	8

FIXTURE(inject) {
	char *mem;
	struct balance before;
	struct memcg cg;
	long charge;
};

FIXTURE_VARIANT(inject) {
	unsigned int step;
	int err, other_err;	/* errno of MADV_COLLAPSE, either is right */
	bool per_page;		/* the step is taken once for each page */
	bool allocates;
};

#define STEP(name_, ...) \
FIXTURE_VARIANT_ADD(inject, name_) { __VA_ARGS__ }

STEP(allocate,		.step = 1, .err = -ENOMEM);
STEP(charge,		.step = 2, .err = -EBUSY, .allocates = true);
STEP(swap_in,		.step = 3, .err = -EINVAL, .other_err = -EAGAIN, .allocates = true);
STEP(isolate_lock,	.step = 4, .err = -EAGAIN, .per_page = true, .allocates = true);
STEP(isolate_pin,	.step = 5, .err = -EAGAIN, .per_page = true, .allocates = true);
STEP(isolate_lru,	.step = 6, .err = -EAGAIN, .per_page = true, .allocates = true);
STEP(copy,		.step = 7, .err = -EINVAL, .per_page = true, .allocates = true);
STEP(revalidate,	.step = 8, .err = -EINVAL, .allocates = true);

FIXTURE_SETUP(inject)
{
	knobs_baseline();
	inject_disarm();
	ASSERT_EQ(0, memcg_create(&self->cg, "collapse-inject"));
	ASSERT_EQ(0, memcg_enter(&self->cg));
	khugepaged_register(LONG_MS);
	self->mem = region_map(1);
	fill_small(self->mem, pmd_size, 1);
	if (variant->step == 3) {
		ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
		ASSERT_EQ(0, page_out(self->mem, SWAPPED * page_size));
	}
	balance_read(&self->before);
	self->charge = memcg_num(&self->cg, "memory.current");
}

FIXTURE_TEARDOWN(inject)
{
	inject_disarm();
	region_unmap(self->mem, 1);
	memcg_leave();
	memcg_destroy(&self->cg);
}

static void expect_untouched(struct __test_metadata *_metadata,
			     FIXTURE_DATA(inject) *self)
{
	EXPECT_EQ(0, count_huge(0, self->mem, pmd_size));
	EXPECT_EQ(0, count_thp_pages(0, self->mem, pmd_size));
	EXPECT_EQ(0, smaps_kb(0, self->mem, pmd_size, "AnonHugePages"));
	EXPECT_EQ(0, balance_check(&self->before, 0));
	EXPECT_GT(self->charge + SLACK, memcg_num(&self->cg, "memory.current"));
}

static void expect_success(struct __test_metadata *_metadata,
			   FIXTURE_DATA(inject) *self)
{
	EXPECT_EQ(0, collapse_settled(self->mem, pmd_size));
	EXPECT_EQ(1, count_huge(0, self->mem, pmd_size));
	EXPECT_EQ(0, balance_check(&self->before, 1));
	EXPECT_EQ(0, verify(self->mem, pmd_size, 1));
}

TEST_F(inject, the_call_fails_and_rolls_back)
{
	const size_t at[] = { 0, 1, 2, pmd_pages / 2, pmd_pages - 2, pmd_pages - 1 };
	size_t i, n = variant->per_page ? sizeof(at) / sizeof(at[0]) : 1;

	for (i = 0; i < n; i++) {
		long alloc = vmstat("thp_collapse_alloc"), got;

		inject_arm(variant->step, at[i], 1);
		got = collapse(self->mem, pmd_size);
		if (got != variant->other_err || !variant->other_err)
			EXPECT_EQ(variant->err, got)
				TH_LOG("step %u at page %zu", variant->step, at[i]);
		EXPECT_TRUE(inject_spent())
			TH_LOG("step %u was not reached", variant->step);
		EXPECT_EQ(alloc + variant->allocates, vmstat("thp_collapse_alloc"));
		expect_untouched(_metadata, self);
		EXPECT_EQ(0, verify(self->mem, pmd_size, 1));
		inject_disarm();
	}
	expect_success(_metadata, self);
}

TEST_F(inject, repeated_failures_leak_nothing)
{
	long before = free_kb(), got;
	int i;

	inject_arm(variant->step, 0, -1);
	for (i = 0; i < 60; i++) {
		got = collapse(self->mem, pmd_size);
		ASSERT_TRUE(got == variant->err || (got && got == variant->other_err))
			TH_LOG("attempt %d: %s", i, strerror(-got));
	}
	inject_disarm();
	EXPECT_LT(before - 30 * (long)pmd_size / 1024, free_kb());
	expect_untouched(_metadata, self);
	EXPECT_EQ(0, verify(self->mem, pmd_size, 1));
	expect_success(_metadata, self);
}

TEST_F(inject, the_daemon_fails_and_recovers)
{
	long collapsed = pages_collapsed();

	ASSERT_EQ(0, madvise(self->mem, pmd_size, MADV_HUGEPAGE));
	inject_arm(variant->step, variant->per_page ? pmd_pages / 3 : 0, -1);
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
	EXPECT_EQ(0, count_huge(0, self->mem, pmd_size));
	EXPECT_EQ(collapsed, pages_collapsed());
	khugepaged_idle();
	sleep_ms(100);
	expect_untouched(_metadata, self);
	EXPECT_EQ(0, verify(self->mem, pmd_size, 1));
	inject_disarm();
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(self->mem, pmd_size, 1, LONG_MS));
	EXPECT_EQ(0, verify(self->mem, pmd_size, 1));
}

/* Neighbours in one call: which step decides whether the rest is tried. */
TEST_F(inject, whole_range_and_its_errno)
{
	char *mem = region_map(3);
	bool goes_on = variant->step >= 4 && variant->step <= 6;
	long got;

	if (variant->step == 3)
		return;		/* nothing of this region is swapped out */
	fill_small(mem, 3 * pmd_size, 2);
	inject_arm(variant->step, 0, 1);
	got = collapse(mem, 3 * pmd_size);
	EXPECT_EQ(variant->err, got);
	EXPECT_EQ(0, count_huge(0, mem, pmd_size));
	EXPECT_EQ(goes_on ? 2 : 0, count_huge(0, mem + pmd_size, 2 * pmd_size));
	EXPECT_EQ(0, verify(mem, 3 * pmd_size, 2));
	region_unmap(mem, 3);
}

int main(int argc, char **argv)
{
	if (!inject_there())
		return KSFT_SKIP;
	return harness_run_swapping(argc, argv, 64);
}
