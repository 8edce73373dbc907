// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty and accessed bits, kept by the processor or, on arm64 without AF and
 * DBM, by the kernel: what was written is written out, and a failed collapse
 * forgets of no page that it was used.
 */
#include "harness.h"

#define STEP 3			/* every third page is written to or used */

FIXTURE(dirty_young) {
	struct filemap f;
};

FIXTURE_VARIANT(dirty_young) {
	enum file_kind kind;
};

FIXTURE_VARIANT_ADD(dirty_young, anon) { .kind = PRIVATE_ANON };
FIXTURE_VARIANT_ADD(dirty_young, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(dirty_young, tmpfs) { .kind = TMPFS_FILE };
FIXTURE_VARIANT_ADD(dirty_young, ext4) { .kind = EXT4_FILE };
FIXTURE_VARIANT_ADD(dirty_young, xfs) { .kind = XFS_FILE };

#define F (&self->f)
#define MEM (self->f.mem)

FIXTURE_SETUP(dirty_young)
{
	const char *missing = file_kind_missing(variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
	knobs_baseline();
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
}

FIXTURE_TEARDOWN(dirty_young)
{
}

/* Out of memory and back, from wherever its pages are kept. */
static int by_way_of_storage(struct filemap *f, enum file_kind kind)
{
	int err;

	if (file_on_disk(kind)) {
		err = file_drop(f);
		f->mem = file_map(f, PROT_READ | PROT_WRITE, MAP_SHARED);
		return err;
	}
	return page_out_gone(f->mem, f->len);
}

/* Small pages of version 1, which are clean: a copy of each is in swap or on the disk. */
static int map_clean(struct filemap *f, enum file_kind kind)
{
	int err = 0;

	file_setup(f, kind, 1, 1);
	if (!file_on_disk(kind))
		err = by_way_of_storage(f, kind);
	file_touch(f->mem, f->len);
	return err;
}

static int forget(struct filemap *f)
{
	int err = forget_references(f->mem, f->len);

	return err ? err : smaps_kb(0, f->mem, f->len, "Referenced") ? -EBUSY : 0;
}

static void write_some(struct filemap *f, uint32_t version)
{
	size_t off;

	for (off = 0; off < f->len; off += STEP * page_size)
		file_store(f->mem + off, off, page_size, version);
}

static int check_some(struct filemap *f, uint32_t version)
{
	size_t off;

	for (off = 0; off < f->len; off += page_size)
		if (file_verify(f->mem + off, off, page_size, off / page_size % STEP ? 1 : version))
			return -EIO;
	return 0;
}

/* The only trace of a write is the bit in a PTE, which the collapse does away with. */
TEST_F(dirty_young, written_is_written_out)
{
	uint32_t version;

	ASSERT_EQ(0, map_clean(F, variant->kind));
	for (version = 2; version < 5; version++) {
		write_some(F, version);
		ASSERT_EQ(0, forget(F));
		EXPECT_EQ(0, collapse_settled(MEM, F->len));
		EXPECT_EQ(1, count_huge(0, MEM, F->len));
		EXPECT_EQ(0, by_way_of_storage(F, variant->kind));
		EXPECT_EQ(0, check_some(F, version));
		if (count_huge(0, MEM, F->len))
			ASSERT_EQ(0, split_range(MEM));
	}
	file_close(F);
}

/* Written as a huge page, when it has been unreferenced and then split. */
TEST_F(dirty_young, written_when_huge)
{
	ASSERT_EQ(0, map_clean(F, variant->kind));
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	ASSERT_EQ(0, forget(F));
	write_some(F, 2);
	file_split_pmds(MEM, F->len, PROT_READ | PROT_WRITE);
	write_some(F, 3);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(0, by_way_of_storage(F, variant->kind));
	EXPECT_EQ(0, check_some(F, 3));
	file_close(F);
}

/*
 * A huge page of shared memory that somebody has only read so far is clean, and nothing but the PTEs knows of the first
 * writes. C forgets these with the table: reclaim then drops the page as it is, and what was written is gone.
 */
TEST_F(dirty_young, written_when_only_read_before)
{
	size_t off;
	int err = 0;

	if (variant->kind != MEMFD && variant->kind != TMPFS_FILE)
		SKIP(return, "shared memory only");
	file_setup(F, variant->kind, 1, 1);
	file_advise(F);
	/* The daemon would take the table away. */
	khugepaged_idle();
	ASSERT_EQ(0, khugepaged_wait_asleep(LONG_MS));
	ASSERT_EQ(0, ftruncate(F->fd, 0));
	ASSERT_EQ(0, ftruncate(F->fd, F->len));
	file_touch(MEM, F->len);
	file_split_pmds(MEM, F->len, PROT_READ | PROT_WRITE);
	ASSERT_EQ(pmd_pages, count_thp_pages(0, MEM, F->len));
	write_some(F, 2);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(1, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, by_way_of_storage(F, variant->kind));
	for (off = 0; off < F->len && !err; off += STEP * page_size)
		err = file_verify(MEM + off, off, page_size, 2);
	EXPECT_EQ(0, err);
	file_close(F);
}

/*
 * As smaps counts them before and after attempts that fail: by a pin that the
 * scan sees, and without memory for the huge page.
 */
TEST_F(dirty_young, failures_forget_nothing)
{
	long some = (pmd_pages + STEP - 1) / STEP * (page_size / 1024), dirty;
	struct memcg cg;
	struct pin pin;
	size_t off;

	ASSERT_EQ(0, memcg_create(&cg, "collapse-dirty-young"));
	ASSERT_EQ(0, memcg_enter(&cg));
	ASSERT_EQ(0, map_clean(F, variant->kind));
	/* Locked or not, a limit must find nothing to reclaim; but mprotect() must not touch it all. */
	ASSERT_EQ(0, mlock2(MEM, F->len, MLOCK_ONFAULT));
	write_some(F, 2);
	dirty = smaps_kb(0, MEM, F->len, "Private_Dirty");
	EXPECT_LE(some, dirty);
	ASSERT_EQ(0, pin_vmsplice(&pin, MEM + STEP * 5 * page_size));
	ASSERT_EQ(0, forget(F));
	for (off = 0; off < F->len; off += STEP * page_size)
		(void)*(volatile char *)(MEM + off);
	ASSERT_EQ(some, smaps_kb(0, MEM, F->len, "Referenced"));
	EXPECT_NE(0, collapse(MEM, F->len));
	EXPECT_EQ(some, smaps_kb(0, MEM, F->len, "Referenced"));
	EXPECT_EQ(dirty, smaps_kb(0, MEM, F->len, "Private_Dirty"));
	pin_release(&pin);

	ASSERT_EQ(0, memcg_set(&cg, "memory.swap.max", "0"));
	ASSERT_EQ(0, memcg_set_num(&cg, "memory.max", memcg_num(&cg, "memory.current") + (1 << 20)));
	EXPECT_NE(0, collapse(MEM, F->len));
	EXPECT_EQ(some, smaps_kb(0, MEM, F->len, "Referenced"));
	EXPECT_EQ(dirty, smaps_kb(0, MEM, F->len, "Private_Dirty"));
	EXPECT_EQ(0, count_huge(0, MEM, F->len));
	ASSERT_EQ(0, memcg_set(&cg, "memory.max", "max"));
	ASSERT_EQ(0, memcg_set(&cg, "memory.swap.max", "max"));
	ASSERT_EQ(0, munlock(MEM, F->len));
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(0, by_way_of_storage(F, variant->kind));
	EXPECT_EQ(0, check_some(F, 2));
	file_close(F);
	memcg_leave();
	memcg_destroy(&cg);
}

int main(int argc, char **argv)
{
	return harness_run_swapping(argc, argv, 64);
}
