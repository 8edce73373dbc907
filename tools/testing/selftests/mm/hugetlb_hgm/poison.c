// SPDX-License-Identifier: GPL-2.0
/* hwpoison: a broken page stays broken for each of its small mappings, and nobody else's page is. */
#include "harness.h"

#define NR 3

#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

FIXTURE(hgm) {
	struct arena a;
	uint64_t pfn;		/* that was poisoned */
};

/* Where the error is: in the head, in a tail (R10), and where the guest has nothing mapped. */
FIXTURE_VARIANT(hgm) {
	size_t small;
	bool mapped;
};

FIXTURE_VARIANT_ADD(hgm, head) { .small = 0, .mapped = true };
FIXTURE_VARIANT_ADD(hgm, tail) { .small = 5, .mapped = true };
FIXTURE_VARIANT_ADD(hgm, hole) { .small = SMALLS - 1, .mapped = false };

FIXTURE_SETUP(hgm)
{
	if (access(UNPOISON, W_OK))
		SKIP(return, "no " UNPOISON ", without which the page would be lost");
	arena_open(&self->a, NR);
	fill(self->a.source, 0, self->a.len, 1);
	must(arena_hgm(&self->a, UFFD_FEATURE_SIGBUS, 0), "registration");
}

/* It is the head that bears the mark, whichever small page is broken. */
static void unpoison(uint64_t pfn)
{
	FILE *f = fopen(UNPOISON, "w");

	if (!f)
		return;
	fprintf(f, "%#llx\n", (unsigned long long)(pfn & ~(SMALLS - 1)));
	fclose(f);
}

FIXTURE_TEARDOWN(hgm)
{
	if (!self->a.len)
		return;
	arena_close(&self->a);
	/* Whoever poisoned it holds it; and without this nobody could have it any more. */
	if (self->pfn)
		unpoison(self->pfn);
	EXPECT_EQ(0, arena_check(&self->a));
}

#define LAST (SMALLS - 1)

/* The first page all but its last 4K, the second in small pages, the third in one. */
static void layout(struct arena *a)
{
	size_t off = 0, len;

	for (len = HUGE / 2; len >= SMALL; off += len, len /= 2)
		must(arena_continue(a, off, len), "part of the first page");
	must(arena_continue_small(a, HUGE, HUGE), "second page");
	must(arena_continue(a, 2 * HUGE, HUGE), "third page");
}

/* Poisons that small page of the first huge one by way of a mapping that has it. */
static int inject(FIXTURE_DATA(hgm) *self, size_t small, bool mapped)
{
	char *at = (mapped ? self->a.guest : self->a.source) + small * SMALL;

	self->pfn = pfn_of(at);
	return madvise(at, SMALL, MADV_HWPOISON) ? -errno : 0;
}

static int is_poisoned(char *addr)
{
	struct touch t;

	if (touch_read(addr, &t) != SIGBUS || t.code != BUS_MCEERR_AR || t.addr != addr)
		return wrong("small page %zu, signal %d, code %d, at %p instead of %p", (uintptr_t)addr / SMALL % SMALLS,
			     t.signal, t.code, t.addr, addr);
	return 0;
}

TEST_F(hgm, every_small_page_says_so)
{
	struct arena *a = &self->a;
	uint64_t e[SMALLS];
	int64_t mapped;
	size_t i;

	layout(a);
	/* No reference is left behind (R16), else it would be a failure. */
	EXPECT_EQ(0, inject(self, variant->small, variant->mapped));
	/* Who injects is told at once. */
	EXPECT_LT(0, touch_stray());
	for (i = 0; i < SMALLS; i++)
		ASSERT_EQ(0, is_poisoned(a->guest + i * SMALL + i));
	ASSERT_EQ(0, is_poisoned(a->source + LAST * SMALL));
	pagemap(0, a->guest, SMALLS, e);
	for (i = 0; i < SMALLS; i++)
		ASSERT_FALSE(e[i] & PM_PRESENT);
	/* Those who look are not confused by it. */
	EXPECT_LT(0, read_all("/proc/self/smaps"));
	EXPECT_LT(0, read_all("/proc/self/numa_maps"));

	/* What was mapped is taken, if the page is not found broken before; what was not cannot be mapped any more. */
	i = -uffd_continue(a->uffd, a->guest, SMALL, &mapped);
	EXPECT_TRUE(i == EEXIST || i == EIO) TH_LOG("CONTINUE of a broken page that is mapped: %s", strerror(i));
	EXPECT_EQ(-(int64_t)i, mapped);
	EXPECT_EQ(-EIO, uffd_continue(a->uffd, a->guest + LAST * SMALL, SMALL, &mapped));
	/* The neighbours live. */
	EXPECT_EQ(0, verify(a->guest + HUGE, HUGE, 2 * HUGE, 1));
}

