// SPDX-License-Identifier: GPL-2.0
/* Demand paging: threads fault small pages, one thread answers, and huge pages are made meanwhile. */
#include "harness.h"

#define NR 4
#define PAGES (NR * SMALLS)
#define THREADS 4

FIXTURE(hgm) {
	struct arena a;
	struct server s;
	struct crew c;
	unsigned char arrived[PAGES];	/* 1: its bytes are in the file */
	unsigned int left[NR];		/* small pages that have not arrived */
	long touched, collapsed, again, zapped;
};

FIXTURE_SETUP(hgm)
{
	arena_open(&self->a, NR);
	must(arena_hgm(&self->a, 0, 0), "registration");
	/* The file has its pages, all zero. */
	for (int i = 0; i < NR; i++)
		self->a.source[i * HUGE] = 0;
	self->s.a = &self->a;
	self->s.private = self;
	self->c.progress = &self->touched;
	self->c.private = self;
}

FIXTURE_TEARDOWN(hgm)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

/* R13: who waits for a small page beside one that is mapped sleeps, and wakes up once. */
TEST_F(hgm, a_waiter_sleeps)
{
	struct arena *a = &self->a;
	struct waiter w[THREADS];
	struct uffd_msg msg;
	size_t at[THREADS];
	int i;

	fill(a->source, 0, HUGE, 1);
	ASSERT_EQ(0, arena_continue(a, 0, SMALL));
	for (i = 0; i < THREADS; i++)
		waiter_start(&w[i], a->guest + (i + 1) * SMALL + i * 8 + 1, i & 1);
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, uffd_message(a->uffd, &msg, LONG_MS));
		at[i] = msg.arg.pagefault.address - (uintptr_t)a->guest;
		EXPECT_EQ(at[i] / SMALL * 8 - 7, at[i] % SMALL);
	}
	EXPECT_EQ(-ETIMEDOUT, uffd_message(a->uffd, &msg, QUIET_MS));
	/* One at a time: the others sleep on. */
	for (i = 0; i < THREADS; i++) {
		size_t n = at[i] / SMALL - 1;

		EXPECT_FALSE(waiter_done(&w[n], 0));
		ASSERT_EQ(0, arena_continue(a, at[i] & ~(SMALL - 1), SMALL));
		waiter_end(&w[n]);
		EXPECT_EQ(0, w[n].t.signal);
		EXPECT_GT(QUIET_MS * 1000 / 2, w[n].cpu_us);
	}
	EXPECT_EQ(THREADS + 1, mapped_smalls(0, a->guest, a->len));
}

/* Several wait for the same small page: all of them go on. */
TEST_F(hgm, all_waiters_wake)
{
	struct arena *a = &self->a;
	struct waiter w[THREADS];
	struct uffd_msg msg;
	int i;

	for (i = 0; i < THREADS; i++)
		waiter_start(&w[i], a->guest + 5 * SMALL + i, false);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, uffd_message(a->uffd, &msg, LONG_MS));
	/* A range beside it wakes nobody. */
	ASSERT_EQ(0, arena_continue(a, 4 * SMALL, SMALL));
	ASSERT_EQ(0, arena_continue(a, 6 * SMALL, SMALL));
	sleep_ms(QUIET_MS);
	for (i = 0; i < THREADS; i++)
		EXPECT_FALSE(waiter_done(&w[i], 0));
	ASSERT_EQ(0, arena_continue(a, 5 * SMALL, SMALL));
	for (i = 0; i < THREADS; i++)
		waiter_end(&w[i]);
}

/* A collapse fills the hole that somebody waits for. If it does not wake him, UFFDIO_WAKE must be enough. */
TEST_F(hgm, a_collapse_ends_the_waiting)
{
	struct arena *a = &self->a;
	struct uffd_msg msg;
	struct waiter w;

	fill(a->source, 0, HUGE, 1);
	ASSERT_EQ(0, arena_continue(a, 0, SMALL));
	waiter_start(&w, a->guest + 9 * SMALL, false);
	ASSERT_EQ(0, uffd_message(a->uffd, &msg, LONG_MS));
	ASSERT_EQ(0, collapse_settled(a->guest, HUGE));
	if (!waiter_done(&w, 1000)) {
		TH_LOG("a collapse does not wake those who wait for a hole that it fills");
		EXPECT_EQ(-EEXIST, arena_continue(a, 9 * SMALL, SMALL));
		ASSERT_EQ(0, uffd_wake(a->uffd, a->guest, HUGE));
	}
	waiter_end(&w);
	EXPECT_EQ(0, w.t.signal);
	EXPECT_EQ((unsigned char)a->source[9 * SMALL], w.t.byte);
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
}

/* ---- each page once: post-copy ---- */

static void arrive(struct server *s, size_t small)
{
	FIXTURE_DATA(hgm) *self = s->private;

	/* Only this thread writes: a second fault on the same page must not change what is in use. */
	if (self->arrived[small])
		return;
	fill(self->a.source + small * SMALL, small * SMALL, SMALL, 1);
	__atomic_store_n(&self->arrived[small], 1, __ATOMIC_RELEASE);
	__atomic_sub_fetch(&self->left[small / SMALLS], 1, __ATOMIC_RELEASE);
}

