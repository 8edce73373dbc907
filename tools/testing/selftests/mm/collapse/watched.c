// SPDX-License-Identifier: GPL-2.0
/* Memory that userfaultfd watches: no event is lost, none is made up. */
#include <sys/ioctl.h>
#include <linux/userfaultfd.h>

#include "harness.h"

FIXTURE(watched) {
	char *mem;		/* two PMDs of small pages */
};

FIXTURE_SETUP(watched)
{
	knobs_baseline();
	self->mem = region_map(2);
	fill_small(self->mem, 2 * pmd_size, 1);
}

FIXTURE_TEARDOWN(watched)
{
}

#define MEM (self->mem)
#define PAGE(n) (self->mem + (n) * page_size)

TEST_F(watched, write_protection_refuses_and_stays)
{
	struct uffd_watch w;

	ASSERT_EQ(0, uffd_watch_start(&w, 0));
	ASSERT_EQ(0, uffd_register_range(w.fd, MEM, pmd_size, UFFDIO_REGISTER_MODE_WP));
	ASSERT_EQ(0, uffd_wp(w.fd, PAGE(11), page_size, true));
	EXPECT_EQ(-EINVAL, collapse(MEM, pmd_size));
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(1, count_pages(0, MEM, pmd_size, PAGE_UFFD_WP));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	EXPECT_EQ(0, w.wp);
	stamp(PAGE(11), 2);
	EXPECT_EQ(1, w.wp);
	EXPECT_EQ((uintptr_t)PAGE(11), w.last);
	/* The protection is gone, so now it works. */
	EXPECT_EQ(0, khugepaged_wait_huge(MEM, pmd_size, 1, LONG_MS));
	khugepaged_idle();
	EXPECT_EQ(0, stamp_check(PAGE(11), 2));
	/* And protection of a part of the huge page is seen as before. */
	ASSERT_EQ(0, uffd_wp(w.fd, PAGE(12), page_size, true));
	stamp(PAGE(13), 3);
	EXPECT_EQ(1, w.wp);
	stamp(PAGE(12), 3);
	EXPECT_EQ(2, w.wp);
	uffd_watch_stop(&w);
}

TEST_F(watched, write_protected_swap_entry_refuses)
{
	struct uffd_watch w;

	ASSERT_EQ(0, swap_setup(64)) TH_LOG("no swap: boot with zram");
	ASSERT_EQ(0, uffd_watch_start(&w, 0));
	ASSERT_EQ(0, uffd_register_range(w.fd, MEM, pmd_size, UFFDIO_REGISTER_MODE_WP));
	ASSERT_EQ(0, uffd_wp(w.fd, PAGE(11), page_size, true));
	ASSERT_EQ(0, page_out(PAGE(11), page_size));
	EXPECT_EQ(-EINVAL, collapse(MEM, pmd_size));
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	khugepaged_idle();
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(1, count_pages(0, PAGE(11), page_size, PAGE_UFFD_WP));
	EXPECT_EQ(0, w.wp);
	stamp(PAGE(11), 2);
	EXPECT_EQ(1, w.wp);
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(0, stamp_check(PAGE(11), 2));
	uffd_watch_stop(&w);
	swap_teardown();
}

TEST_F(watched, missing_holes_refuse)
{
	struct uffd_watch w;

	ASSERT_EQ(0, uffd_watch_start(&w, 0));
	memset(w.page, 0x5a, page_size);
	ASSERT_EQ(0, uffd_register_range(w.fd, MEM, 2 * pmd_size, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_EQ(0, madvise(PAGE(20), page_size, MADV_DONTNEED));
	EXPECT_EQ(-EBUSY, collapse(MEM, pmd_size));
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	khugepaged_idle();
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(0, w.missing);
	EXPECT_EQ(0x5a, *(volatile char *)PAGE(20));
	EXPECT_EQ(1, w.missing);
	EXPECT_EQ((uintptr_t)PAGE(20), w.last);
	/* Complete memory may collapse; a hole made later still tells. */
	EXPECT_EQ(0, collapse_settled(MEM, 2 * pmd_size));
	EXPECT_EQ(2, count_huge(0, MEM, 2 * pmd_size));
	ASSERT_EQ(0, madvise(PAGE(21), page_size, MADV_DONTNEED));
	EXPECT_EQ(-EBUSY, collapse(MEM, pmd_size));
	EXPECT_EQ(0x5a, *(volatile char *)PAGE(21));
	EXPECT_EQ(2, w.missing);
	EXPECT_EQ(0, verify(MEM + pmd_size, pmd_size, 1));
	uffd_watch_stop(&w);
}

TEST_F(watched, move_of_a_fresh_huge_page)
{
	char *to = region_map(1);
	int fd = uffd_open(UFFD_FEATURE_MOVE);
	struct uffdio_move mv = {
		.dst = (uintptr_t)to, .src = (uintptr_t)MEM, .len = pmd_size,
	};

	if (fd == -EINVAL)
		SKIP(return, "no UFFDIO_MOVE in this kernel");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, uffd_register_range(fd, to, pmd_size, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_EQ(0, collapse_settled(MEM, pmd_size));
	ASSERT_EQ(0, ioctl(fd, UFFDIO_MOVE, &mv));
	EXPECT_EQ(pmd_size, mv.move);
	EXPECT_EQ(0, verify_home(to, MEM, pmd_size, 1));
	close(fd);
	EXPECT_EQ(0, collapse_settled(to, pmd_size));
	EXPECT_EQ(0, verify_home(to, MEM, pmd_size, 1));
}


static int rwp(int fd, void *start, size_t len, bool protect)
{
	struct uffdio_rwprotect arg = {
		.range = { (uintptr_t)start, len },
		.mode = protect ? UFFDIO_RWPROTECT_MODE_RWP : 0,
	};

	return ioctl(fd, UFFDIO_RWPROTECT, &arg) ? -errno : 0;
}

/* Protection against reading as well: present pages and swap entries. */
TEST_F(watched, read_write_protection_refuses_and_stays)
{
	int fd = uffd_open(UFFD_FEATURE_RWP);

	if (fd == -EINVAL)
		SKIP(return, "no UFFD_FEATURE_RWP: build with USERFAULTFD_RWP");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, swap_setup(64)) TH_LOG("no swap: boot with zram");
	ASSERT_EQ(0, uffd_register_range(fd, MEM, 2 * pmd_size, UFFDIO_REGISTER_MODE_RWP));
	ASSERT_EQ(0, rwp(fd, PAGE(11), page_size, true));
	ASSERT_EQ(0, rwp(fd, PAGE(pmd_pages + 3), page_size, true));
	ASSERT_EQ(0, page_out(PAGE(pmd_pages + 3), page_size));
	EXPECT_EQ(-EINVAL, collapse(MEM, 2 * pmd_size));
	ASSERT_EQ(0, madvise(MEM, 2 * pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	khugepaged_idle();
	EXPECT_EQ(0, count_huge(0, MEM, 2 * pmd_size));
	ASSERT_EQ(0, rwp(fd, MEM, 2 * pmd_size, false));
	EXPECT_EQ(0, collapse_settled(MEM, 2 * pmd_size));
	EXPECT_EQ(0, verify(MEM, 2 * pmd_size, 1));
	close(fd);
	swap_teardown();
}

COLLAPSE_HARNESS_MAIN
