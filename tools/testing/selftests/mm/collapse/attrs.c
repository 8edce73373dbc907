// SPDX-License-Identifier: GPL-2.0
/*
 * What a page or a VMA is besides its content: each attribute either
 * survives a collapse or makes it refuse.
 */
#include <fcntl.h>
#include <sys/ptrace.h>

#include "harness.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#define KPF_SWAPBACKED	(1ull << 14)
#define KPF_MLOCKED	(1ull << 33)

FIXTURE(attrs) {
	char *mem;		/* two PMDs of small pages */
};

FIXTURE_SETUP(attrs)
{
	knobs_baseline();
	self->mem = region_map(2);
	fill_small(self->mem, 2 * pmd_size, 1);
}

FIXTURE_TEARDOWN(attrs)
{
}

#define MEM (self->mem)
#define PAGE(n) (self->mem + (n) * page_size)

TEST_F(attrs, private_mapping_of_dev_zero)
{
	int fd = open("/dev/zero", O_RDWR);
	char *mem = region_map(1);

	ASSERT_LE(0, fd);
	ASSERT_EQ(mem, mmap(mem, pmd_size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_FIXED, fd, 0));
	fill_small(mem, pmd_size, 3);
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS));
	EXPECT_EQ(0, verify(mem, pmd_size, 3));
	khugepaged_idle();
	ASSERT_EQ(0, split_range(mem));
	EXPECT_EQ(0, collapse_settled(mem, pmd_size));
	EXPECT_EQ(1, count_huge(0, mem, pmd_size));
	EXPECT_EQ(0, verify(mem, pmd_size, 3));
}