/* All of the pages, in an order of its own. */
static void *touch_all(void *arg)
{
	FIXTURE_DATA(hgm) *self = arg;
	size_t n = dice() % PAGES, step = (dice() % (PAGES / 2)) * 2 + 1, i;

	for (i = 0; i < PAGES && crew_on(&self->c); i++, n = (n + step) % PAGES) {
		if (!is_version(self->a.guest + n * SMALL, n * SMALL, 1)) {
			verify_small(&self->a, n, 1);
			crew_fail(&self->c, "small page %zu was not what arrived", n);
		}
		count_up(self->touched);
	}
	return NULL;
}

/* What has arrived in whole becomes huge at once, whoever touches it. */
static void *collapse_complete(void *arg)
{
	FIXTURE_DATA(hgm) *self = arg;
	bool done[NR] = { false };
	int i, n = 0, err;

	while (n < NR && !self->c.failed) {
		for (i = 0; i < NR; i++) {
			if (done[i] || __atomic_load_n(&self->left[i], __ATOMIC_ACQUIRE))
				continue;
			err = collapse(self->a.guest + i * HUGE, HUGE);
			if (!err) {
				done[i] = true;
				n++;
				count_up(self->collapsed);
			} else if (err != -EAGAIN) {
				crew_fail(&self->c, "collapse of page %d: %s", i, strerror(-err));
			}
		}
		sleep_ms(1);
	}
	return NULL;
}

TEST_F(hgm, everything_arrives_once)
{
	struct arena *a = &self->a;
	pthread_t t;
	int i;

	for (i = 0; i < NR; i++)
		self->left[i] = SMALLS;
	self->s.arrive = arrive;
	server_start(&self->s);
	for (i = 0; i < THREADS; i++)
		crew_add(&self->c, touch_all, self);
	ASSERT_EQ(0, pthread_create(&t, NULL, collapse_complete, self));
	while (count_of(self->touched) < THREADS * (long)PAGES && !self->c.failed) {
		long before = count_of(self->touched);

		for (i = 0; i < 600 && count_of(self->touched) == before && !self->c.failed; i++)
			sleep_ms(50);
		/* R13, and the wake-up that is lost. */
		if (count_of(self->touched) == before && !self->c.failed) {
			wrong("no progress for 30 s at %ld touches", before);
			_exit(1);
		}
	}
	pthread_join(t, NULL);
	EXPECT_EQ(0, crew_run(&self->c, 0));
	EXPECT_EQ(0, server_stop(&self->s));
	EXPECT_LE((long)PAGES, self->s.messages);
	EXPECT_EQ(NR, self->collapsed);
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(0, pte_kb(a));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
	TH_LOG("%ld messages, %ld of them answered already", self->s.messages, self->s.exist);
}

/* ---- again and again ---- */

static void *touch_any(void *arg)
{
	FIXTURE_DATA(hgm) *self = arg;

	while (crew_on(&self->c)) {
		size_t n = dice() % PAGES;

		if (!is_version(self->a.guest + n * SMALL, n * SMALL, 1)) {
			verify_small(&self->a, n, 1);
			crew_fail(&self->c, "small page %zu is wrong", n);
		}
		count_up(self->touched);
	}
	return NULL;
}

static void *collapse_any(void *arg)
{
	FIXTURE_DATA(hgm) *self = arg;

	while (crew_on(&self->c)) {
		int err = collapse(self->a.guest + dice() % NR * HUGE, HUGE);

		if (!err)
			count_up(self->collapsed);
		else if (err == -EAGAIN)
			count_up(self->again);
		else
			crew_fail(&self->c, "collapse: %s", strerror(-err));
		sleep_ms(dice() % 3);
	}
	return NULL;
}

/* Back to nothing mapped; the file keeps its pages. */
static void *zap_any(void *arg)
{
	FIXTURE_DATA(hgm) *self = arg;

	while (crew_on(&self->c)) {
		if (madvise(self->a.guest + dice() % NR * HUGE, HUGE, MADV_DONTNEED))
			crew_fail(&self->c, "MADV_DONTNEED: %s", strerror(errno));
		count_up(self->zapped);
		sleep_ms(dice() % 5);
	}
	return NULL;
}

TEST_F(hgm, against_collapse_and_zap)
{
	struct arena *a = &self->a;
	int i;

	fill(a->source, 0, a->len, 1);
	server_start(&self->s);
	for (i = 0; i < THREADS; i++)
		crew_add(&self->c, touch_any, self);
	crew_add(&self->c, collapse_any, self);
	crew_add(&self->c, zap_any, self);
	EXPECT_EQ(0, crew_run(&self->c, hgm_seconds() * 1000));
	EXPECT_EQ(0, server_stop(&self->s));
	EXPECT_LT(0, self->s.messages);
	EXPECT_LT(0, self->collapsed);
	EXPECT_LT(0, self->zapped);
	/* The last leaves are as good as any. */
	EXPECT_LE(0, mapped_smalls(0, a->guest, a->len));
	ASSERT_EQ(0, uffd_unregister(a->uffd, a->guest, a->len));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
	TH_LOG("%ld touches, %ld messages, %ld collapses, %ld of them busy, %ld zaps", self->touched, self->s.messages,
	       self->collapsed, self->again, self->zapped);
}

HGM_HARNESS_MAIN
