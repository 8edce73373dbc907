// SPDX-License-Identifier: GPL-2.0
/* khugepaged makes folios below the size of a PMD: what it promises, whoever implements it. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

FIXTURE(mthp) {
	char *mem;
	unsigned int order;
	size_t nr, size;	/* regions of a PMD, and the bytes of one */
	long rss, alloc;
};

FIXTURE_VARIANT(mthp) {
	int order;		/* from that of the PMD down, if negative */
};

FIXTURE_VARIANT_ADD(mthp, order2) { .order = 2 };
FIXTURE_VARIANT_ADD(mthp, order4) { .order = 4 };
FIXTURE_VARIANT_ADD(mthp, half_a_pmd) { .order = -1 };

/* One PMD, for the daemon; nothing in it yet. */
FIXTURE_SETUP(mthp)
{
	self->order = variant->order > 0 ? variant->order : pmd_order() + variant->order;
	if (!size_there(self->order))
		SKIP(return, "no folios of order %u", self->order);
	knobs_baseline();
	size_enable(pmd_order(), "never");
	size_enable(self->order, "madvise");
	/* These wake the daemon; from here on it sleeps until it is told. */
	khugepaged_register(LONG_MS);
	self->nr = pmd_pages >> self->order;
	self->size = page_size << self->order;
	self->mem = region_map_used(1);
	ASSERT_EQ(0, madvise(self->mem, pmd_size, MADV_HUGEPAGE));
	self->alloc = size_stat(self->order, "collapse_alloc");
}

FIXTURE_TEARDOWN(mthp)
{
}

#define MEM (self->mem)
#define PAGE(n) (self->mem + (n) * page_size)
#define REGION(n) (self->mem + (n) * self->size)
#define ALLOCATED() (size_stat(self->order, "collapse_alloc") - self->alloc)
#define RSS() smaps_kb(0, MEM, pmd_size, "Rss")

/* A knob that was written wakes the daemon, which is to be asleep before there is memory to scan. */
#define SETTLE() ASSERT_EQ(0, khugepaged_wait_asleep(LONG_MS))

TEST_F(mthp, all_of_a_table)
{
	struct balance before;
	long folios = size_stat(self->order, "nr_anon");

	fill_small(MEM, pmd_size, 1);
	self->rss = RSS();
	balance_read(&before);
	khugepaged_fast();
	EXPECT_EQ(0, wait_folios(MEM, pmd_size, self->order, self->nr, LONG_MS));
	khugepaged_idle();
	EXPECT_LE((long)self->nr, ALLOCATED());
	EXPECT_EQ(folios + (long)self->nr, size_stat(self->order, "nr_anon"));
	EXPECT_EQ(self->rss, RSS());
	EXPECT_EQ(0, smaps_kb(0, MEM, pmd_size, "AnonHugePages"));
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	EXPECT_EQ(0, balance_check(&before, 0));
	/* They are memory like any other. */
	fill(MEM, pmd_size, 2);
	EXPECT_EQ(0, verify(MEM, pmd_size, 2));
}

/* Where one page is missing nothing may be added; what is missing differs from round to round. */
TEST_F_TIMEOUT(mthp, full_regions_only, 600)
{
	unsigned int round, rounds = self->order == 2 ? 6 : 3, random = 1;
	size_t i;

	knob_set_num("khugepaged/max_ptes_none", 0);
	for (round = 0; round < rounds; round++) {
		bool hole[self->nr];
		size_t full = 0;

		fill_small(MEM, pmd_size, 1);
		for (i = 0; i < self->nr; i++) {
			random = random * 1664525 + 1013904223;
			hole[i] = (random >> 16) % 4 < round % 4;
			full += !hole[i];
			if (hole[i])
				madvise(REGION(i) + (random >> 20) % (1 << self->order) * page_size,
					page_size, MADV_DONTNEED);
		}
		self->rss = RSS();
		ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
		EXPECT_EQ(full, count_folios(MEM, pmd_size, self->order));
		for (i = 0; i < self->nr; i++)
			EXPECT_EQ(!hole[i], is_folio(REGION(i), self->order)) TH_LOG("region %zu", i);
		EXPECT_EQ(self->rss, RSS());
		ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_DONTNEED));
	}
}

