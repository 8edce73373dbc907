// SPDX-License-Identifier: GPL-2.0
/*
 * Memory tags (MTE, arm64 only): a collapse takes the tag of each 16 bytes
 * along with them, and what was never there has none.
 */
#include "harness.h"

#ifdef __aarch64__
#include <sys/auxv.h>
#include <sys/prctl.h>

#ifndef PROT_MTE
#define PROT_MTE 0x20
#endif
#ifndef HWCAP2_MTE
#define HWCAP2_MTE (1 << 18)
#endif
#define GRANULE 16

static void tag_set(char *p, unsigned int tag)
{
	uintptr_t tagged = (uintptr_t)p | (uintptr_t)tag << 56;

	asm volatile(".arch_extension memtag\n\tstg %0, [%0]" : : "r"(tagged) : "memory");
}

static unsigned int tag_get(const char *p)
{
	uintptr_t at = (uintptr_t)p;

	asm volatile(".arch_extension memtag\n\tldg %0, [%0]" : "+r"(at) : : "memory");
	return at >> 56 & 15;
}

/* Neighbours differ, also where pages are exchanged. */
static unsigned int tag_of(size_t page, bool last)
{
	return (page * 7 + last) % 15 + 1;
}

/* Of a page's granules the first and the last: QEMU before 8.0 keeps no more than an even and an odd one apart. */
static void tag_page(char *mem, size_t page)
{
	char *p = mem + page * page_size;

	tag_set(p, tag_of(page, false));
	tag_set(p + page_size - GRANULE, tag_of(page, true));
}

static int tags_wrong(const char *mem, size_t page, bool there)
{
	const char *p = mem + page * page_size;
	unsigned int first = tag_get(p), last = tag_get(p + page_size - GRANULE);

	if (first == (there ? tag_of(page, false) : 0) && last == (there ? tag_of(page, true) : 0))
		return 0;
	printf("# page %zu: tags %u and %u\n", page, first, last);
	return -1;
}

/* Whether an access faults unless its pointer has the memory's tag. */
static int compare_tags(bool yes)
{
	unsigned long how = yes ? PR_MTE_TCF_SYNC : PR_MTE_TCF_NONE;

	return prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE | how | 0xfffeul << PR_MTE_TAG_SHIFT, 0, 0, 0);
}

FIXTURE(tags) {
	char *mem;
};

FIXTURE_VARIANT(tags) {
	bool shared;
	size_t step;		/* pages that are there */
};

FIXTURE_VARIANT_ADD(tags, anon) { .step = 1 };
FIXTURE_VARIANT_ADD(tags, anon_with_holes) { .step = 2 };
FIXTURE_VARIANT_ADD(tags, memfd) { .shared = true, .step = 1 };
FIXTURE_VARIANT_ADD(tags, memfd_with_holes) { .shared = true, .step = 2 };

#define MEM (self->mem)
#define STEP (variant->step)

FIXTURE_SETUP(tags)
{
	struct filemap f;
	size_t n;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_MTE))
		SKIP(return, "this processor model has no memory tags");
	if (variant->shared && file_kind_missing(MEMFD))
		SKIP(return, "%s", file_kind_missing(MEMFD));
	knobs_baseline();
	ASSERT_EQ(0, compare_tags(false));
	if (variant->shared) {
		file_create(&f, MEMFD, 1);
		MEM = file_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
	} else {
		MEM = region_map(1);
	}
	ASSERT_EQ(0, mprotect(MEM, pmd_size, PROT_READ | PROT_WRITE | PROT_MTE));
	for (n = 0; n < pmd_pages; n += STEP) {
		fill(MEM + n * page_size, page_size, 1);
		tag_page(MEM, n);
	}
	ASSERT_EQ(0, count_huge(0, MEM, pmd_size));
}

FIXTURE_TEARDOWN(tags)
{
}

#define EXPECT_TAGS() do {							\
	ASSERT_EQ(0, compare_tags(true));					\
	for (size_t n_ = 0; n_ < pmd_pages; n_ += STEP) {			\
		char *p_ = (char *)((uintptr_t)(MEM + n_ * page_size) |		\
				    (uintptr_t)tag_of(n_, false) << 56);	\
		ASSERT_EQ(0, tags_wrong(MEM, n_, true));			\
		ASSERT_EQ(pattern_word(MEM + n_ * page_size, 1), *(volatile uint64_t *)p_); \
	}									\
	ASSERT_EQ(0, compare_tags(false));					\
} while (0)

TEST_F(tags, collapse)
{
	size_t n;

	EXPECT_TAGS();
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));
	EXPECT_TAGS();
	for (n = 1; STEP > 1 && n < pmd_pages; n += STEP) {
		ASSERT_EQ(0, tags_wrong(MEM, n, false));
		ASSERT_EQ(0, verify_zero(MEM + n * page_size, page_size));
	}
	/* And by PTEs again. */
	if (!variant->shared)
		ASSERT_EQ(0, split_range(MEM));
	EXPECT_TAGS();
}

TEST_F(tags, daemon)
{
	struct filemap f = { .kind = MEMFD, .mem = MEM, .len = pmd_size, .nr_pmds = 1 };

	if (variant->shared)
		file_advise(&f);
	else
		advise(MEM, pmd_size, MADV_HUGEPAGE);
	khugepaged_fast();
	EXPECT_EQ(0, file_wait_huge(MEM, pmd_size, 1, LONG_MS));
	khugepaged_idle();
	EXPECT_TAGS();
}

TEST_F(tags, failed_collapse)
{
	struct pin pin;

	ASSERT_EQ(0, pin_vmsplice(&pin, MEM + pmd_size / 2));
	EXPECT_EQ(-EAGAIN, collapse(MEM, pmd_size));
	EXPECT_TAGS();
	pin_release(&pin);
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_TAGS();
}

/* Out to swap as a huge page, and back as small ones. */
TEST_F(tags, swap)
{
	ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
	ASSERT_EQ(0, collapse_settled(MEM, pmd_size));
	ASSERT_EQ(0, page_out_gone(MEM, pmd_size));
	EXPECT_TAGS();
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_TAGS();
}

int main(int argc, char **argv)
{
	return harness_run_swapping(argc, argv, 64);
}
#else
int main(void)
{
	printf("1..0 # SKIP arm64 has memory tags\n");
	return 4;
}
#endif
