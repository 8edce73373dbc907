// SPDX-License-Identifier: GPL-2.0
/* Pages move between nodes while users write to them, while they are collapsed and split again, or lose permissions. */
#include "harness.h"

#define NR 3
#define MIN_FREE 6	/* huge pages of each node */

struct race {
	struct crew c;
	struct arena *a;
	struct server s;
	unsigned int version[NR * SMALLS];
	pthread_mutex_t lock[NR * SMALLS];
	long touched, moved, refused, collapsed, protected;
	bool with_collapse, with_mprotect;
};

/* Reads and writes, each small page by one thread at a time; by way of both mappings. */
static void *user(void *arg)
{
	struct race *r = arg;

	while (crew_on(&r->c)) {
		size_t n = dice() % (NR * SMALLS);
		char *mem = (dice() % 4 ? r->a->guest : r->a->source) + n * SMALL;
		char *writable = r->with_mprotect ? r->a->source + n * SMALL : mem;

		pthread_mutex_lock(&r->lock[n]);
		if (!is_version(mem, n * SMALL, r->version[n])) {
			verify(mem, n * SMALL, SMALL, r->version[n]);
			crew_fail(&r->c, "small page %zu lost its content", n);
		}
		if (dice() % 3 == 0)
			fill(writable, n * SMALL, SMALL, ++r->version[n]);
		pthread_mutex_unlock(&r->lock[n]);
		count_up(r->touched);
	}
	return NULL;
}

static void *mover(void *arg)
{
	struct race *r = arg;

	while (crew_on(&r->c)) {
		void *pages[NR];
		int nodes[NR], status[NR], i, to = dice() % 2;

		for (i = 0; i < NR; i++) {
			pages[i] = r->a->guest + i * HUGE + dice() % SMALLS * SMALL;
			nodes[i] = to;
			status[i] = -1;
		}
		if (syscall(__NR_move_pages, 0, (unsigned long)NR, pages, nodes, status, MOVE_ALL) < 0) {
			if (errno != EBUSY && errno != ENOENT && errno != EAGAIN)
				crew_fail(&r->c, "move_pages: %s", strerror(errno));
		}
		for (i = 0; i < NR; i++) {
			if (status[i] == to)
				count_up(r->moved);
			else
				count_up(r->refused);
		}
	}
	return NULL;
}

/* What must not be written cannot be, wherever it has moved in the meantime. */
static void *protector(void *arg)
{
	struct race *r = arg;
	struct touch t;
	int i;

	while (crew_on(&r->c)) {
		if (mprotect(r->a->guest, r->a->len, PROT_READ))
			crew_fail(&r->c, "mprotect: %s", strerror(errno));
		for (i = 0; i < 100; i++) {
			size_t n = dice() % (NR * SMALLS);

			if (touch_write(r->a->guest + n * SMALL, 0, &t) != SIGSEGV)
				crew_fail(&r->c, "small page %zu was written, and must not be", n);
		}
		if (mprotect(r->a->guest, r->a->len, PROT_READ | PROT_WRITE))
			crew_fail(&r->c, "mprotect: %s", strerror(errno));
		count_up(r->protected);
	}
	return NULL;
}

static void *changer(void *arg)
{
	struct race *r = arg;
	int err;

	while (crew_on(&r->c)) {
		size_t n = dice() % NR;

		if (r->with_collapse && dice() % 2) {
			err = collapse(r->a->guest + n * HUGE, HUGE);
			if (!err)
				count_up(r->collapsed);
			else if (err != -EAGAIN)
				crew_fail(&r->c, "collapse: %s", strerror(-err));
		} else if (dice() % 8 == 0) {
			if (madvise(r->a->guest + n * HUGE, HUGE, MADV_DONTNEED))
				crew_fail(&r->c, "MADV_DONTNEED: %s", strerror(errno));
		} else {
			arena_continue(r->a, n * HUGE + dice() % SMALLS * SMALL, SMALL * (1 + dice() % 4));
		}
	}
	return NULL;
}

FIXTURE(race) {
	struct arena a;
	struct race *r;
};

FIXTURE_SETUP(race)
{
	size_t i;

	if (node_count() < 2)
		SKIP(return, "one node");
	if (node_free(0) < MIN_FREE || node_free(1) < MIN_FREE)
		SKIP(return, "not enough free huge pages on each node");
	arena_open(&self->a, NR);
	fill(self->a.source, 0, self->a.len, 1);
	must(arena_hgm(&self->a, 0, 0), "registration");
	self->r = calloc(1, sizeof(*self->r));
	self->r->a = self->r->s.a = &self->a;
	for (i = 0; i < NR * SMALLS; i++) {
		pthread_mutex_init(&self->r->lock[i], NULL);
		self->r->version[i] = 1;
	}
	/* In turns small, mixed and huge at first. */
	must(arena_continue_small(&self->a, 0, HUGE), "small");
	must(arena_continue(&self->a, HUGE, HUGE / 2), "half");
	must(arena_continue(&self->a, 2 * HUGE, HUGE), "huge");
}

FIXTURE_TEARDOWN(race)
{
	if (!self->a.len)
		return;
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
	free(self->r);
}

static int run(struct race *r)
{
	size_t n;
	int err;

	r->c.progress = &r->touched;
	server_start(&r->s);
	/* Who meets a migration entry of 4K waits for it and goes on. */
	crew_add(&r->c, user, r);
	crew_add(&r->c, user, r);
	crew_add(&r->c, user, r);
	crew_add(&r->c, mover, r);
	crew_add(&r->c, changer, r);
	if (r->with_mprotect)
		crew_add(&r->c, protector, r);
	err = crew_run(&r->c, hgm_seconds() * 1000);
	for (n = 0; n < NR * SMALLS && !err; n++)
		err = verify(r->a->guest + n * SMALL, n * SMALL, SMALL, r->version[n]);
	if (server_stop(&r->s))
		err = -EIO;
	printf("# %ld touches, %ld moves, %ld refused, %ld collapses, %ld times protected, %ld messages\n", r->touched,
	       r->moved, r->refused, r->collapsed, r->protected, r->s.messages);
	if (!err && (!r->touched || !r->moved || (r->with_collapse && !r->collapsed) ||
		     (r->with_mprotect && !r->protected)))
		err = wrong("a race in which one side did nothing");
	return err;
}

TEST_F(race, users_and_movers)
{
	EXPECT_EQ(0, run(self->r));
}

TEST_F(race, collapse_and_movers)
{
	self->r->with_collapse = true;
	EXPECT_EQ(0, run(self->r));
}

TEST_F(race, mprotect_and_movers)
{
	struct arena *a = &self->a;

	self->r->with_mprotect = true;
	EXPECT_EQ(0, run(self->r));
	/* In the end it may be written, everywhere. */
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	fill(a->guest, 0, a->len, 7);
	EXPECT_EQ(0, verify(a->source, 0, a->len, 7));
}

HGM_HARNESS_MAIN
