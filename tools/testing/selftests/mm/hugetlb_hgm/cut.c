// SPDX-License-Identifier: GPL-2.0
/* The file loses pages, or the mapping does: they are really gone, and the place is as good as new. */
#include "harness.h"

#define NR 3

FIXTURE(hgm) {
	struct arena a;
};

enum means { TRUNCATE, PUNCH, REMOVE, DONTNEED };

FIXTURE_VARIANT(hgm) {
	enum means how;
};

FIXTURE_VARIANT_ADD(hgm, ftruncate) { .how = TRUNCATE };
FIXTURE_VARIANT_ADD(hgm, punch_hole) { .how = PUNCH };
FIXTURE_VARIANT_ADD(hgm, madv_remove) { .how = REMOVE };
FIXTURE_VARIANT_ADD(hgm, madv_dontneed) { .how = DONTNEED };

FIXTURE_SETUP(hgm)
{
	arena_open(&self->a, NR);
	fill(self->a.source, 0, self->a.len, 1);
	must(arena_hgm(&self->a, UFFD_FEATURE_SIGBUS, UFFDIO_REGISTER_MODE_MISSING), "registration");
}

FIXTURE_TEARDOWN(hgm)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

/* Cuts off the last @n huge pages; a file that was made shorter has its old length afterwards. */
static int cut(struct arena *a, enum means how, size_t n)
{
	size_t off = a->len - n * HUGE;
	int err = 0;

	switch (how) {
	case TRUNCATE:
		err = ftruncate(a->fd, off) ? -errno : 0;
		/* What is beyond the end is not there for anybody. */
		if (!err && arena_continue(a, off, SMALL) != -EFAULT)
			err = -EIO;
		if (ftruncate(a->fd, a->len))
			err = -errno;
		break;
	case PUNCH:
		err = fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, n * HUGE) ? -errno : 0;
		break;
	case REMOVE:
		err = madvise(a->guest + off, n * HUGE, MADV_REMOVE) ? -errno : 0;
		break;
	case DONTNEED:
		err = madvise(a->guest + off, n * HUGE, MADV_DONTNEED) ? -errno : 0;
		break;
	}
	return err;
}

TEST_F(hgm, pages_are_gone)
{
	struct arena *a = &self->a;
	bool of_file = variant->how != DONTNEED;
	static char page[HUGE] __attribute__((aligned(4096)));
	struct touch t;
	struct pool now;
	char *other;

	/* One stays, one is split in part, one in whole. */
	ASSERT_EQ(0, arena_continue_small(a, 0, 10 * SMALL));
	ASSERT_EQ(0, arena_continue_small(a, HUGE + 7 * SMALL, 10 * SMALL));
	ASSERT_EQ(0, arena_continue_small(a, 2 * HUGE, HUGE));
	ASSERT_EQ(0, cut(a, variant->how, 2));
	EXPECT_EQ(10, mapped_smalls(0, a->guest, a->len));
	EXPECT_EQ(40, pte_kb(a));
	EXPECT_EQ(0, verify(a->guest, 0, 10 * SMALL, 1));
	EXPECT_EQ((of_file ? KB(HUGE) : KB(a->len)) + 40, hugetlb_kb());
	pool_read(&now);
	/* R16: freed neither too early nor never. */
	EXPECT_EQ(a->before.free - (of_file ? 1 : 3), now.free);
	EXPECT_EQ(SIGBUS, touch_read(a->guest + HUGE + 7 * SMALL, &t));
	EXPECT_EQ(SIGBUS, touch_read(a->guest + 3 * HUGE - SMALL, &t));

	other = arena_map(a, PROT_READ, MAP_SHARED);
	if (of_file) {
		EXPECT_EQ(-EFAULT, arena_continue(a, HUGE + 7 * SMALL, SMALL));
		EXPECT_EQ(-EFAULT, arena_continue(a, 2 * HUGE, HUGE));
		/* I5: a table that may be left over is no page: the place can be filled in whole. */
		fill(page, HUGE, HUGE, 2);
		EXPECT_EQ(0, uffd_copy(a->uffd, a->guest + HUGE, page, HUGE));
		EXPECT_EQ(0, verify(a->guest + HUGE, HUGE, HUGE, 2));
		EXPECT_EQ(0, verify(other + HUGE, HUGE, HUGE, 2));
		EXPECT_EQ(0, verify(other + 2 * HUGE, 2 * HUGE, HUGE, 0));
		EXPECT_EQ(0, arena_continue(a, 2 * HUGE, HUGE));
		EXPECT_EQ(0, verify(a->guest + 2 * HUGE, 2 * HUGE, HUGE, 0));
	} else {
		EXPECT_EQ(0, arena_continue(a, HUGE, 2 * HUGE));
		EXPECT_EQ(0, verify(a->guest + HUGE, HUGE, 2 * HUGE, 1));
		EXPECT_EQ(0, verify(other, 0, a->len, 1));
	}
	EXPECT_EQ((long)(2 * SMALLS), mapped_smalls(0, a->guest + HUGE, 2 * HUGE));
	munmap(other, a->len);
}

