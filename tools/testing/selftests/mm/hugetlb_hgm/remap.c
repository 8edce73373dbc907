// SPDX-License-Identifier: GPL-2.0
/* The mapping moves, is inherited, ends: mremap(), fork(), munmap(), exit, the end of userfaultfd. */
#include "half.h"

FIXTURE(hgm) {
	struct arena a;
};

FIXTURE_SETUP(hgm)
{
	arena_open(&self->a, NR);
	fill(self->a.source, 0, self->a.len, 1);
}

FIXTURE_TEARDOWN(hgm)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

/* ---- mremap() ---- */

static char *free_place(size_t len)
{
	char *at = mmap(NULL, len + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	munmap(at, len + HUGE);
	return (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
}

/* Where the page tables of the next level are others, with a lock of their own. */
static char *far_place(const char *from, size_t len)
{
	char *at = free_place(len + (1UL << 30));

	return (uintptr_t)at >> 30 == (uintptr_t)from >> 30 ? at + (1UL << 30) : at;
}

TEST_F(hgm, mremap_away_and_back)
{
	struct arena *a = &self->a;
	char *home = a->guest, *place, *far;

	half_split(a, 0);
	place = free_place(a->len);
	ASSERT_EQ(place, mremap(home, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	a->guest = place;
	EXPECT_TRUE(smaps_flag(0, place, "hm"));
	EXPECT_EQ(ALL, LEAVES());
	EXPECT_EQ(KB(HUGE / 2) + 4, pte_kb(a));
	EXPECT_EQ(0, verify(a->guest, 0, HUGE / 2, 1));
	EXPECT_EQ(ALL, allowed(a, true));
	far = far_place(place, a->len);
	ASSERT_EQ(far, mremap(place, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, far));
	a->guest = far;
	EXPECT_EQ(ALL, LEAVES());
	EXPECT_EQ(0, verify(a->guest, 0, HUGE / 2, 1));
	ASSERT_EQ(home, mremap(far, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, home));
	a->guest = home;
	EXPECT_EQ(ALL, LEAVES());
	EXPECT_EQ(KB(HUGE / 2) + 4, pte_kb(a));
	/* Not watched any more: the holes fill themselves, then it can be collapsed. */
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(KB(2 * a->len), hugetlb_kb());
}

/* R17: one of two huge pages moves, all of it and nothing else; then over one that is mapped already. */
TEST_F(hgm, mremap_of_one)
{
	struct arena *a = &self->a;
	char *place;

	half_split(a, 0);
	place = free_place(HUGE);
	ASSERT_EQ(place, mremap(a->guest, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	EXPECT_EQ((long)PART, mapped_smalls(0, place, HUGE));
	EXPECT_EQ((long)SMALLS, mapped_smalls(0, a->guest + HUGE, HUGE));
	EXPECT_EQ(0, verify(place, 0, HUGE / 2, 1));
	EXPECT_EQ(place, mmap(place, HUGE, PROT_READ, MAP_SHARED | MAP_FIXED, a->fd, 0));
	EXPECT_FALSE(smaps_flag(0, place, "hm"));
	munmap(place, HUGE);
	/* The other one onto its neighbour's former place. */
	ASSERT_EQ(a->guest, mremap(a->guest + HUGE, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, a->guest));
	EXPECT_EQ(0, verify(a->guest, HUGE, HUGE, 1));
	munmap(a->guest, HUGE);
	a->guest = NULL;
}

/* The old range stays and is empty; as huge pages may not be extended, it may be refused as a whole. */
TEST_F(hgm, mremap_dontunmap)
{
	struct arena *a = &self->a;
	char *place;

	half_split(a, 0);
	place = mremap(a->guest, a->len, a->len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (place == MAP_FAILED) {
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(ALL, LEAVES());
		EXPECT_EQ(0, verify(a->guest, 0, HUGE / 2, 1));
		return;
	}
	EXPECT_EQ(0, LEAVES());
	EXPECT_EQ((long)ALL, mapped_smalls(0, place, a->len));
	EXPECT_EQ(0, verify(place, 0, HUGE / 2, 1));
	munmap(place, a->len);
}

struct remap_event {
	struct arena *a;
	struct uffd_msg msg;
	int err;
};

static void *take_event(void *arg)
{
	struct remap_event *e = arg;

	e->err = uffd_message(e->a->uffd, &e->msg, LONG_MS);
	return NULL;
}

TEST_F(hgm, mremap_that_is_told)
{
	struct arena *a = &self->a;
	struct remap_event e = { .a = a };
	char *home = a->guest, *place;
	pthread_t t;

	half_split(a, UFFD_FEATURE_EVENT_REMAP);
	ASSERT_EQ(0, pthread_create(&t, NULL, take_event, &e));
	/* Not where the thread has its stack. */
	place = free_place(a->len);
	ASSERT_EQ(place, mremap(home, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	pthread_join(t, NULL);
	a->guest = place;
	EXPECT_EQ(0, e.err);
	EXPECT_EQ(UFFD_EVENT_REMAP, e.msg.event);
	EXPECT_EQ((uintptr_t)home, e.msg.arg.remap.from);
	EXPECT_EQ((uintptr_t)place, e.msg.arg.remap.to);
	EXPECT_EQ(a->len, e.msg.arg.remap.len);
	/* It is still watched there. */
	EXPECT_EQ(0, arena_continue(a, HUGE / 2, SMALL));
	EXPECT_EQ(-EEXIST, arena_continue(a, 0, SMALL));
	EXPECT_EQ(ALL + 1, LEAVES());
}

/* ---- fork() and exit ---- */

static int look_around(void *arg)
{
	struct arena *a = arg;
	int err = 0;

	/* Not watched here, so that each fault takes what the file has. */
	err |= verify(a->guest, 0, a->len, 1);
	err |= mapped_smalls(0, a->guest, a->len) != 2 * SMALLS;
	a->guest[HUGE / 2 + 1] ^= 0xff;
	err |= collapse_settled(a->guest, a->len);
	err |= verify(a->guest, 0, HUGE / 2, 1);
	err |= mprotect(a->guest, a->len, PROT_NONE);
	err |= munmap(a->guest, HUGE);
	return err ? 1 : 0;
}

TEST_F(hgm, a_child_goes_its_own_way)
{
	struct arena *a = &self->a;

	half_split(a, 0);
	EXPECT_EQ(0, in_child(look_around, a));
	EXPECT_EQ(ALL, LEAVES());
	EXPECT_EQ(ALL, allowed(a, true));
	a->source[HUGE / 2 + 1] ^= 0xff;
	EXPECT_EQ(0, verify(a->source, 0, a->len, 1));
	/* Here it is watched still. */
	EXPECT_EQ(0, arena_continue(a, HUGE / 2, SMALL));
	EXPECT_EQ(0, verify_small(a, SMALLS / 2, 1));
}

static int leave_everything(void *arg)
{
	struct arena *a = arg, own = *a;
	int fd = uffd_open(HGM_FEATURES);

	own.guest = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	own.uffd = fd;
	if (fd < 0 || uffd_register(fd, own.guest, own.len, UFFDIO_REGISTER_MODE_MINOR))
		return 1;
	if (arena_continue(&own, 0, HUGE / 2) || arena_continue(&own, HUGE + 5 * SMALL, SMALL))
		return 1;
	return 0;
}

static int killed(void *arg)
{
	if (leave_everything(arg))
		return 1;
	kill(getpid(), SIGKILL);
	return 1;
}

/* Nothing is left of it: see the teardown, and the kernel's own complaints. */
TEST_F(hgm, exit_with_half_of_it)
{
	EXPECT_EQ(0, in_child(leave_everything, &self->a));
	EXPECT_EQ(256 + SIGKILL, in_child(killed, &self->a));
	EXPECT_EQ(KB(self->a.len), hugetlb_kb());
	EXPECT_EQ(1, mapcount_of(self->a.source));
	EXPECT_EQ(0, verify(self->a.source, 0, self->a.len, 1));
}

TEST_F(hgm, munmap_with_half_of_it)
{
	struct arena *a = &self->a;

	half_split(a, 0);
	EXPECT_EQ(0, munmap(a->guest, HUGE));
	EXPECT_EQ(1, mapcount_of(a->source));
	EXPECT_EQ(KB(a->len + HUGE), hugetlb_kb());
	EXPECT_EQ(0, verify(a->guest + HUGE, HUGE, HUGE, 1));
	EXPECT_EQ(0, munmap(a->guest + HUGE, HUGE));
	EXPECT_EQ(KB(a->len), hugetlb_kb());
	a->guest = NULL;
}

TEST_F(hgm, the_end_of_userfaultfd)
{
	struct arena *a = &self->a;
	struct uffd_msg msg;
	struct waiter w;

	must(arena_hgm(a, 0, 0), "registration");
	ASSERT_EQ(0, arena_continue_small(a, 0, 5 * SMALL));
	waiter_start(&w, a->guest + 7 * SMALL, false);
	ASSERT_EQ(0, uffd_message(a->uffd, &msg, LONG_MS));
	close(a->uffd);
	a->uffd = -1;
	/* He looks again and finds the file's page. */
	waiter_end(&w);
	EXPECT_EQ(0, w.t.signal);
	EXPECT_EQ((unsigned char)a->source[7 * SMALL], w.t.byte);
	EXPECT_EQ(6, LEAVES());
	EXPECT_TRUE(smaps_flag(0, a->guest, "hm"));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
	/* The first is split for ever, the second was never. */
	EXPECT_EQ(KB(HUGE), pte_kb(a));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
}

/* One table for each split page, and none when it is gone. */
TEST_F(hgm, tables_are_given_back)
{
	struct arena big;
	long tables, before;
	size_t i;

	arena_open(&big, 10);
	must(arena_hgm(&big, UFFD_FEATURE_SIGBUS, 0), "registration");
	for (i = 0; i < big.nr; i++)
		fill(big.source + i * HUGE, i * HUGE, SMALL, 1);
	/* The tables above are there before the count. */
	ASSERT_EQ(0, arena_continue(&big, 0, HUGE));
	before = tables_kb();
	for (i = 1; i < big.nr; i++)
		ASSERT_EQ(0, arena_continue(&big, i * HUGE, SMALL));
	tables = tables_kb();
	EXPECT_LE(before + 4 * 9, tables);
	ASSERT_EQ(0, collapse_settled(big.guest, 4 * HUGE));
	EXPECT_GE(tables - 4 * 3, tables_kb());
	ASSERT_EQ(0, madvise(big.guest, 7 * HUGE, MADV_DONTNEED));
	EXPECT_GE(tables - 4 * 6, tables_kb());
	ASSERT_EQ(0, munmap(big.guest, big.len));
	EXPECT_GE(before, tables_kb());
	big.guest = NULL;
	arena_close(&big);
	EXPECT_EQ(0, pool_check(&big.before));
}

HGM_HARNESS_MAIN
