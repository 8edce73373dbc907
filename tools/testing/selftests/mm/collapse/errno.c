// SPDX-License-Identifier: GPL-2.0
/* MADV_COLLAPSE: which errno for which reason, and which part of the range. */
#include <sys/prctl.h>

#include "harness.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef PR_THP_DISABLE_EXCEPT_ADVISED
#define PR_THP_DISABLE_EXCEPT_ADVISED (1 << 1)
#endif

FIXTURE(madv) {
	char *mem;		/* four PMDs of small pages */
};

FIXTURE_SETUP(madv)
{
	knobs_baseline();
	self->mem = region_map(4);
	fill_small(self->mem, 4 * pmd_size, 1);
	ASSERT_EQ(0, count_huge(0, self->mem, 4 * pmd_size));
}

FIXTURE_TEARDOWN(madv)
{
}

#define PMD(n) (self->mem + (n) * pmd_size)
#define HUGE(n) count_huge(0, PMD(n), pmd_size)

TEST_F(madv, success)
{
	struct balance b;

	balance_read(&b);
	EXPECT_EQ(0, collapse(self->mem, 4 * pmd_size));
	EXPECT_EQ(4, count_huge(0, self->mem, 4 * pmd_size));
	EXPECT_EQ(4 * pmd_pages, count_thp_pages(0, self->mem, 4 * pmd_size));
	EXPECT_EQ(4 * pmd_size / 1024, smaps_kb(0, self->mem, 4 * pmd_size, "AnonHugePages"));
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
	EXPECT_EQ(0, balance_check(&b, 4));
}

TEST_F(madv, already_huge_is_success)
{
	struct page_info before, after;
	long alloc;

	ASSERT_EQ(0, collapse_settled(PMD(0), pmd_size));
	page_info(0, PMD(0), &before);
	alloc = vmstat("thp_collapse_alloc");
	EXPECT_EQ(0, collapse(PMD(0), pmd_size));
	EXPECT_EQ(alloc, vmstat("thp_collapse_alloc"));
	page_info(0, PMD(0), &after);
	EXPECT_EQ(before.pfn, after.pfn);
}