/* The same when they were huge before, and after a collapse. */
TEST_F(hgm, collapsed_pages_are_gone)
{
	struct arena *a = &self->a;
	struct pool now;

	ASSERT_EQ(0, arena_continue_small(a, HUGE, 2 * HUGE));
	ASSERT_EQ(0, collapse_settled(a->guest, a->len));
	ASSERT_EQ(0, cut(a, variant->how, 2));
	EXPECT_EQ(0, mapped_smalls(0, a->guest, a->len));
	EXPECT_EQ(0, pmd_kb(a) + pte_kb(a));
	pool_read(&now);
	EXPECT_EQ(a->before.free - (variant->how == DONTNEED ? 3 : 1), now.free);
	fill(a->source + HUGE, HUGE, HUGE, 3);
	EXPECT_EQ(0, arena_continue(a, HUGE, SMALL));
	EXPECT_EQ(0, verify_small(a, SMALLS, 3));
}

FIXTURE(part) {
	struct arena a;
};

FIXTURE_SETUP(part)
{
	arena_open(&self->a, NR);
	fill(self->a.source, 0, self->a.len, 1);
	must(arena_hgm(&self->a, 0, 0), "registration");
}

FIXTURE_TEARDOWN(part)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

/* Less than a huge page of the file is only cleared; nothing is unmapped for it. */
TEST_F(part, less_than_a_page_is_cleared)
{
	struct arena *a = &self->a;

	ASSERT_EQ(0, arena_continue_small(a, 0, 10 * SMALL));
	ASSERT_EQ(0, fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * SMALL, 2 * SMALL));
	EXPECT_EQ(10, mapped_smalls(0, a->guest, a->len));
	EXPECT_EQ(0, verify(a->guest, 0, 3 * SMALL, 1));
	EXPECT_EQ(0, verify(a->guest + 3 * SMALL, 3 * SMALL, 2 * SMALL, 0));
	EXPECT_EQ(0, verify(a->guest + 5 * SMALL, 5 * SMALL, 5 * SMALL, 1));
	EXPECT_EQ(0, verify(a->source + 5 * SMALL, 5 * SMALL, HUGE - 5 * SMALL, 1));
}

/* A child's mapping that nobody here can see is cut as well. */
static int look_until_cut(void *arg)
{
	struct arena *a = arg;
	int fd = uffd_open(HGM_FEATURES | UFFD_FEATURE_SIGBUS);

	/* Split here, too; what is read afterwards is new. */
	if (fd < 0 || uffd_register(fd, a->guest, a->len, UFFDIO_REGISTER_MODE_MINOR))
		return 1;
	if (uffd_continue(fd, a->guest + HUGE, 10 * SMALL, NULL))
		return 2;
	if (fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, HUGE, HUGE))
		return 3;
	if (mapped_smalls(0, a->guest + HUGE, HUGE))
		return 4;
	return verify(a->guest + HUGE, HUGE, HUGE, 0) ? 5 : 0;
}

TEST_F(part, in_every_process)
{
	struct arena *a = &self->a;

	ASSERT_EQ(0, arena_continue_small(a, HUGE, 5 * SMALL));
	EXPECT_EQ(0, in_child(look_until_cut, a));
	EXPECT_EQ(0, mapped_smalls(0, a->guest + HUGE, HUGE));
	EXPECT_EQ(0, mapped_smalls(0, a->source + HUGE, HUGE));
	EXPECT_EQ(0, verify(a->source + HUGE, HUGE, HUGE, 0));
}

