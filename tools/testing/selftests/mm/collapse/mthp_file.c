// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged makes folios below the size of a PMD of shared memory and files,
 * where khugepaged/mthp_page_cache is 1. The C implementation has nothing like
 * it, and no such knob.
 */
#include <fcntl.h>

#include "mthp_file.h"

/* Of each order: every second region is there. Later passes allocate nothing. */
TEST_F_TIMEOUT(mthp_file, each_order, 600)
{
	unsigned int order, all = ALL_ORDERS;

	for (order = 2; order < pmd_order(); order = next_order(order)) {
		long anon = size_stat(order, "nr_anon"), collapsed;
		size_t n, nr = 1ul << order;
		char *text;

		orders_allowed(1u << order);
		start(self, variant->kind);
		for (n = 0; n < pmd_pages; n += 2 * nr)
			add_pages(self, n, nr);
		settle(self);
		collapsed = pages_collapsed();
		ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
		EXPECT_EQ((long)(pmd_pages / nr / 2),
			  check_folios(_metadata, self, variant->sizes ? 1u << order : all));
		EXPECT_EQ(collapsed + 1, pages_collapsed());
		EXPECT_EQ(anon, size_stat(order, "nr_anon"));
		EXPECT_EQ(0, file_stat_check(&self->before, &(struct file_stat){ }));
		ASSERT_EQ(0, trace_start("huge_memory"));
		ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
		trace_stop();
		text = trace_take();
		EXPECT_LT(0, trace_count(text, "mm_khugepaged_scan_file"));
		EXPECT_EQ(0, trace_count(text, "mm_khugepaged_collapse_file"));
		free(text);
		check_folios(_metadata, self, variant->sizes ? 1u << order : all);
		check_content(_metadata, self);
		file_close(F);
	}
}

/* The file has nothing but the first region: its tree is as low as can be. */
TEST_F_TIMEOUT(mthp_file, alone_at_the_start, 600)
{
	unsigned int order;

	for (order = 2; order < pmd_order(); order = next_order(order)) {
		orders_allowed(1u << order);
		start(self, variant->kind);
		if (self->f.fd >= 0)
			ASSERT_EQ(0, ftruncate(self->f.fd, page_size << order));
		add_pages(self, 0, 1ul << order);
		settle(self);
		ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
		EXPECT_EQ(1, check_folios(_metadata, self, 1u << order));
		EXPECT_EQ(0, file_stat_check(&self->before, &(struct file_stat){ }));
		check_content(_metadata, self);
		file_close(F);
	}
}

/* One page is missing at the end of all, where the file ends: regions of all orders. */
TEST_F(mthp_file, the_largest_that_fits)
{
	orders_allowed(ALL_ORDERS);
	start(self, variant->kind);
	if (self->f.fd >= 0)
		ASSERT_EQ(0, ftruncate(self->f.fd, pmd_size - page_size));
	add_pages(self, 0, pmd_pages - 1);
	settle(self);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ((long)pmd_order() - 2, check_folios(_metadata, self, ALL_ORDERS));
	check_content(_metadata, self);
}

/* Only what lies in the file, even if there is more in the page cache. */
TEST_F(mthp_file, the_end_of_the_file)
{
	if (variant->kind == SHARED_ANON)
		SKIP(return, "its size is that of the mapping");
	orders_allowed(ALL_ORDERS);
	start(self, variant->kind);
	add_pages(self, 0, 7);
	ASSERT_EQ(0, ftruncate(self->f.fd, 7 * page_size - 1));
	/* Shared memory may have pages behind the end, which nobody can touch. */
	if (!ON_DISK)
		ASSERT_EQ(0, fallocate(self->f.fd, FALLOC_FL_KEEP_SIZE, 0, 16 * page_size));
	settle(self);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(1, check_folios(_metadata, self, ALL_ORDERS));
	EXPECT_TRUE(is_folio(MEM, 2));
	/* Nothing of it was lost, and it reads as zeroes once it is in the file. */
	ASSERT_EQ(0, ftruncate(self->f.fd, 16 * page_size));
	EXPECT_EQ(0, verify_zero(PAGE(7), 9 * page_size));
}

/* A huge page comes first, where it is allowed. */
TEST_F(mthp_file, pmd_before_all)
{
	orders_allowed(ALL_ORDERS | 1u << pmd_order());
	start(self, variant->kind);
	add_pages(self, 0, pmd_pages);
	settle(self);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	EXPECT_EQ(0, file_wait_huge(MEM, pmd_size, 1, LONG_MS));
	memset(self->present, 0, sizeof(self->present));
	check_folios(_metadata, self, 0);
	memset(self->present, 1, sizeof(self->present));
	check_content(_metadata, self);
}

