// SPDX-License-Identifier: GPL-2.0
/*
 * How khugepaged waits for huge pages when there are none. Needs
 * fail_page_alloc: memory that is merely used up comes back by and by.
 */
#include "harness.h"

FIXTURE(backoff) {
	char *mem;
};

FIXTURE_SETUP(backoff)
{
	knobs_baseline();
	khugepaged_register(LONG_MS);
	self->mem = region_map(1);
	fill_small(self->mem, pmd_size, 1);
}

FIXTURE_TEARDOWN(backoff)
{
	huge_feed();
}

#define MEM (self->mem)

TEST_F(backoff, allocation_failure_backs_off)
{
	long failed, collapsed = pages_collapsed();

	if (!knob_there("/sys/kernel/debug/fail_page_alloc"))
		SKIP(return, "the kernel has no fail_page_alloc");
	ASSERT_EQ(0, huge_starve());
	/* A write ends any sleep, so all are done before there is work. */
	knob_set("khugepaged/alloc_sleep_millisecs", "86400000");
	knob_set("khugepaged/scan_sleep_millisecs", "10");
	sleep_ms(200);
	failed = vmstat("thp_collapse_alloc_failed");
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	sleep_ms(3000);
	EXPECT_EQ(failed + 1, vmstat("thp_collapse_alloc_failed"))
		TH_LOG("after one failure it must sleep for alloc_sleep_millisecs");
	/*
	 * Woken, it ends its pass, where it may fail a second time, and sleeps
	 * again after the first failure of the next one.
	 */
	knob_set("khugepaged/alloc_sleep_millisecs", "86400000");
	sleep_ms(3000);
	EXPECT_LE(failed + 2, vmstat("thp_collapse_alloc_failed"));
	EXPECT_GE(failed + 3, vmstat("thp_collapse_alloc_failed"));
	/* A short time makes it try again and again. */
	knob_set("khugepaged/alloc_sleep_millisecs", "10");
	sleep_ms(3000);
	EXPECT_LT(failed + 10, vmstat("thp_collapse_alloc_failed"));
	EXPECT_EQ(collapsed, pages_collapsed());
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	huge_feed();
	EXPECT_EQ(0, khugepaged_wait_huge(MEM, pmd_size, 1, LONG_MS));
	khugepaged_idle();
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

COLLAPSE_HARNESS_MAIN