/* One page is enough if the knob is at its maximum; none is not. */
TEST_F(mthp, one_page_is_enough)
{
	size_t i;

	for (i = 0; i < self->nr; i += 2)
		fill_small(REGION(i) + i % (1 << self->order) * page_size, page_size, 1);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	for (i = 0; i < self->nr; i++) {
		size_t page = i % (1 << self->order);

		EXPECT_EQ(i % 2 == 0, is_folio(REGION(i), self->order)) TH_LOG("region %zu", i);
		if (i % 2)
			continue;
		EXPECT_EQ(0, verify(REGION(i) + page * page_size, page_size, 1));
		EXPECT_EQ(0, verify_zero(REGION(i), page * page_size));
	}
	EXPECT_EQ((long)(self->nr + 1) / 2 * (long)self->size / 1024, RSS());
}

/* Other values count as zero. */
TEST_F(mthp, max_ptes_none_has_two_values)
{
	knob_set_num("khugepaged/max_ptes_none", pmd_pages / 2);
	fill_small(MEM, pmd_size, 1);
	ASSERT_EQ(0, madvise(PAGE(1), page_size, MADV_DONTNEED));
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_FALSE(is_folio(MEM, self->order));
	EXPECT_EQ(self->nr - 1, count_folios(MEM, pmd_size, self->order));
}

/* Each pass finds what the one before made; nothing grows by that. */
TEST_F_TIMEOUT(mthp, no_creep, 600)
{
	unsigned int order, all = 0;
	size_t i;

	for (order = self->order; order < pmd_order(); order++)
		all |= 1u << order;
	sizes_enable(all, "madvise");
	knob_set_num("khugepaged/max_ptes_none", 0);
	SETTLE();
	/* Of every second region all, of the others one page. */
	for (i = 0; i < self->nr; i++)
		fill_small(REGION(i), i % 2 ? page_size : self->size, 1);
	ASSERT_EQ(0, khugepaged_run(1, LONG_MS));
	self->rss = RSS();
	EXPECT_EQ((self->nr + 1) / 2, count_folios(MEM, pmd_size, self->order));
	ASSERT_EQ(0, khugepaged_run(50, LONG_MS));
	EXPECT_EQ(self->rss, RSS());
	EXPECT_EQ((self->nr + 1) / 2, count_folios(MEM, pmd_size, self->order));
}

TEST_F(mthp, the_largest_that_fits)
{
	unsigned int larger = self->order + 1;

	if (larger >= pmd_order())
		SKIP(return, "no larger size below the PMD's");
	size_enable(larger, "madvise");
	knob_set_num("khugepaged/max_ptes_none", 0);
	SETTLE();
	fill_small(MEM, pmd_size, 1);
	/* The second region of the first pair lacks a page. */
	ASSERT_EQ(0, madvise(REGION(1), page_size, MADV_DONTNEED));
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_TRUE(is_folio(MEM, self->order));
	EXPECT_FALSE(is_folio(REGION(1), self->order));
	EXPECT_EQ(self->nr / 2 - 1, count_folios(MEM, pmd_size, larger));
	EXPECT_EQ(0, verify(MEM + 2 * self->size, pmd_size - 2 * self->size, 1));
}

/* Folios of half the size, or single pages, are joined; those of the size or larger are left. */
TEST_F(mthp, of_folios_of_other_sizes)
{
	unsigned int larger = self->order + 1;
	size_t third = (self->nr / 4) * self->size;
	struct page_info was, is;

	if (self->order < 3 || larger >= pmd_order())
		SKIP(return, "no smaller or no larger size");
	size_enable(self->order, "never");
	SETTLE();
	fault_folios(MEM, third, self->order - 1);
	fault_folios(MEM + third, third, larger);
	ASSERT_EQ(0, page_info(0, MEM + third, &was));
	fill_small(MEM + 2 * third, third, 1);
	fill(MEM, 3 * third, 1);
	size_enable(self->order, "madvise");
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(third / self->size, count_folios(MEM, third, self->order));
	EXPECT_EQ(third / self->size / 2, count_folios(MEM + third, third, larger));
	ASSERT_EQ(0, page_info(0, MEM + third, &is));
	EXPECT_EQ(was.pfn, is.pfn);
	EXPECT_EQ(third / self->size, count_folios(MEM + 2 * third, third, self->order));
	EXPECT_EQ(0, verify(MEM, 3 * third, 1));
}