TEST_F(hgm, collapse_leaves_it_and_does_the_rest)
{
	struct arena *a = &self->a;
	size_t i;

	layout(a);
	EXPECT_EQ(0, inject(self, variant->small, variant->mapped));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	/* Not forgotten although the others succeed after it. */
	EXPECT_EQ(-EHWPOISON, collapse_settled(a->guest, a->len));
	EXPECT_EQ(2 * KB(HUGE), pmd_kb(a));
	EXPECT_EQ(-EHWPOISON, collapse_settled(a->guest, HUGE));
	EXPECT_EQ(0, collapse_settled(a->guest + HUGE, 2 * HUGE));
	for (i = 0; i < SMALLS; i += 73)
		EXPECT_EQ(0, is_poisoned(a->guest + i * SMALL + 9));
	EXPECT_EQ(0, is_poisoned(a->guest + LAST * SMALL));
	EXPECT_EQ(0, verify(a->guest + HUGE, HUGE, 2 * HUGE, 1));
}

/* A huge mapping and small ones of the same page, in two processes. */
static int child_sees_it(void *arg)
{
	struct arena *a = arg;

	return is_poisoned(a->guest + LAST * SMALL) || is_poisoned(a->guest + 3);
}

TEST_F(hgm, whoever_maps_it)
{
	struct arena *a = &self->a;
	char *other = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	int fd = uffd_open(HGM_FEATURES | UFFD_FEATURE_SIGBUS);

	layout(a);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, uffd_register(fd, other, a->len, UFFDIO_REGISTER_MODE_MINOR));
	ASSERT_EQ(0, uffd_continue(fd, other, HUGE, NULL));
	EXPECT_EQ(0, inject(self, variant->small, variant->mapped));
	EXPECT_EQ(0, is_poisoned(other + 4 * SMALL));
	EXPECT_EQ(0, is_poisoned(a->guest + 4 * SMALL));
	EXPECT_EQ(0, in_child(child_sees_it, a));
	munmap(other, a->len);
	close(fd);
}

/* Changes of the mapping carry it along; what is cut off is gone. */
TEST_F(hgm, it_can_be_moved_and_cut_off)
{
	struct arena *a = &self->a;
	char *place = mmap(NULL, a->len + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	munmap(place, a->len + HUGE);
	place = (char *)(((uintptr_t)place + HUGE - 1) & ~(HUGE - 1));
	layout(a);
	EXPECT_EQ(0, inject(self, variant->small, variant->mapped));
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ));
	EXPECT_EQ(0, is_poisoned(a->guest + 3 * SMALL));
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ | PROT_WRITE));
	ASSERT_EQ(place, mremap(a->guest, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	a->guest = place;
	EXPECT_EQ(0, is_poisoned(place + 3 * SMALL));
	EXPECT_EQ(0, is_poisoned(place + LAST * SMALL));
	EXPECT_EQ(0, verify(place + HUGE, HUGE, HUGE, 1));
	ASSERT_EQ(0, fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE));
	/* A healthy page. */
	EXPECT_EQ(0, verify(a->guest, 0, HUGE, 0));
	EXPECT_EQ(0, verify(a->source, 0, HUGE, 0));
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
}

HGM_HARNESS_MAIN