TEST_F(madv, nohugepage_is_einval)
{
	ASSERT_EQ(0, madvise(PMD(1), pmd_size, MADV_NOHUGEPAGE));
	EXPECT_EQ(-EINVAL, collapse(PMD(1), pmd_size));
	EXPECT_EQ(-EINVAL, collapse(PMD(1), page_size));
	EXPECT_EQ(0, count_huge(0, self->mem, 4 * pmd_size));
	ASSERT_EQ(0, madvise(PMD(1), pmd_size, MADV_HUGEPAGE));
	EXPECT_EQ(0, collapse_settled(PMD(1), pmd_size));
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

TEST_F(madv, unsuitable_mappings_are_einval)
{
	char *huge_gap = region_map(1), *untouched = region_map(2), *small;

	/* No page was ever touched: there is nothing to collapse. */
	EXPECT_EQ(-EINVAL, collapse(untouched, pmd_size));
	/* A table that is not there yet. */
	*untouched = 1;
	EXPECT_EQ(-EINVAL, collapse(untouched + pmd_size, pmd_size));
	/* Large enough, yet no aligned PMD inside. */
	small = mmap(huge_gap - pmd_size / 2, pmd_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_NE(MAP_FAILED, small);
	ASSERT_EQ(0, mprotect(huge_gap + pmd_size / 2, pmd_size / 2, PROT_READ));
	*small = 1;
	EXPECT_EQ(-EINVAL, collapse(small, pmd_size));
	EXPECT_EQ(-EINVAL, collapse(small, page_size));
}

/* Of files other programs show what succeeds; with pages of 64 KiB nothing does. */
TEST_F(madv, files_without_folios_of_that_size_are_einval)
{
	struct filemap f;

	if (!file_kind_missing(MEMFD))
		SKIP(return, "the page cache has folios of the size of a PMD here");
	file_create(&f, MEMFD, 1);
	file_write(&f, 0, pmd_size, 1);
	file_settle(&f);
	EXPECT_EQ(-EINVAL, collapse(f.mem, f.len));
	EXPECT_EQ(0, count_huge(0, f.mem, f.len));
	EXPECT_EQ(0, file_verify_all(&f, f.mem, 1));
	file_close(&f);
}

TEST_F(madv, arguments)
{
	EXPECT_EQ(-EINVAL, collapse(PMD(0) + 1, pmd_size));
	EXPECT_EQ(-EINVAL, collapse(PMD(0), -page_size));
	EXPECT_EQ(0, collapse(PMD(0), 0));
	/* A length is rounded up to whole pages. */
	EXPECT_EQ(0, collapse_settled(PMD(0), pmd_size - 1));
	EXPECT_EQ(1, HUGE(0));
	EXPECT_EQ(0, HUGE(1));
}

TEST_F(madv, no_full_pmd_is_success_without_effect)
{
	long alloc = vmstat("thp_collapse_alloc");

	EXPECT_EQ(0, collapse(PMD(0), page_size));
	EXPECT_EQ(0, collapse(PMD(0), pmd_size - page_size));
	EXPECT_EQ(0, collapse(PMD(0) + page_size, pmd_size - page_size));
	EXPECT_EQ(0, collapse(PMD(0) + page_size, 2 * pmd_size - 2 * page_size));
	EXPECT_EQ(0, count_huge(0, self->mem, 4 * pmd_size));
	EXPECT_EQ(alloc, vmstat("thp_collapse_alloc"));
}

TEST_F(madv, range_is_clamped_to_whole_pmds)
{
	EXPECT_EQ(0, collapse_settled(PMD(0) + page_size, 2 * pmd_size));
	EXPECT_EQ(0, HUGE(0));
	EXPECT_EQ(1, HUGE(1));
	EXPECT_EQ(0, HUGE(2));
	/* Of two neighbours only the first was asked for. */
	EXPECT_EQ(0, collapse_settled(PMD(2), pmd_size));
	EXPECT_EQ(1, HUGE(2));
	EXPECT_EQ(0, HUGE(3));
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

TEST_F(madv, hole_in_the_range_is_enomem)
{
	ASSERT_EQ(0, munmap(PMD(1), pmd_size));
	EXPECT_EQ(-ENOMEM, collapse(PMD(1), pmd_size));
	/* The mapped parts on both sides are done all the same. */
	EXPECT_EQ(-ENOMEM, collapse(PMD(0), 3 * pmd_size));
	EXPECT_EQ(1, HUGE(0));
	EXPECT_EQ(1, HUGE(2));
	EXPECT_EQ(0, HUGE(3));
	EXPECT_EQ(0, verify(PMD(0), pmd_size, 1));
	EXPECT_EQ(0, verify(PMD(2), 2 * pmd_size, 1));
}

TEST_F(madv, pin_is_eagain_until_released)
{
	size_t at[] = { 0, pmd_pages / 2, pmd_pages - 1 };
	struct pin pin;
	size_t i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pin_vmsplice(&pin, PMD(i) + at[i] * page_size));
		EXPECT_EQ(-EAGAIN, collapse(PMD(i), pmd_size));
		EXPECT_EQ(0, HUGE(i));
		pin_release(&pin);
		EXPECT_EQ(0, collapse_settled(PMD(i), pmd_size));
		EXPECT_EQ(1, HUGE(i));
	}
	ASSERT_EQ(0, pin_uring(&pin, PMD(3), page_size))
		TH_LOG("io_uring is not there: build with IO_URING");
	EXPECT_EQ(-EAGAIN, collapse(PMD(3), pmd_size));
	EXPECT_EQ(0, HUGE(3));
	pin_release(&pin);
	EXPECT_EQ(0, collapse_settled(PMD(3), pmd_size));
	EXPECT_EQ(1, HUGE(3));
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

TEST_F(madv, goes_on_after_a_pin)
{
	struct pin pin;

	ASSERT_EQ(0, pin_vmsplice(&pin, PMD(1)));
	EXPECT_EQ(-EAGAIN, collapse(PMD(0), 4 * pmd_size));
	EXPECT_EQ(1, HUGE(0));
	EXPECT_EQ(0, HUGE(1));
	EXPECT_EQ(1, HUGE(2));
	EXPECT_EQ(1, HUGE(3));
	pin_release(&pin);
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

/* A table that was never there is EINVAL, and the loop goes on. */
TEST_F(madv, last_failure_decides)
{
	char *mem = region_map(4);
	struct pin pin;

	fill_small(mem, pmd_size, 1);
	fill_small(mem + 2 * pmd_size, pmd_size, 1);
	ASSERT_EQ(0, pin_vmsplice(&pin, mem));
	EXPECT_EQ(-EINVAL, collapse(mem, 2 * pmd_size));
	EXPECT_EQ(-EINVAL, collapse(mem, 4 * pmd_size));
	EXPECT_EQ(1, count_huge(0, mem, 4 * pmd_size));
	pin_release(&pin);
	/* One page gives PMD 1 a table; PMD 0 is fine now. */
	fill_small(mem + pmd_size, page_size, 1);
	ASSERT_EQ(0, pin_vmsplice(&pin, mem + pmd_size));
	EXPECT_EQ(-EAGAIN, collapse(mem, 3 * pmd_size));
	EXPECT_EQ(2, count_huge(0, mem, 3 * pmd_size));
	pin_release(&pin);
}

TEST_F(madv, stops_at_other_failures)
{
	/* A guard page makes swap-in fail, which ends the loop. */
	ASSERT_EQ(0, madvise(PMD(1), page_size, MADV_GUARD_INSTALL));
	EXPECT_EQ(-EINVAL, collapse(PMD(0), 4 * pmd_size));
	EXPECT_EQ(1, HUGE(0));
	EXPECT_EQ(0, HUGE(1));
	EXPECT_EQ(0, HUGE(2));
	EXPECT_EQ(0, HUGE(3));
	ASSERT_EQ(0, madvise(PMD(1), page_size, MADV_GUARD_REMOVE));
	EXPECT_EQ(0, collapse_settled(PMD(0), 4 * pmd_size));
	EXPECT_EQ(0, verify_zero(PMD(1), page_size));
	EXPECT_EQ(0, verify(PMD(1) + page_size, pmd_size - page_size, 1));
}

TEST_F(madv, several_vmas)
{
	ASSERT_EQ(0, mprotect(PMD(1), pmd_size, PROT_READ));
	ASSERT_EQ(0, madvise(PMD(2), pmd_size, MADV_NOHUGEPAGE));
	/* The walk over VMAs ends at the first that fails. */
	EXPECT_EQ(-EINVAL, collapse(PMD(0), 4 * pmd_size));
	EXPECT_EQ(1, HUGE(0));
	EXPECT_EQ(1, HUGE(1));
	EXPECT_EQ(0, HUGE(2));
	EXPECT_EQ(0, HUGE(3));
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

TEST_F(madv, holes_and_zero_pages_are_filled)
{
	size_t i;

	ASSERT_EQ(0, madvise(PMD(0) + page_size, page_size, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(PMD(1), pmd_size - page_size, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(PMD(2), pmd_size, MADV_DONTNEED));
	/* Read faults bring the shared zero page. */
	for (i = 0; i < pmd_pages / 2; i++)
		ASSERT_EQ(0, *(volatile char *)(PMD(2) + i * page_size));
	EXPECT_EQ(0, collapse_settled(PMD(0), 3 * pmd_size));
	EXPECT_EQ(3, count_huge(0, self->mem, 3 * pmd_size));
	EXPECT_EQ(0, verify(PMD(0), page_size, 1));
	EXPECT_EQ(0, verify_zero(PMD(0) + page_size, page_size));
	EXPECT_EQ(0, verify(PMD(0) + 2 * page_size, pmd_size - 2 * page_size, 1));
	EXPECT_EQ(0, verify_zero(PMD(1), pmd_size - page_size));
	EXPECT_EQ(0, verify(PMD(1) + pmd_size - page_size, page_size, 1));
	EXPECT_EQ(0, verify_zero(PMD(2), pmd_size));
}

TEST_F(madv, ignores_the_knobs_of_the_daemon)
{
	char path[64];
	pid_t child;
	int status;

	knob_set("enabled", "never");
	snprintf(path, sizeof(path), "%s/enabled", thp_size_dir());
	knob_set(path, "never");
	knob_set("defrag", "never");
	knob_set("khugepaged/defrag", "0");
	knob_set("khugepaged/max_ptes_none", "0");
	knob_set("khugepaged/max_ptes_swap", "0");
	knob_set("khugepaged/max_ptes_shared", "0");
	ASSERT_EQ(0, madvise(PMD(0), pmd_size / 2, MADV_DONTNEED));
	EXPECT_EQ(0, collapse_settled(PMD(0), pmd_size));
	EXPECT_EQ(1, HUGE(0));
	EXPECT_EQ(0, verify_zero(PMD(0), pmd_size / 2));
	EXPECT_EQ(0, verify(PMD(0) + pmd_size / 2, pmd_size / 2, 1));
	/* Shared after fork: the child keeps its own copy of the content. */
	child = fork();
	if (!child) {
		fill(PMD(2), pmd_size, 2);
		if (collapse_settled(PMD(1), pmd_size) || !HUGE(1))
			_exit(1);
		_exit(verify(PMD(1), pmd_size, 1) || verify(PMD(2), pmd_size, 2));
	}
	EXPECT_EQ(0, collapse_settled(PMD(1), 2 * pmd_size));
	EXPECT_EQ(2, count_huge(0, PMD(1), 2 * pmd_size));
	EXPECT_EQ(0, verify(PMD(1), 2 * pmd_size, 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(madv, prctl_thp_disable)
{
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	EXPECT_EQ(-EINVAL, collapse(PMD(0), pmd_size));
	ASSERT_EQ(0, madvise(PMD(1), pmd_size, MADV_HUGEPAGE));
	EXPECT_EQ(-EINVAL, collapse(PMD(1), pmd_size));
	/* Without the exception for advised memory that was; with it: */
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 1, PR_THP_DISABLE_EXCEPT_ADVISED, 0, 0));
	EXPECT_EQ(0, collapse_settled(PMD(0), pmd_size));
	EXPECT_EQ(0, collapse_settled(PMD(1), pmd_size));
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	EXPECT_EQ(0, collapse_settled(PMD(2), pmd_size));
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

TEST_F(madv, charge_limit_is_ebusy)
{
	struct memcg cg;
	pid_t child;
	int status;

	ASSERT_EQ(0, memcg_create(&cg, "collapse-errno"));
	child = fork();
	if (!child) {
		char *mem;
		long events;

		if (memcg_enter(&cg))
			_exit(10);
		mem = region_map(2);
		fill_small(mem, 2 * pmd_size, 5);
		memcg_set(&cg, "memory.swap.max", "0");
		if (memcg_set_num(&cg, "memory.max", memcg_num(&cg, "memory.current") + (1 << 20)))
			_exit(11);
		events = vmstat("thp_collapse_alloc");
		if (collapse(mem, 2 * pmd_size) != -EBUSY)
			_exit(12);
		/* The page was allocated, and it is the first that ends the loop. */
		if (vmstat("thp_collapse_alloc") != events + 1)
			_exit(13);
		if (count_huge(0, mem, 2 * pmd_size) || verify(mem, 2 * pmd_size, 5))
			_exit(14);
		memcg_set(&cg, "memory.max", "max");
		if (collapse_settled(mem, 2 * pmd_size) || verify(mem, 2 * pmd_size, 5))
			_exit(15);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	memcg_destroy(&cg);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

TEST_F(madv, allocation_failure_is_enomem)
{
	long failed, mfailed, alloc;

	ASSERT_EQ(0, huge_starve());
	failed = vmstat("thp_collapse_alloc_failed");
	mfailed = mthp_stat("collapse_alloc_failed");
	alloc = vmstat("thp_collapse_alloc");
	EXPECT_EQ(-ENOMEM, collapse(PMD(0), 2 * pmd_size));
	/* The loop ends at once. */
	EXPECT_EQ(failed + 1, vmstat("thp_collapse_alloc_failed"));
	EXPECT_EQ(mfailed + 1, mthp_stat("collapse_alloc_failed"));
	EXPECT_EQ(alloc, vmstat("thp_collapse_alloc"));
	EXPECT_EQ(0, count_huge(0, self->mem, 4 * pmd_size));
	huge_feed();
	EXPECT_EQ(0, collapse_settled(PMD(0), 2 * pmd_size));
	EXPECT_EQ(alloc + 2, vmstat("thp_collapse_alloc"));
	EXPECT_EQ(0, verify(self->mem, 4 * pmd_size, 1));
}

COLLAPSE_HARNESS_MAIN