TEST_F(attrs, read_only)
{
	ASSERT_EQ(0, mprotect(MEM, pmd_size, PROT_READ));
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(-EFAULT, kernel_write(MEM, pattern_word(MEM, 1)));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	ASSERT_EQ(0, mprotect(MEM, pmd_size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, kernel_write(MEM, pattern_word(MEM, 1)));
	fill(MEM, pmd_size, 2);
	EXPECT_EQ(0, verify(MEM, pmd_size, 2));
}

TEST_F(attrs, no_access)
{
	ASSERT_EQ(0, mprotect(MEM, pmd_size, PROT_NONE));
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(-EFAULT, kernel_read(MEM));
	EXPECT_EQ(-EFAULT, kernel_write(MEM + pmd_size / 2, pattern_word(MEM + pmd_size / 2, 1)));
	ASSERT_EQ(0, mprotect(MEM, pmd_size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

TEST_F(attrs, mixed_permissions_refuse)
{
	ASSERT_EQ(0, mprotect(PAGE(7), page_size, PROT_READ));
	EXPECT_EQ(-EINVAL, collapse(PAGE(7), page_size));
	/* None of the three VMAs spans the PMD. */
	EXPECT_EQ(-EINVAL, collapse(MEM, pmd_size));
	EXPECT_EQ(0, count_huge(0, MEM, 2 * pmd_size));
	EXPECT_EQ(-EFAULT, kernel_write(PAGE(7), pattern_word(PAGE(7), 1)));
	EXPECT_EQ(0, verify(MEM, 2 * pmd_size, 1));
}

TEST_F(attrs, guard_pages_refuse_and_stay)
{
	struct page_info info;

	ASSERT_EQ(0, madvise(PAGE(9), page_size, MADV_GUARD_INSTALL));
	EXPECT_EQ(-EINVAL, collapse(MEM, pmd_size));
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	page_info(0, PAGE(9), &info);
	EXPECT_TRUE(info.flags & PAGE_GUARD);
	EXPECT_EQ(-EFAULT, kernel_read(PAGE(9)));
	EXPECT_EQ(-EFAULT, kernel_write(PAGE(9), pattern_word(PAGE(9), 1)));
	EXPECT_EQ(0, verify(MEM, 9 * page_size, 1));
	EXPECT_EQ(0, verify(PAGE(10), pmd_size - 10 * page_size, 1));
	/* The daemon counts it as a swap entry and must leave it as well. */
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(-EFAULT, kernel_read(PAGE(9)));
	ASSERT_EQ(0, madvise(PAGE(9), page_size, MADV_GUARD_REMOVE));
	EXPECT_EQ(0, khugepaged_wait_huge(MEM, pmd_size, 1, LONG_MS));
	EXPECT_EQ(0, verify_zero(PAGE(9), page_size));
}

TEST_F(attrs, soft_dirty_is_not_lost)
{
	if (!count_pages(0, MEM, pmd_size, PAGE_SOFT_DIRTY))
		SKIP(return, "no soft-dirty tracking: build with MEM_SOFT_DIRTY, if the architecture has it");
	ASSERT_EQ(0, knob_try("/proc/self/clear_refs", "4"));
	ASSERT_EQ(0, count_pages(0, MEM, pmd_size, PAGE_SOFT_DIRTY));
	stamp(PAGE(5), 2);
	ASSERT_EQ(1, count_pages(0, MEM, pmd_size, PAGE_SOFT_DIRTY));
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(1, count_pages(0, PAGE(5), page_size, PAGE_SOFT_DIRTY));
	/* Still tracked afterwards. */
	ASSERT_EQ(0, knob_try("/proc/self/clear_refs", "4"));
	EXPECT_EQ(0, count_pages(0, MEM, pmd_size, PAGE_SOFT_DIRTY));
	stamp(PAGE(6), 2);
	EXPECT_EQ(1, count_pages(0, PAGE(6), page_size, PAGE_SOFT_DIRTY));
}

TEST_F(attrs, mlocked_stays_mlocked)
{
	long before = vmstat("nr_mlock");
	struct page_info info;
	int i;

	ASSERT_EQ(0, mlock(MEM, pmd_size));
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_TRUE(smaps_flag(MEM, "lo"));
	/* A collapse empties the LRU batches, this one's included. */
	collapse(MEM + pmd_size, pmd_size);
	page_info(0, MEM, &info);
	EXPECT_TRUE(page_kpf(info.pfn) & KPF_MLOCKED);
	knob_try("/proc/sys/vm/stat_refresh", "1");
	EXPECT_EQ(before + (long)pmd_pages, vmstat("nr_mlock"));
	/* Reclaim by hint is refused, and nothing is lost. */
	EXPECT_EQ(-1, madvise(MEM, pmd_size, MADV_PAGEOUT));
	ASSERT_EQ(0, munlock(MEM, pmd_size));
	for (i = 0; i < 100 && vmstat("nr_mlock") != before; i++) {
		collapse(MEM + pmd_size, pmd_size);
		knob_try("/proc/sys/vm/stat_refresh", "1");
		sleep_ms(20);
	}
	EXPECT_EQ(before, vmstat("nr_mlock"));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

/* ---- lazily freed and droppable memory ---- */

TEST_F(attrs, lazyfree_stops_the_daemon)
{
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(PAGE(3), page_size, MADV_FREE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	/* It can still be taken without being written anywhere. */
	knob_set("khugepaged/max_ptes_none", "0");
	ASSERT_EQ(0, page_out_gone(PAGE(3), page_size));
	EXPECT_EQ(0, count_pages(0, PAGE(3), page_size, PAGE_SWAPPED));
	EXPECT_EQ(0, verify_zero(PAGE(3), page_size));
	EXPECT_EQ(0, verify(MEM, 3 * page_size, 1));
	EXPECT_EQ(0, verify(PAGE(4), pmd_size - 4 * page_size, 1));
	/* Written again, it is ordinary memory. */
	fill_small(PAGE(3), page_size, 2);
	EXPECT_EQ(0, khugepaged_wait_huge(MEM, pmd_size, 1, LONG_MS));
	EXPECT_EQ(0, verify(PAGE(3), page_size, 2));
}

TEST_F(attrs, lazyfree_does_not_stop_the_call)
{
	ASSERT_EQ(0, madvise(PAGE(3), page_size, MADV_FREE));
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

TEST_F(attrs, droppable_stays_droppable)
{
	char *mem = region_map(1);
	struct page_info info;

	ASSERT_EQ(mem, mmap(mem, pmd_size, PROT_READ | PROT_WRITE,
			    MAP_DROPPABLE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fill_small(mem, pmd_size, 4);
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS));
	khugepaged_idle();
	EXPECT_EQ(0, verify(mem, pmd_size, 4));
	page_info(0, mem, &info);
	EXPECT_FALSE(page_kpf(info.pfn) & KPF_SWAPBACKED);
}

/* ---- sharing ---- */

/* Anonymous-exclusive marks: writes on either side of fork stay apart. */
TEST_F(attrs, fork_after_collapse_and_split)
{
	int status;
	pid_t child;

	ASSERT_EQ(0, collapse_settled(MEM, 2 * pmd_size));
	/* One PMD goes through fork as a huge page, one split to PTEs. */
	ASSERT_EQ(0, mprotect(MEM + pmd_size, page_size, PROT_READ));
	ASSERT_EQ(0, mprotect(MEM + pmd_size, page_size, PROT_READ | PROT_WRITE));
	child = fork();
	if (!child) {
		fill(PAGE(0), pmd_size / 2, 7);
		fill(MEM + pmd_size, pmd_size / 2, 7);
		if (collapse_settled(MEM, 2 * pmd_size))
			_exit(2);
		_exit(verify(MEM, pmd_size / 2, 7) ||
		      verify(MEM + pmd_size / 2, pmd_size / 2, 1) ||
		      verify(MEM + pmd_size, pmd_size / 2, 7) ||
		      verify(MEM + pmd_size / 2 * 3, pmd_size / 2, 1));
	}
	fill(MEM + pmd_size / 2, pmd_size / 2, 8);
	EXPECT_EQ(0, collapse_settled(MEM, 2 * pmd_size));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, verify(MEM, pmd_size / 2, 1));
	EXPECT_EQ(0, verify(MEM + pmd_size / 2, pmd_size / 2, 8));
	EXPECT_EQ(0, verify(MEM + pmd_size, pmd_size, 1));
}

/* A debugger's write to read-only shared memory must break sharing first. */
TEST_F(attrs, forced_write_after_collapse)
{
	uint64_t word = pattern_word(PAGE(4), 9);
	int status;
	pid_t child;

	ASSERT_EQ(0, mprotect(MEM, pmd_size, PROT_READ));
	ASSERT_EQ(0, collapse_settled(MEM, pmd_size));
	child = fork();
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(*(volatile uint64_t *)PAGE(4) != word ||
		      verify(PAGE(5), pmd_size - 5 * page_size, 1));
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, child, PAGE(4), word));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, child, 0, 0));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

static long ksm_zero_pages(void)
{
	char key[64];
	long val, found = -1;
	FILE *f = fopen("/proc/self/ksm_stat", "r");

	while (f && fscanf(f, "%63s %ld", key, &val) == 2)
		if (strcmp(key, "ksm_zero_pages") == 0)
			found = val;
	if (f)
		fclose(f);
	return found;
}

/* Forgets what earlier processes had merged. */
static void ksm_reset(void)
{
	knob_set("/sys/kernel/mm/ksm/run", "2");
	if (knob_num("/sys/kernel/mm/ksm/pages_sharing"))
		die("KSM does not unmerge");
}

static void ksm_merge(char *mem, size_t len)
{
	knob_set("/sys/kernel/mm/ksm/sleep_millisecs", "0");
	knob_set("/sys/kernel/mm/ksm/pages_to_scan", "4096");
	if (madvise(mem, len, MADV_MERGEABLE))
		die("MADV_MERGEABLE: %s", strerror(errno));
	knob_set("/sys/kernel/mm/ksm/run", "1");
}

TEST_F(attrs, ksm_zero_pages_are_accounted)
{
	long want = pmd_pages;
	int i;

	if (ksm_zero_pages() < 0)
		SKIP(return, "no ksm_zero_pages: build with KSM");
	memset(MEM, 0, pmd_size);
	knob_set("/sys/kernel/mm/ksm/use_zero_pages", "1");
	ksm_merge(MEM, pmd_size);
	for (i = 0; i < 500 && ksm_zero_pages() < want; i++)
		sleep_ms(20);
	knob_set("/sys/kernel/mm/ksm/run", "0");
	ASSERT_EQ(want, ksm_zero_pages());
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(0, ksm_zero_pages());
	EXPECT_EQ(0, verify_zero(MEM, pmd_size));
}

static void ksm_wait(long pages)
{
	int i;

	for (i = 0; i < 500; i++) {
		if (knob_num("/sys/kernel/mm/ksm/pages_sharing") >= pages)
			break;
		sleep_ms(20);
	}
	knob_set("/sys/kernel/mm/ksm/run", "0");
}

/* Each page has one twin, in the other PMD. */
TEST_F(attrs, ksm_pages_are_replaced)
{
	ksm_reset();
	memcpy(MEM + pmd_size, MEM, pmd_size);
	ksm_merge(MEM, 2 * pmd_size);
	ksm_wait(pmd_pages);
	ASSERT_LE(pmd_pages, knob_num("/sys/kernel/mm/ksm/pages_sharing"));
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(0, collapse_settled(MEM + pmd_size, pmd_size));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	EXPECT_EQ(0, verify_home(MEM + pmd_size, MEM, pmd_size, 1));
	fill(MEM, pmd_size, 2);
	EXPECT_EQ(0, verify_home(MEM + pmd_size, MEM, pmd_size, 1));
}

/* A page that is mapped twice in one PMD cannot be locked twice. */
TEST_F(attrs, ksm_twins_in_one_pmd_refuse)
{
	ksm_reset();
	memcpy(PAGE(9), PAGE(300), page_size);
	ksm_merge(MEM, pmd_size);
	ksm_wait(1);
	ASSERT_EQ(1, knob_num("/sys/kernel/mm/ksm/pages_sharing"));
	EXPECT_EQ(-EAGAIN, collapse(MEM, pmd_size));
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(0, verify(PAGE(10), pmd_size - 10 * page_size, 1));
	stamp(PAGE(9), 2);
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(0, stamp_check(PAGE(9), 2));
	EXPECT_EQ(0, verify(PAGE(300), page_size, 1));
}

COLLAPSE_HARNESS_MAIN