/* ---- against faults, CONTINUE and collapse ---- */

struct race {
	struct crew c;
	struct arena *a;
	struct server s;
	enum means how;
	long rounds, collapsed, touched;
};

/* Owns the contents: cuts, looks, writes, looks. Whatever else happens must not be seen in the bytes. */
static void *cutter(void *arg)
{
	struct race *r = arg;
	struct arena *a = r->a;
	uint32_t version = 1;
	size_t off, i;

	while (crew_on(&r->c)) {
		size_t n = r->how == TRUNCATE ? NR - 1 : dice() % NR;

		off = n * HUGE;
		if (r->how == TRUNCATE) {
			if (ftruncate(a->fd, off) || ftruncate(a->fd, a->len))
				crew_fail(&r->c, "ftruncate: %s", strerror(errno));
		} else if (fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, HUGE)) {
			crew_fail(&r->c, "fallocate: %s", strerror(errno));
		}
		/* R5, R7: a page of before that somebody still has mapped is not zero. */
		for (i = 0; i < 32; i++) {
			size_t at = off + dice() % SMALLS * SMALL;

			if (!is_version(a->guest + at, at, 0)) {
				verify(a->guest + at, at, SMALL, 0);
				crew_fail(&r->c, "a page that was cut off is there still");
			}
		}
		version++;
		fill(a->source + off, off, HUGE, version);
		for (i = 0; i < 32; i++) {
			size_t at = off + dice() % SMALLS * SMALL;

			if (!is_version(a->guest + at, at, version)) {
				verify(a->guest + at, at, SMALL, version);
				crew_fail(&r->c, "the file's page is not the one that is mapped");
			}
		}
		count_up(r->rounds);
	}
	return NULL;
}

/* Any address, whatever is there; beyond the end of the file for a moment, perhaps. */
static void *toucher(void *arg)
{
	struct race *r = arg;
	struct touch t;

	while (crew_on(&r->c)) {
		if (touch_read(r->a->guest + dice() % (NR * SMALLS) * SMALL, &t) && t.code != BUS_ADRERR)
			crew_fail(&r->c, "signal %d, code %d", t.signal, t.code);
		count_up(r->touched);
	}
	return NULL;
}

static void *collapser(void *arg)
{
	struct race *r = arg;
	int err;

	while (crew_on(&r->c)) {
		err = collapse(r->a->guest + dice() % NR * HUGE, HUGE);
		if (!err)
			count_up(r->collapsed);
		else if (err != -EAGAIN)
			crew_fail(&r->c, "collapse: %s", strerror(-err));
	}
	return NULL;
}

static void *unmapper(void *arg)
{
	struct race *r = arg;

	while (crew_on(&r->c)) {
		if (madvise(r->a->guest + dice() % NR * HUGE, HUGE, MADV_DONTNEED))
			crew_fail(&r->c, "MADV_DONTNEED: %s", strerror(errno));
		arena_continue(r->a, dice() % (NR * SMALLS) * SMALL, SMALL);
		sleep_ms(dice() % 2);
	}
	return NULL;
}

/* R6 as well: each side holds what the other waits for; then there is no progress. */
static int run_race(struct arena *a, enum means how)
{
	struct race r = { .a = a, .how = how };
	int err;

	r.s.a = a;
	r.c.progress = &r.rounds;
	server_start(&r.s);
	crew_add(&r.c, cutter, &r);
	crew_add(&r.c, toucher, &r);
	crew_add(&r.c, toucher, &r);
	crew_add(&r.c, collapser, &r);
	crew_add(&r.c, unmapper, &r);
	err = crew_run(&r.c, hgm_seconds() * 1000);
	if (server_stop(&r.s))
		err = -EIO;
	printf("# %ld rounds, %ld collapses, %ld touches, %ld messages\n", r.rounds, r.collapsed, r.touched, r.s.messages);
	if (!err && (!r.rounds || !r.collapsed || !r.touched || !r.s.messages))
		err = wrong("a race in which one side did nothing");
	return err;
}

TEST_F(part, punch_against_the_rest)
{
	EXPECT_EQ(0, run_race(&self->a, PUNCH));
}

TEST_F(part, ftruncate_against_the_rest)
{
	EXPECT_EQ(0, run_race(&self->a, TRUNCATE));
}

HGM_HARNESS_MAIN
