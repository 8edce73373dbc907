// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that blocks of contiguous PTEs map, as arm64 folds them: 64 KiB with
 * pages of 4 KiB, 2 MiB with larger ones. A change to one page unfolds its
 * block. Elsewhere it is the same memory under ordinary PTEs: large folios.
 */
#include "harness.h"

/* PMDs of up to 512 MiB, and an oracle that reads each byte. */
#define ROUNDS (1 + (40ul << 20) / pmd_size)

FIXTURE(contpte) {
	struct filemap f;
	size_t block;		/* bytes */
	uint32_t *version;	/* of each page */
};

FIXTURE_VARIANT(contpte) {
	enum file_kind kind;
};

FIXTURE_VARIANT_ADD(contpte, anon) { .kind = PRIVATE_ANON };
FIXTURE_VARIANT_ADD(contpte, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(contpte, ext4) { .kind = EXT4_FILE };
FIXTURE_VARIANT_ADD(contpte, xfs) { .kind = XFS_FILE };

#define F (&self->f)
#define MEM (self->f.mem)
#define PAGE(n) (self->f.mem + (n) * page_size)
#define IS_ANON (variant->kind == PRIVATE_ANON)

FIXTURE_SETUP(contpte)
{
	const char *missing = file_kind_missing(variant->kind);
	size_t kib;
	char path[64];

	if (missing)
		SKIP(return, "%s", missing);
	knobs_baseline();
	ASSERT_EQ(0, khugepaged_wait_asleep(LONG_MS));
	self->block = page_size == 4096 ? 65536 : 2 << 20;
	kib = self->block / 1024;
	self->version = calloc(pmd_pages, sizeof(self->version[0]));
	snprintf(path, sizeof(path), "hugepages-%zukB/enabled", kib);
	knob_set(path, "always");
	snprintf(path, sizeof(path), "%s/enabled", thp_size_dir());
	knob_set(path, "never");
	if (!file_on_disk(variant->kind) && !IS_ANON) {
		snprintf(path, sizeof(path), "hugepages-%zukB/shmem_enabled", kib);
		knob_set(path, "always");
	}
}

FIXTURE_TEARDOWN(contpte)
{
}

static void set_version(uint32_t *version, size_t first, size_t nr, uint32_t to)
{
	while (nr--)
		version[first++] = to;
}

/* One PMD in blocks, each mapped by PTEs; the pages have version 1. */
static int map_blocks(struct filemap *f, enum file_kind kind, size_t block, uint32_t *version)
{
	size_t off, thp;

	file_create(f, kind, 1);
	/* Those of a disk's files come with large writes, those of other memory with faults. */
	if (!file_on_disk(kind) && !f->mem)
		f->mem = file_map(f, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (off = 0; off < f->len; off += block) {
		if (f->mem)
			file_store(f->mem + off, off, block, 1);
		else
			file_write(f, off, block, 1);
	}
	file_settle(f);
	set_version(version, 0, pmd_pages, 1);
	thp = count_thp_pages(0, f->mem, f->len);
	if (thp == pmd_pages && !count_huge(0, f->mem, f->len))
		return 0;
	printf("# %zu of %zu pages are of large folios\n", thp, pmd_pages);
	return -EINVAL;
}

/* Each byte of each page. */
static int check(const struct filemap *f, const uint32_t *version)
{
	size_t n, first = 0;

	for (n = 1; n <= pmd_pages; n++) {
		if (n < pmd_pages && version[n] == version[first])
			continue;
		if (file_verify(f->mem + first * page_size, first * page_size,
				(n - first) * page_size, version[first]))
			return -EIO;
		first = n;
	}
	return 0;
}

static void rewrite(struct filemap *f, uint32_t *version, size_t n, uint32_t to)
{
	file_store(f->mem + n * page_size, n * page_size, page_size, to);
	version[n] = to;
}

enum change { NOTHING, PROTECT, DISCARD, WRITE, SHARE, UNREFERENCE, NR_CHANGES };

/* What unfolds the block of page @n, or parts of what it keeps for all of them. */
static int change(struct filemap *f, uint32_t *version, enum change how, size_t n)
{
	char *page = f->mem + n * page_size;
	pid_t child;

	switch (how) {
	case PROTECT:
		if (mprotect(page, page_size, PROT_READ))
			return -errno;
		if (kernel_write(page, 0) != -EFAULT || collapse(page, page_size) != -EINVAL)
			return -EBADE;
		return mprotect(page, page_size, PROT_READ | PROT_WRITE) ? -errno : 0;
	case DISCARD:
		if (madvise(page, page_size, MADV_DONTNEED))
			return -errno;
		if (f->fd < 0)
			version[n] = 0;
		return 0;
	case WRITE:
		rewrite(f, version, n, version[n] + 1);
		return 0;
	case SHARE:
		/* All are write-protected for a child; the one is broken off. */
		child = share_with_child();
		rewrite(f, version, n, version[n] + 1);
		child_end(child);
		return 0;
	case UNREFERENCE:
		if (knob_try("/proc/self/clear_refs", "1"))
			return -EACCES;
		(void)*(volatile char *)page;
		return 0;
	default:
		return 0;
	}
}

/* First and last of a block, of the first block, of the last, and in between. */
static size_t places(size_t *at, size_t per_block)
{
	const size_t block[] = { 0, 1, pmd_pages / per_block / 2, pmd_pages / per_block - 1 };
	size_t i, n = 0;

	for (i = 0; i < 4; i++) {
		at[n++] = block[i] * per_block + (i % 2 ? per_block - 1 : 0);
		at[n++] = block[i] * per_block + per_block / 2;
	}
	return n;
}

#define EXPECT_CONTENT() EXPECT_EQ(0, check(F, self->version))

#define ASSERT_BLOCKS() \
	ASSERT_EQ(0, map_blocks(F, variant->kind, self->block, self->version))

static void one_page(struct __test_metadata *_metadata, FIXTURE_DATA(contpte) *self,
		     const FIXTURE_VARIANT(contpte) *variant, enum change how)
{
	size_t at[8], i, nr = places(at, self->block / page_size);

	ASSERT_BLOCKS();
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, change(F, self->version, how, at[i])) TH_LOG("page %zu", at[i]);
	EXPECT_CONTENT();
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(1, count_huge(0, MEM, F->len));
	EXPECT_CONTENT();
	/* It is as good as any huge page: it takes writes and splits. */
	for (i = 0; i < nr; i++)
		rewrite(F, self->version, at[i], 77);
	if (IS_ANON)
		ASSERT_EQ(0, split_range(MEM));
	EXPECT_CONTENT();
	file_close(F);
}

TEST_F(contpte, whole) { one_page(_metadata, self, variant, NOTHING); }
TEST_F(contpte, one_page_protected) { one_page(_metadata, self, variant, PROTECT); }
TEST_F(contpte, one_page_discarded) { one_page(_metadata, self, variant, DISCARD); }
TEST_F(contpte, one_page_written) { one_page(_metadata, self, variant, WRITE); }
TEST_F(contpte, one_page_copied) { one_page(_metadata, self, variant, SHARE); }
TEST_F(contpte, one_page_referenced) { one_page(_metadata, self, variant, UNREFERENCE); }

/* A collapse that fails puts back what it found: the same pages, folded or not. */
TEST_F(contpte, put_back)
{
	struct page_info before, after;
	struct pin pin;
	size_t at[8], i, n, nr = places(at, self->block / page_size);
	uint64_t *pfn = calloc(pmd_pages, sizeof(*pfn));

	ASSERT_BLOCKS();
	for (i = 0; i < nr; i += 2)
		ASSERT_EQ(0, change(F, self->version, WRITE, at[i]));
	for (i = 0; i < nr; i++) {
		for (n = 0; n < pmd_pages; n++) {
			page_info(0, PAGE(n), &before);
			pfn[n] = before.pfn;
		}
		ASSERT_EQ(0, pin_vmsplice(&pin, PAGE(at[i])));
		EXPECT_EQ(-EAGAIN, collapse(MEM, F->len));
		EXPECT_EQ(0, count_huge(0, MEM, F->len));
		for (n = 0; n < pmd_pages; n++) {
			page_info(0, PAGE(n), &after);
			/* Of a file the PTEs may be gone: the next touch finds the page. */
			if (IS_ANON || (pfn[n] && after.pfn))
				ASSERT_EQ(pfn[n], after.pfn) TH_LOG("page %zu", n);
		}
		EXPECT_CONTENT();
		pin_release(&pin);
	}
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(1, count_huge(0, MEM, F->len));
	EXPECT_CONTENT();
	free(pfn);
	file_close(F);
}

/* The other door. */
TEST_F(contpte, daemon)
{
	char path[64];
	size_t at[8], i, nr = places(at, self->block / page_size);

	ASSERT_BLOCKS();
	for (i = 0; i < nr; i++)
		ASSERT_EQ(0, change(F, self->version, i % 2 ? PROTECT : DISCARD, at[i]));
	file_touch(MEM, F->len);
	EXPECT_CONTENT();
	snprintf(path, sizeof(path), "%s/enabled", thp_size_dir());
	knob_set(path, "inherit");
	if (IS_ANON)
		advise(MEM, F->len, MADV_HUGEPAGE);
	else
		file_advise(F);
	khugepaged_fast();
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, 1, LONG_MS));
	khugepaged_idle();
	EXPECT_CONTENT();
	file_close(F);
}

