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

/*
 * Truncation passes over a mapping whose lock somebody has, and comes back for it only if the page is still mapped.
 * Entries for failed memory are no mappings, so they can outlive the page, and must not count from then on.
 */
#define WAYS 4

struct stale {
	FIXTURE_DATA(hgm) *self;
	const FIXTURE_VARIANT(hgm) *variant;
	struct crew c;
	long rounds, left[WAYS];
};

/* Has the lock of the VMA, for read, for most of the time. */
static void *look_thread(void *arg)
{
	struct stale *s = arg;
	uint64_t e[NR * SMALLS];

	while (crew_on(&s->c))
		pagemap(0, s->self->a.guest, NR * SMALLS, e);
	return NULL;
}

#define MAPPED_FIRST	8

/* What the round finds out: 0, or what is wrong. */
static const char *after_the_punch(struct arena *a, int way)
{
	char *mapped = a->guest + SMALL, *hole = a->guest + LAST * SMALL;
	struct touch t;

	if (way == 3) {
		static char page[HUGE] __attribute__((aligned(SMALL)));

		fill(page, 0, HUGE, 3);
		return uffd_copy(a->uffd, a->guest, page, HUGE) || verify(a->guest, 0, HUGE, 3) ? "no copy" : NULL;
	}
	if (way == 2) {
		/* Another page of the file, and its owner is asked for each part, as for any. */
		fill(a->source, 0, HUGE, 2);
		if (touch_read(mapped, &t) != SIGBUS || t.code == BUS_MCEERR_AR)
			return "a part that had failed is not missing";
		if (arena_continue(a, 0, SMALL) || verify_small(a, 0, 2))
			return "a part of the new page cannot be mapped";
		return NULL;
	}
	/* The file has nothing there: zeroes. */
	if (touch_read(way ? mapped : hole, &t) || t.byte || verify(a->guest, 0, HUGE, 0))
		return way ? "what had failed is not empty" : "the hole is not empty";
	return NULL;
}

static bool left_each_way(const struct stale *s)
{
	int way;

	for (way = 0; way < WAYS && s->left[way]; way++)
		;
	return way == WAYS;
}

static void *poison_thread(void *arg)
{
	struct stale *s = arg;
	struct arena *a = &s->self->a;
	const char *what;
	unsigned char there;
	int way;

	while (crew_on(&s->c) && !left_each_way(s)) {
		way = s->rounds % WAYS;
		must(arena_continue_small(a, 0, MAPPED_FIRST * SMALL), "first parts");
		must(inject(s->self, s->variant->small, s->variant->mapped), "MADV_HWPOISON");
		if (fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE))
			crew_fail(&s->c, "hole: %s", strerror(errno));
		unpoison(s->self->pfn);
		s->self->pfn = 0;
		/* It tells whether there is an entry of whatever kind. */
		must(mincore(a->guest + SMALL, SMALL, &there) ? -errno : 0, "mincore");
		s->left[way] += there & 1;
		what = after_the_punch(a, way);
		if (what)
			crew_fail(&s->c, "round %ld: %s", s->rounds, what);
		must(madvise(a->guest, HUGE, MADV_DONTNEED) ? -errno : 0, "MADV_DONTNEED");
		fill(a->source, 0, HUGE, 1);
		count_up(s->rounds);
	}
	__atomic_store_n(&s->c.stop, true, __ATOMIC_SEQ_CST);
	return NULL;
}

TEST_F(hgm, entries_outlive_the_page)
{
	struct stale s = { .self = self, .variant = variant, .c.progress = &s.rounds };

	crew_add(&s.c, look_thread, &s);
	crew_add(&s.c, look_thread, &s);
	crew_add(&s.c, poison_thread, &s);
	/* No EXPECT: a test that skips has not failed. */
	ASSERT_EQ(0, crew_run(&s.c, LONG_MS));
	if (!left_each_way(&s))
		SKIP(return, "nobody had the lock when it mattered");
}

HGM_HARNESS_MAIN
