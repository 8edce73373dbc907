// SPDX-License-Identifier: GPL-2.0
/*
 * What is in the way of folios below the size of a PMD in the page cache, and
 * what they go through like any other memory.
 */
#include <sys/wait.h>

#include "mthp_file.h"

/* A userfaultfd waits for missing pages: no hole is filled. */
TEST_F(mthp_file, holes_that_are_watched)
{
	int fd = uffd_open(0);

	if (fd < 0)
		SKIP(return, "no userfaultfd");
	if (ON_DISK)
		SKIP(return, "missing pages of files cannot be waited for");
	if (variant->sizes)
		knob_set_num("khugepaged/max_ptes_none", pmd_pages - 1);
	orders_allowed(1u << 4);
	start(self, variant->kind);
	add_pages(self, 0, 40);
	settle(self);
	ASSERT_EQ(0, uffd_register_range(fd, MEM, pmd_size, 1));	/* MISSING */
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	check_folios(_metadata, self, variant->sizes ? 1u << 4 : ALL_ORDERS);
	EXPECT_EQ(0, file_stat_check(&self->before, &(struct file_stat){ }));
	close(fd);
}

/* What is in the way of one region is not in the way of the others, and goes on as it was. */
TEST_F(mthp_file, pinned_page)
{
	unsigned int orders = variant->sizes ? 1u << 4 : ALL_ORDERS;
	struct page_info was, is;
	struct pin pin;

	orders_allowed(orders);
	start(self, variant->kind);
	add_pages(self, 0, pmd_pages);
	self->busy[37] = true;
	settle(self);
	ASSERT_EQ(0, page_info(0, PAGE(37), &was));
	ASSERT_EQ(0, pin_vmsplice(&pin, PAGE(37)));
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	check_folios(_metadata, self, orders);
	ASSERT_EQ(0, page_info(0, PAGE(37), &is));
	EXPECT_EQ(was.pfn, is.pfn);
	EXPECT_EQ(0, file_stat_check(&self->before, &(struct file_stat){ }));
	pin_release(&pin);
	/* Now it is no more. */
	self->busy[37] = false;
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	if (variant->sizes)
		check_folios(_metadata, self, orders);
	else
		EXPECT_EQ(0, file_wait_huge(MEM, pmd_size, 1, LONG_MS));
	check_content(_metadata, self);
}

/* What is to be written to a disk yet stays as it is. */
TEST_F(mthp_file, dirty_page)
{
	if (!ON_DISK)
		SKIP(return, "shared memory is always dirty");
	start(self, variant->kind);
	add_pages(self, 0, pmd_pages);
	self->busy[37] = true;
	settle(self);
	file_store(PAGE(37), 37 * page_size, page_size, 1);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	check_folios(_metadata, self, ALL_ORDERS);
	EXPECT_EQ(0, file_stat_check(&self->before, &(struct file_stat){ }));
	check_content(_metadata, self);
}

/* Nothing is brought back from swap for it. */
TEST_F(mthp_file, swapped_page)
{
	uint64_t end = now_ms() + LONG_MS;
	long exceed;

	if (!variant->sizes)
		SKIP(return, "a huge page would take all of it");
	if (!swap_active())
		SKIP(return, "no swap");
	knob_set_num("khugepaged/max_ptes_none", pmd_pages - 1);
	orders_allowed(1u << 4);
	start(self, variant->kind);
	add_pages(self, 0, 32);
	settle(self);
	do {
		madvise(PAGE(5), page_size, MADV_PAGEOUT);
		sleep_ms(10);
	} while (smaps_kb(0, MEM, pmd_size, "Swap") * 1024 < (long)page_size && now_ms() < end);
	ASSERT_EQ((long)page_size, smaps_kb(0, MEM, pmd_size, "Swap") * 1024);
	self->present[5] = false;
	exceed = size_stat(4, "collapse_exceed_swap_pte");
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	check_folios(_metadata, self, 1u << 4);
	EXPECT_LT(exceed, size_stat(4, "collapse_exceed_swap_pte"));
	EXPECT_EQ((long)page_size, smaps_kb(0, MEM, pmd_size, "Swap") * 1024);
	EXPECT_EQ(0, file_verify(PAGE(5), 5 * page_size, page_size, 1));
	check_content(_metadata, self);
}