/* ---- stress ---- */

/* Writes to the odd pages for as long as it goes on. */
struct writer {
	char *mem;
	uint32_t *version;
	bool stop;
	unsigned long writes;
};

static void *write_odd(void *arg)
{
	struct writer *w = arg;
	unsigned int seed = 1;
	size_t n;

	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		n = (rand_r(&seed) % (pmd_pages / 2)) * 2 + 1;
		file_store(w->mem + n * page_size, n * page_size, page_size, ++w->version[n]);
		w->writes++;
	}
	return NULL;
}

/* Even pages are changed in every way while odd ones are written to and all is collapsed. */
TEST_F(contpte, stress)
{
	unsigned int seed = 7, collapsed = 0, refused = 0;
	unsigned long writes = 0;
	size_t round, i;

	for (round = 0; round < ROUNDS; round++) {
		struct writer w = { .version = self->version };
		pthread_t thread;

		ASSERT_BLOCKS();
		w.mem = MEM;
		ASSERT_EQ(0, pthread_create(&thread, NULL, write_odd, &w));
		for (i = 0; i < 12; i++) {
			size_t n = rand_r(&seed) % (pmd_pages / 2) * 2;
			enum change how = rand_r(&seed) % NR_CHANGES;
			int err;

			ASSERT_EQ(0, change(F, self->version, how, n)) TH_LOG("change %d", how);
			if (rand_r(&seed) % 3)
				continue;
			/* Its writer dirties a file again at once. */
			err = collapse(MEM, F->len);
			collapsed += !err;
			refused += err == -EAGAIN || err == -EINVAL;
			ASSERT_TRUE(!err || err == -EAGAIN || err == -EINVAL) TH_LOG("error %d", err);
		}
		__atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
		pthread_join(thread, NULL);
		writes += w.writes;
		ASSERT_EQ(0, check(F, self->version)) TH_LOG("round %zu", round);
		ASSERT_EQ(0, collapse_settled(MEM, F->len));
		ASSERT_EQ(1, count_huge(0, MEM, F->len));
		ASSERT_EQ(0, check(F, self->version)) TH_LOG("round %zu, collapsed", round);
		file_close(F);
	}
	TH_LOG("%u collapses and %u refusals under way, %lu pages written meanwhile", collapsed, refused, writes);
	EXPECT_LT(0, writes);
}

COLLAPSE_HARNESS_MAIN
