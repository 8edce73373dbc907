/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of mthp_file*.c stand on: kinds of files, the pages that are
 * there, and where folios have to be. khugepaged/mthp_page_cache is 1.
 */
#ifndef COLLAPSE_MTHP_FILE_H
#define COLLAPSE_MTHP_FILE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

#define KNOB "khugepaged/mthp_page_cache"
#define MAX_PAGES (1u << 13)

FIXTURE(mthp_file) {
	struct filemap f;
	struct file_stat before;
	bool present[MAX_PAGES];	/* in the page cache, as far as the test knows */
	bool busy[MAX_PAGES];		/* in the way of any region it is in */
	long alloc[32];
};

FIXTURE_VARIANT(mthp_file) {
	enum file_kind kind;
	bool sizes;		/* each size has a switch; else all are on, that of a PMD, too */
};

FIXTURE_VARIANT_ADD(mthp_file, memfd) { .kind = MEMFD, .sizes = true };
FIXTURE_VARIANT_ADD(mthp_file, shared_anon) { .kind = SHARED_ANON, .sizes = true };
FIXTURE_VARIANT_ADD(mthp_file, tmpfs) { .kind = TMPFS_FILE };
FIXTURE_VARIANT_ADD(mthp_file, ext4) { .kind = EXT4_FILE };
FIXTURE_VARIANT_ADD(mthp_file, xfs) { .kind = XFS_FILE };

#define F (&self->f)
#define MEM (self->f.mem)
#define PAGE(n) (self->f.mem + (n) * page_size)
#define ON_DISK file_on_disk(variant->kind)
#define ORDERS(first_, last_) ((2u << (last_)) - (1u << (first_)))
#define ALL_ORDERS ORDERS(2, pmd_order() - 1)

FIXTURE_SETUP(mthp_file)
{
	const char *missing = file_kind_missing(variant->kind);

	if (!knob_there(KNOB))
		SKIP(return, "no " KNOB ": only the Rust implementation has it");
	if (missing)
		SKIP(return, "%s", missing);
	knobs_baseline();
	/* Nothing becomes clean by itself. */
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	shmem_sizes_enable(~0u, "never");
	knob_set(KNOB, "1");
	/* A huge page takes all of it. */
	knob_set_num("khugepaged/max_ptes_none", 0);
	khugepaged_register(LONG_MS);
}

FIXTURE_TEARDOWN(mthp_file)
{
	trace_stop();
	file_close(F);
}

/* Pages of version 1, each a folio of its own. */
static void add_pages(FIXTURE_DATA(mthp_file) *self, size_t first, size_t nr)
{
	size_t n;

	for (n = first; n < first + nr; n++) {
		file_write(F, n * page_size, page_size, 1);
		self->present[n] = true;
	}
}

static void touch_present(FIXTURE_DATA(mthp_file) *self)
{
	size_t n;

	for (n = 0; n < pmd_pages; n++)
		if (self->present[n])
			(void)*(volatile char *)PAGE(n);
}

static void start(FIXTURE_DATA(mthp_file) *self, enum file_kind kind)
{
	memset(self->present, 0, sizeof(self->present));
	memset(self->busy, 0, sizeof(self->busy));
	file_create(F, kind, 1);
}

/* What was written is clean, mapped, and to be looked at. */
static void settle(FIXTURE_DATA(mthp_file) *self)
{
	unsigned int order;

	if (file_on_disk(self->f.kind))
		must(fsync(self->f.fd) ? -errno : 0, "fsync");
	if (!MEM)
		MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
	advise(MEM, pmd_size, MADV_HUGEPAGE);
	touch_present(self);
	for (order = 2; order < pmd_order(); order++)
		self->alloc[order] = size_stat(order, "collapse_alloc");
	must(khugepaged_wait_asleep(LONG_MS), "khugepaged is not asleep");
	file_stat_read(&self->before);
}

static bool region_ready(FIXTURE_DATA(mthp_file) *self, size_t first, size_t nr)
{
	size_t n;

	for (n = first; n < first + nr; n++)
		if (!self->present[n] || self->busy[n])
			return false;
	return true;
}

/*
 * Every region is where it should be and no larger: the largest of @orders of
 * which all pages are there and none is busy, from the first page on. The
 * folios were allocated once. Returns how many there are.
 */
static long check_folios(struct __test_metadata *_metadata, FIXTURE_DATA(mthp_file) *self,
			 unsigned int orders)
{
	long allocated[32] = { }, all = 0;
	unsigned int order;
	size_t n;

	touch_present(self);
	for (n = 0; n < pmd_pages; n += 1ul << order) {
		for (order = pmd_order() - 1; order >= 2; order--)
			if (orders & 1u << order && !(n & ((1ul << order) - 1)) &&
			    region_ready(self, n, 1ul << order))
				break;
		if (order < 2) {
			order = 0;
			continue;
		}
		allocated[order]++;
		all++;
		EXPECT_TRUE(is_folio(PAGE(n), order)) TH_LOG("order %u at page %zu", order, n);
	}
	for (order = 2; order < pmd_order(); order++) {
		EXPECT_EQ(allocated[order], size_stat(order, "collapse_alloc") - self->alloc[order])
			TH_LOG("folios of order %u", order);
	}
	return all;
}

/* The content is that of version 1, here, in another mapping, and on the disk. */
static void check_content(struct __test_metadata *_metadata, FIXTURE_DATA(mthp_file) *self)
{
	char *second = file_map(F, PROT_READ, MAP_SHARED), *buf;
	size_t n;

	for (n = 0; n < pmd_pages; n++) {
		if (!self->present[n])
			continue;
		EXPECT_EQ(0, file_verify(PAGE(n), n * page_size, page_size, 1));
		EXPECT_EQ(0, file_verify(second + n * page_size, n * page_size, page_size, 1));
	}
	region_unmap(second, 1);
	if (!file_on_disk(self->f.kind))
		return;
	ASSERT_EQ(0, file_drop(F));
	buf = malloc(page_size);
	for (n = 0; n < pmd_pages; n++) {
		if (!self->present[n])
			continue;
		ASSERT_EQ((ssize_t)page_size, pread(self->f.fd, buf, page_size, n * page_size));
		EXPECT_EQ(0, file_verify(buf, n * page_size, page_size, 1));
	}
	free(buf);
}

static void orders_allowed(unsigned int orders)
{
	shmem_sizes_enable(~0u, "never");
	shmem_sizes_enable(orders, "advise");
}

#endif /* COLLAPSE_MTHP_FILE_H */