TEST_F(mthp, knob_of_the_size)
{
	static const struct {
		const char *size, *all;
		bool advised, taken;
	} cases[] = {
		{ "never", "always", true, false },
		{ "madvise", "never", true, true },
		{ "madvise", "always", false, false },
		{ "inherit", "always", false, true },
		{ "inherit", "madvise", true, true },
		{ "inherit", "madvise", false, false },
		{ "inherit", "never", true, false },
		{ "always", "never", false, true },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *mem = region_map_used(1);

		size_enable(self->order, "never");
		knob_set("enabled", cases[i].all);
		if (cases[i].advised)
			ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
		fill_small(mem, pmd_size, 1);
		size_enable(self->order, cases[i].size);
		/* Without any size there is no pass. */
		if (khugepaged_pid()) {
			khugepaged_fast();
			khugepaged_passes(2, cases[i].taken ? LONG_MS : QUIET_MS);
			khugepaged_idle();
		}
		EXPECT_EQ(cases[i].taken ? self->nr : 0, count_folios(mem, pmd_size, self->order))
			TH_LOG("size %s, all %s, advised %d", cases[i].size, cases[i].all, cases[i].advised);
		EXPECT_EQ(0, verify(mem, pmd_size, 1));
		region_unmap(mem, 1);
	}
}

/* A huge page comes first, if there can be one. */
TEST_F(mthp, pmd_before_all)
{
	size_enable(pmd_order(), "madvise");
	SETTLE();
	fill_small(MEM, pmd_size, 1);
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(MEM, pmd_size, 1, LONG_MS));
	khugepaged_idle();
	EXPECT_EQ(0, ALLOCATED());
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

/* MADV_COLLAPSE makes huge pages only. */
TEST_F(mthp, not_by_madvise)
{
	fill_small(MEM, pmd_size, 1);
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(0, ALLOCATED());
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

TEST_F(mthp, shared_pages_are_left)
{
	pid_t child;

	fill_small(MEM, pmd_size, 1);
	child = share_with_child();
	/* All but one page are ours alone again. */
	fill(PAGE(1), pmd_size - page_size, 2);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_FALSE(is_folio(MEM, self->order));
	EXPECT_EQ(self->nr - 1, count_folios(MEM, pmd_size, self->order));
	EXPECT_EQ(0, verify(MEM, page_size, 1));
	EXPECT_EQ(0, verify(PAGE(1), pmd_size - page_size, 2));
	child_end(child);
}

/* What a child got by fork() is its own, whatever becomes of ours. */
TEST_F(mthp, fork_after)
{
	int status;
	pid_t pid;

	fill_small(MEM, pmd_size, 1);
	khugepaged_fast();
	ASSERT_EQ(0, wait_folios(MEM, pmd_size, self->order, self->nr, LONG_MS));
	khugepaged_idle();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		sleep_ms(200);
		_exit(verify(MEM, pmd_size, 1) ? 1 : 0);
	}
	fill(MEM, pmd_size, 2);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, verify(MEM, pmd_size, 2));
}

/* A userfaultfd waits for missing pages: no hole is filled. */
TEST_F(mthp, holes_that_are_watched)
{
	int fd = uffd_open(0);

	if (fd < 0)
		SKIP(return, "no userfaultfd");
	fill_small(MEM, pmd_size, 1);
	ASSERT_EQ(0, madvise(PAGE(1), page_size, MADV_DONTNEED));
	ASSERT_EQ(0, uffd_register_range(fd, MEM, pmd_size, 1));	/* MISSING */
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_FALSE(is_folio(MEM, self->order));
	EXPECT_EQ(self->nr - 1, count_folios(MEM, pmd_size, self->order));
	close(fd);
}

/* With room for two folios, two at a time: what is replaced makes room for the next. */
TEST_F(mthp, little_room_in_the_group)
{
	struct memcg cg;
	pid_t pid;
	int status;

	if (memcg_create(&cg, "mthp"))
		SKIP(return, "no memory cgroups");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char *mem = memcg_cramp(&cg, 2 * self->size + (64 << 10));

		child_pause();
		if (count_folios(mem, pmd_size, self->order) != self->nr)
			_exit(1);
		_exit(verify(mem, pmd_size, 1) ? 2 : 0);
	}
	EXPECT_EQ(0, khugepaged_run_beside(pid, 3, LONG_MS));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	memcg_destroy(&cg);
}

COLLAPSE_HARNESS_MAIN
