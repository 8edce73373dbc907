// SPDX-License-Identifier: GPL-2.0
/*
 * Failure injected at each step of a collapse of shared memory and files to
 * folios below the size of a PMD, and memory that runs out at the last one.
 * Needs the attribute directory fail_collapse in debugfs:
 * KHUGEPAGED_RUST_FAULT_INJECTION.
 */
#include <errno.h>
#include <unistd.h>

#include "harness.h"

#define KNOB "khugepaged/mthp_page_cache"
#define ORDER 4
#define NR (1ul << ORDER)
#define KPF_COMPOUND_HEAD (1ull << 15)
#define FAILSLAB "/sys/kernel/debug/failslab/"
#define NODES "/sys/kernel/slab/radix_tree_node/failslab"

FIXTURE(inject) {
	struct filemap f;
	struct file_stat before;
	size_t nr;
};

FIXTURE_VARIANT(inject) {
	enum file_kind kind;
	unsigned int step;
	bool per_page;		/* the step is taken once for each page, else once for each region */
	bool holes;		/* for regions of which a page is missing */
};

#define STEP(name_, ...) FIXTURE_VARIANT_ADD(inject, name_) { __VA_ARGS__ }

STEP(memfd_allocate, .kind = MEMFD, .step = 1);
STEP(memfd_charge, .kind = MEMFD, .step = 2);
STEP(memfd_isolate_lock, .kind = MEMFD, .step = 4, .per_page = true);
STEP(memfd_isolate_pin, .kind = MEMFD, .step = 5, .per_page = true);
STEP(memfd_isolate_lru, .kind = MEMFD, .step = 6, .per_page = true);
STEP(memfd_copy, .kind = MEMFD, .step = 7, .per_page = true);
STEP(memfd_release, .kind = MEMFD, .step = 10, .per_page = true);
STEP(memfd_install, .kind = MEMFD, .step = 12);
STEP(ext4_allocate, .kind = EXT4_FILE, .step = 1);
STEP(ext4_charge, .kind = EXT4_FILE, .step = 2);
STEP(ext4_isolate_lock, .kind = EXT4_FILE, .step = 4, .per_page = true);
STEP(ext4_isolate_pin, .kind = EXT4_FILE, .step = 5, .per_page = true);
STEP(ext4_isolate_lru, .kind = EXT4_FILE, .step = 6, .per_page = true);
STEP(ext4_copy, .kind = EXT4_FILE, .step = 7, .per_page = true);
STEP(ext4_release, .kind = EXT4_FILE, .step = 10, .per_page = true);
STEP(ext4_install, .kind = EXT4_FILE, .step = 12);
STEP(memfd_holes, .kind = MEMFD, .step = 11, .holes = true);

#define F (&self->f)
#define MEM (self->f.mem)
#define REGION(i) (MEM + 2 * (i) * (page_size << ORDER))
#define PAGES (variant->holes ? NR - 1 : NR)

/* Every second region is there. */
#define SET_UP() do {								\
	size_t i_, n_;								\
										\
	file_create(F, variant->kind, 1);					\
	for (i_ = 0; i_ < self->nr; i_++)					\
		for (n_ = 0; n_ < PAGES; n_++)					\
			file_write(F, (2 * i_ * NR + n_) * page_size, page_size, 1); \
	if (file_on_disk(variant->kind))					\
		ASSERT_EQ(0, fsync(self->f.fd));				\
	MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);			\
	ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));			\
	TOUCH();								\
	file_stat_read(&self->before);						\
} while (0)

#define TOUCH() do {								\
	for (size_t i_ = 0; i_ < self->nr; i_++)				\
		file_touch(REGION(i_), PAGES * page_size);			\
} while (0)

FIXTURE_SETUP(inject)
{
	const char *missing = file_kind_missing(variant->kind);

	if (!knob_there(KNOB))
		SKIP(return, "no " KNOB);
	if (missing)
		SKIP(return, "%s", missing);
	knobs_baseline();
	inject_disarm();
	shmem_sizes_enable(~0u, "never");
	shmem_sizes_enable(1u << ORDER, "advise");
	knob_set(KNOB, "1");
	knob_set_num("khugepaged/max_ptes_none", variant->holes ? pmd_pages - 1 : 0);
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	/* One pass, then a long sleep, whatever fails. */
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	knob_set("khugepaged/alloc_sleep_millisecs", "1");
	/* All of these wake the daemon; from here on it sleeps until it is told. */
	khugepaged_register(LONG_MS);
	self->nr = pmd_pages / NR / 2;
	SET_UP();
}

FIXTURE_TEARDOWN(inject)
{
	inject_disarm();
	file_close(F);
}

static size_t count(FIXTURE_DATA(inject) *self, size_t pages)
{
	struct page_info info;
	size_t i, nr = 0;

	for (i = 0; i < self->nr; i++) {
		file_touch(REGION(i), pages * page_size);
		/* Where nothing was made of a region, what is missing has to stay so. */
		if (page_info(0, REGION(i), &info) || !(page_kpf(info.pfn) & KPF_COMPOUND_HEAD))
			continue;
		file_touch(REGION(i), page_size << ORDER);
		nr += is_folio(REGION(i), ORDER);
	}
	return nr;
}

#define COUNT() count(self, PAGES)

