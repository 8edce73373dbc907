// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged makes folios below the size of a PMD, and does nothing in vain. The
 * C implementation fails most of this: it tries each region on each pass, and
 * gives up a whole table for one page.
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define ORDER 4

FIXTURE(waste) {
	char *mem;
	size_t nr, size;
	long alloc;
};

FIXTURE_SETUP(waste)
{
	if (!size_there(ORDER))
		SKIP(return, "no folios of order %u", ORDER);
	knobs_baseline();
	size_enable(pmd_order(), "never");
	size_enable(ORDER, "madvise");
	/* These wake the daemon; from here on it sleeps until it is told. */
	khugepaged_register(LONG_MS);
	self->nr = pmd_pages >> ORDER;
	self->size = page_size << ORDER;
	self->mem = region_map_used(1);
	ASSERT_EQ(0, madvise(self->mem, pmd_size, MADV_HUGEPAGE));
	fill_small(self->mem, pmd_size, 1);
	self->alloc = size_stat(ORDER, "collapse_alloc");
}

FIXTURE_TEARDOWN(waste)
{
	trace_stop();
}

#define MEM (self->mem)
#define PAGE(n) (self->mem + (n) * page_size)
#define ALLOCATED() (size_stat(ORDER, "collapse_alloc") - self->alloc)

/* Each folio is allocated once; later passes find nothing to do. */
TEST_F(waste, nothing_to_do_costs_nothing)
{
	char *text;

	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	ASSERT_EQ(self->nr, count_folios(MEM, pmd_size, ORDER));
	EXPECT_EQ((long)self->nr, ALLOCATED());
	ASSERT_EQ(0, trace_start("huge_memory"));
	ASSERT_EQ(0, khugepaged_run(3, LONG_MS));
	trace_stop();
	EXPECT_EQ((long)self->nr, ALLOCATED());
	text = trace_take();
	EXPECT_LT(0, trace_count(text, "mm_khugepaged_scan_pmd"));
	EXPECT_EQ(0, trace_count(text, "mm_collapse_huge_page"));
	free(text);
}

/* All regions of a table under one hold of the mmap lock. */
TEST_F(waste, one_write_lock_for_a_table)
{
	char *text, *line, *rest;
	int locked = 0;

	ASSERT_EQ(0, trace_start("mmap_lock/mmap_lock_start_locking"));
	khugepaged_fast();
	ASSERT_EQ(0, wait_folios(MEM, pmd_size, ORDER, self->nr, LONG_MS));
	khugepaged_idle();
	trace_stop();
	text = trace_take();
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		locked += strstr(line, "khugepaged-") && strstr(line, "write=true");
	EXPECT_EQ(1, locked);
	free(text);
}

/* Whatever is wrong with page 37, the other regions are collapsed, and it stays as it is. */
static void all_but_one(struct __test_metadata *_metadata, char *mem, size_t nr)
{
	struct page_info was, is;

	ASSERT_EQ(0, page_info(0, mem + 37 * page_size, &was));
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(nr - 1, count_folios(mem, pmd_size, ORDER));
	EXPECT_FALSE(is_folio(mem + 32 * page_size, ORDER));
	ASSERT_EQ(0, page_info(0, mem + 37 * page_size, &is));
	EXPECT_EQ(was.pfn, is.pfn);
	EXPECT_EQ(was.flags & ~PAGE_SOFT_DIRTY, is.flags & ~PAGE_SOFT_DIRTY);
}

TEST_F(waste, pinned_page)
{
	struct pin pin;

	ASSERT_EQ(0, pin_vmsplice(&pin, PAGE(37)));
	all_but_one(_metadata, MEM, self->nr);
	EXPECT_EQ((long)self->nr - 1, ALLOCATED());
	pin_release(&pin);
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	/* Now it is no more. */
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(self->nr, count_folios(MEM, pmd_size, ORDER));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

TEST_F(waste, write_protected_page)
{
	int fd = uffd_open(1 << 0);	/* UFFD_FEATURE_PAGEFAULT_FLAG_WP */

	if (fd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, uffd_register_range(fd, MEM, pmd_size, 2));	/* WP */
	ASSERT_EQ(0, uffd_wp(fd, PAGE(37), page_size, true));
	all_but_one(_metadata, MEM, self->nr);
	close(fd);
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

TEST_F(waste, freed_page)
{
	ASSERT_EQ(0, madvise(PAGE(37), page_size, MADV_FREE));
	all_but_one(_metadata, MEM, self->nr);
	EXPECT_EQ(0, verify(MEM, 37 * page_size, 1));
	EXPECT_EQ(0, verify(PAGE(38), pmd_size - 38 * page_size, 1));
}

/* More pages of other regions are shared than a huge page may have. */
TEST_F(waste, shared_half)
{
	pid_t child = share_with_child();

	fill(MEM, pmd_size / 4, 2);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(self->nr / 4, count_folios(MEM, pmd_size, ORDER));
	EXPECT_EQ(0, verify(MEM, pmd_size / 4, 2));
	EXPECT_EQ(0, verify(MEM + pmd_size / 4, pmd_size / 4 * 3, 1));
	child_end(child);
}

/* More pages of other regions are swapped out than a huge page may have. */
TEST_F(waste, swapped_half)
{
	if (!swap_active())
		SKIP(return, "no swap");
	ASSERT_EQ(0, page_out(MEM + pmd_size / 4, pmd_size / 4 * 3));
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(self->nr / 4, count_folios(MEM, pmd_size, ORDER));
	EXPECT_EQ(pmd_pages / 4 * 3, count_pages(0, MEM, pmd_size, PAGE_SWAPPED));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

/* With no room in the group there are few folios, or none, and nobody is killed to make room. */
TEST_F(waste, full_group)
{
	struct memcg cg;
	int status;
	pid_t pid;

	if (memcg_create(&cg, "waste"))
		SKIP(return, "no memory cgroups");
	if (size_there(2))
		sizes_enable(1 << 2 | 1 << 3, "madvise");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char *mem = memcg_cramp(&cg, page_size);

		child_pause();
		_exit(verify(mem, pmd_size, 1) ? 1 : 0);
	}
	EXPECT_EQ(0, khugepaged_run_beside(pid, 3, LONG_MS));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, memcg_event(&cg, "memory.events", "oom_kill"));
	memcg_destroy(&cg);
}

/* A region that nobody uses. */
TEST_F(waste, unused_region)
{
	ASSERT_EQ(0, forget_references(MEM, pmd_size));
	*(volatile char *)PAGE(70);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(1, count_folios(MEM, pmd_size, ORDER));
	EXPECT_TRUE(is_folio(PAGE(64), ORDER));
	EXPECT_EQ(1, ALLOCATED());
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

int main(int argc, char **argv)
{
	return harness_run_swapping(argc, argv, 64);
}