/* Lesser folios are joined, those of the size or larger are left. */
TEST_F(mthp_file, of_folios_of_other_sizes)
{
	static const unsigned int orders[] = { 2, 5, 6, 8, 4 };
	unsigned int i, largest = 0;

	if (!variant->sizes)
		SKIP(return, "all sizes are on");
	start(self, variant->kind);
	add_pages(self, 0, pmd_pages);
	settle(self);
	for (i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		long was = size_stat(orders[i], "collapse_alloc"), more = 0;

		if (orders[i] > largest) {
			largest = orders[i];
			more = pmd_pages >> largest;
		}
		orders_allowed(1u << orders[i]);
		must(khugepaged_wait_asleep(LONG_MS), "khugepaged is not asleep");
		ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
		file_touch(MEM, pmd_size);
		EXPECT_EQ(pmd_pages >> largest, count_folios(MEM, pmd_size, largest));
		EXPECT_EQ(was + more, size_stat(orders[i], "collapse_alloc"));
	}
	EXPECT_EQ(0, file_stat_check(&self->before, &(struct file_stat){ }));
	check_content(_metadata, self);
}

/* What was mapped by others, written to later, or punched out again. */
TEST_F(mthp_file, memory_like_any_other)
{
	int status;
	pid_t pid;

	orders_allowed(1u << 4);
	start(self, variant->kind);
	add_pages(self, 0, 32);
	settle(self);
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	check_folios(_metadata, self, variant->sizes ? 1u << 4 : ALL_ORDERS);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(file_verify(MEM, 0, 32 * page_size, 1) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	file_store(PAGE(16), 16 * page_size, 16 * page_size, 2);
	EXPECT_EQ(0, file_verify(PAGE(0), 0, 16 * page_size, 1));
	EXPECT_EQ(0, file_verify(PAGE(16), 16 * page_size, 16 * page_size, 2));
	ASSERT_EQ(0, madvise(PAGE(3), 5 * page_size, MADV_REMOVE));
	EXPECT_EQ(0, verify_zero(PAGE(3), 5 * page_size));
	EXPECT_EQ(0, file_verify(PAGE(0), 0, 3 * page_size, 1));
	EXPECT_EQ(0, file_verify(PAGE(8), 8 * page_size, 8 * page_size, 1));
}

/* MADV_COLLAPSE makes huge pages only. */
TEST_F(mthp_file, not_by_madvise)
{
	orders_allowed(ALL_ORDERS);
	start(self, variant->kind);
	add_pages(self, 0, pmd_pages);
	settle(self);
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	memset(self->present, 0, sizeof(self->present));
	check_folios(_metadata, self, 0);
	memset(self->present, 1, sizeof(self->present));
	check_content(_metadata, self);
}

/* With 0 it is as if there were no such thing. */
TEST_F(mthp_file, off)
{
	char *text;

	knob_set(KNOB, "0");
	orders_allowed(ALL_ORDERS);
	start(self, variant->kind);
	add_pages(self, 0, pmd_pages - 1);
	settle(self);
	ASSERT_EQ(0, trace_start("huge_memory/mm_khugepaged_scan_file"));
	ASSERT_EQ(0, khugepaged_run(2, LONG_MS));
	trace_stop();
	text = trace_take();
	/* If no rule allows a huge page, the VMA is passed over. */
	EXPECT_EQ(variant->sizes, !trace_count(text, "mm_khugepaged_scan_file"));
	free(text);
	EXPECT_EQ(0, check_folios(_metadata, self, 0));
	EXPECT_FALSE(is_folio(MEM, pmd_order() - 1));
}

/* With room for two folios: what is replaced makes room for the next. */
TEST_F(mthp_file, little_room_in_the_group)
{
	struct memcg cg;
	int status;
	pid_t pid;

	if (!variant->sizes)
		SKIP(return, "one kind is enough");
	if (memcg_create(&cg, "mthp-file"))
		SKIP(return, "no memory cgroups");
	orders_allowed(1u << 4);
	start(self, variant->kind);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memcg_enter(&cg);
		add_pages(self, 0, pmd_pages);
		settle(self);
		memcg_set(&cg, "memory.swap.max", "0");
		memcg_set_num(&cg, "memory.max", memcg_num(&cg, "memory.current") + (2 * page_size << 4) + (64 << 10));
		child_pause();
		touch_present(self);
		if (count_folios(MEM, pmd_size, 4) != pmd_pages >> 4)
			_exit(3);
		_exit(file_verify(MEM, 0, pmd_size, 1) ? 4 : 0);
	}
	EXPECT_EQ(0, khugepaged_run_beside(pid, 3, LONG_MS));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	file_close(F);
	memcg_destroy(&cg);
}

int main(int argc, char **argv)
{
	return harness_run_swapping(argc, argv, 64);
}