/* Values of max_ptes_none in between count as zero. */
TEST_F(mthp_file, max_ptes_none_has_two_values)
{
	knob_set_num("khugepaged/max_ptes_none", pmd_pages / 4);
	orders_allowed(1u << 4);
	start(self, variant->kind);
	add_pages(self, 0, 7);
	add_pages(self, 8, 24);
	settle(self);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	check_folios(_metadata, self, variant->sizes ? 1u << 4 : ALL_ORDERS);
	EXPECT_FALSE(is_folio(MEM, 4));
	EXPECT_TRUE(is_folio(PAGE(16), 4));
	EXPECT_EQ(0, file_stat_check(&self->before, &(struct file_stat){ }));
	check_content(_metadata, self);
}

/* At its maximum one page is enough, for what is not read from a disk; none is not, and nothing creeps. */
TEST_F_TIMEOUT(mthp_file, one_page_is_enough, 600)
{
	unsigned int order, larger;
	size_t n, nr, there;

	if (!variant->sizes)
		SKIP(return, "a huge page would take all of it");
	knob_set_num("khugepaged/max_ptes_none", pmd_pages - 1);
	for (order = 2; order < pmd_order(); order = next_order(order)) {
		struct file_stat more = { };

		nr = 1ul << order;
		larger = order + 1 < pmd_order() ? order + 1 : order;
		orders_allowed(1u << order);
		start(self, variant->kind);
		for (n = there = 0; n < pmd_pages; n += 2 * nr, there++)
			add_pages(self, n + there % nr, 1);
		settle(self);
		ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
		more.pages = more.shmem = there * (nr - 1);
		EXPECT_EQ(0, file_stat_check(&self->before, &more)) TH_LOG("order %u", order);
		for (n = 0; n < pmd_pages; n += 2 * nr) {
			size_t page = n + n / (2 * nr) % nr;

			file_touch(PAGE(n), nr * page_size);
			EXPECT_TRUE(is_folio(PAGE(n), order)) TH_LOG("page %zu", n);
			EXPECT_EQ(0, file_verify(PAGE(page), page * page_size, page_size, 1));
			EXPECT_EQ(0, verify_zero(PAGE(n), (page - n) * page_size));
			EXPECT_EQ(0, verify_zero(PAGE(page + 1), (n + nr - page - 1) * page_size));
		}
		/* Only what was there before the collapse counts: with 0 nothing is added to it. */
		knob_set_num("khugepaged/max_ptes_none", 0);
		orders_allowed(ORDERS(order, larger));
		must(khugepaged_wait_asleep(LONG_MS), "khugepaged is not asleep");
		ASSERT_EQ(0, khugepaged_run(10, LONG_MS));
		EXPECT_EQ(0, file_stat_check(&self->before, &more));
		knob_set_num("khugepaged/max_ptes_none", pmd_pages - 1);
		file_close(F);
	}
}

FIXTURE(mthp_file_knob) {
};

FIXTURE_SETUP(mthp_file_knob)
{
	if (!knob_there(KNOB))
		SKIP(return, "no " KNOB ": only the Rust implementation has it");
}

FIXTURE_TEARDOWN(mthp_file_knob)
{
	knobs_baseline();
}

static long found_at_start = -1;

TEST_F(mthp_file_knob, values)
{
	static const char *const bad[] = { "2", "-1", "\n", "x", "1 ", "4294967296", "always" };
	char text[16];
	size_t i;

	EXPECT_EQ(0, found_at_start) TH_LOG("it has to be off by default");
	ASSERT_EQ(0, knob_try(KNOB, "1"));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		EXPECT_EQ(-EINVAL, knob_try(KNOB, bad[i])) TH_LOG("\"%s\"", bad[i]);
		ASSERT_EQ(0, knob_read(KNOB, text, sizeof(text)));
		EXPECT_STREQ("1", text);
	}
	ASSERT_EQ(0, knob_try(KNOB, "0\n"));
	EXPECT_EQ(0, knob_num(KNOB));
}

int main(int argc, char **argv)
{
	/* Before the first of the tests sets it. */
	collapse_init();
	if (knob_there(KNOB))
		found_at_start = knob_num(KNOB);
	return harness_run_swapping(argc, argv, 64);
}