/* Each region is as it was or a folio; the content is the same. */
#define CHECK(folios_) do {							\
	struct file_stat more_ = { };						\
										\
	if (variant->holes)							\
		more_.pages = more_.shmem = (folios_);				\
	for (size_t i_ = 0; i_ < self->nr; i_++)				\
		EXPECT_EQ(0, file_verify(REGION(i_), 2 * i_ * (page_size << ORDER), PAGES * page_size, 1)); \
	EXPECT_EQ(0, file_stat_check(&self->before, &more_));			\
} while (0)

TEST_F_TIMEOUT(inject, one_region_fails, 600)
{
	const size_t regions[] = { 0, 1, self->nr / 2, self->nr - 1 };
	size_t i, is;

	for (i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
		/* The first page of a region, the last, and two in between. */
		size_t page = regions[i] * PAGES + i * (PAGES - 1) / 3;

		ASSERT_EQ(0, COUNT());
		inject_arm(variant->step, variant->per_page ? page : regions[i], 1);
		ASSERT_EQ(0, khugepaged_wake(LONG_MS));
		EXPECT_TRUE(inject_spent()) TH_LOG("step %u was not reached", variant->step);
		is = COUNT();
		EXPECT_EQ(self->nr - 1, is);
		EXPECT_FALSE(is_folio(REGION(regions[i]), ORDER));
		CHECK(is);
		inject_disarm();
		/* Then nothing fails, and all is well. */
		ASSERT_EQ(0, khugepaged_wake(LONG_MS));
		EXPECT_EQ(self->nr, COUNT());
		CHECK(self->nr);
		file_close(F);
		SET_UP();
	}
}

TEST_F_TIMEOUT(inject, repeated_failures_leak_nothing, 600)
{
	long before = free_kb();
	int i;

	inject_arm(variant->step, 0, -1);
	for (i = 0; i < 40; i++)
		ASSERT_EQ(0, khugepaged_wake(LONG_MS));
	EXPECT_EQ(0, COUNT());
	CHECK(0);
	inject_disarm();
	/* 40 times 1 MiB would be 40. */
	EXPECT_LT(before - free_kb(), 20l << 10) TH_LOG("memory leaked");
	ASSERT_EQ(0, khugepaged_wake(LONG_MS));
	EXPECT_EQ(self->nr, COUNT());
	CHECK(self->nr);
}

/*
 * No node of an XArray is to be had by who cannot sleep, as is the store that
 * commits a collapse: it brings along what it needs. That is a node where the
 * extent is all that the tree holds and fills all that its root can.
 */
FIXTURE(commit) {
	struct filemap f;
};

FIXTURE_VARIANT(commit) {
	enum file_kind kind;
};

FIXTURE_VARIANT_ADD(commit, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(commit, ext4) { .kind = EXT4_FILE };
FIXTURE_VARIANT_ADD(commit, xfs) { .kind = XFS_FILE };

static void starve_nodes(bool on)
{
	if (!on) {
		knob_try(FAILSLAB "times", "0");
		knob_try(NODES, "0");
		return;
	}
	knob_set(NODES, "1");
	knob_set(FAILSLAB "cache-filter", "Y");
	knob_set(FAILSLAB "ignore-gfp-wait", "Y");
	knob_set(FAILSLAB "verbose", "0");
	knob_set(FAILSLAB "interval", "1");
	knob_set(FAILSLAB "probability", "100");
	knob_set(FAILSLAB "times", "-1");
}

FIXTURE_SETUP(commit)
{
	const char *missing = file_kind_missing(variant->kind);

	if (!knob_there(KNOB))
		SKIP(return, "no " KNOB);
	if (missing)
		SKIP(return, "%s", missing);
	if (!knob_there(FAILSLAB "times") || !knob_there(NODES))
		SKIP(return, "no failslab");
	knobs_baseline();
	inject_disarm();
	shmem_sizes_enable(~0u, "never");
	knob_set(KNOB, "1");
	knob_set_num("khugepaged/max_ptes_none", 0);
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	khugepaged_register(LONG_MS);
}

FIXTURE_TEARDOWN(commit)
{
	starve_nodes(false);
	file_close(F);
}

TEST_F_TIMEOUT(commit, without_memory_for_nodes, 600)
{
	unsigned int order;

	for (order = 2; order < pmd_order(); order = next_order(order)) {
		struct file_stat before;
		size_t n;

		shmem_sizes_enable(~0u, "never");
		shmem_sizes_enable(1u << order, "advise");
		file_create(F, variant->kind, 1);
		for (n = 0; n < 1ul << order; n++)
			file_write(F, n * page_size, page_size, 1);
		if (file_on_disk(variant->kind))
			ASSERT_EQ(0, fsync(self->f.fd));
		MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
		ASSERT_EQ(0, madvise(MEM, pmd_size, MADV_HUGEPAGE));
		file_touch(MEM, page_size << order);
		file_stat_read(&before);
		starve_nodes(true);
		ASSERT_EQ(0, khugepaged_wake(LONG_MS));
		starve_nodes(false);
		file_touch(MEM, page_size << order);
		EXPECT_TRUE(is_folio(MEM, order)) TH_LOG("order %u", order);
		EXPECT_EQ(0, file_verify(MEM, 0, page_size << order, 1));
		EXPECT_EQ(0, file_stat_check(&before, &(struct file_stat){ }));
		file_close(F);
	}
}

int main(int argc, char **argv)
{
	collapse_init();
	if (!inject_there())
		return KSFT_SKIP;
	return test_harness_run(argc, argv);
}
