// SPDX-License-Identifier: GPL-2.0
/* What may be done with the mapping changes; and what other processors remember of it (R3). */
#include <sched.h>

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

/* ---- mprotect() ---- */

TEST_F(hgm, mprotect_and_back)
{
	struct arena *a = &self->a;
	struct touch t;

	half_split(a, 0);
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ));
	EXPECT_EQ(ALL, allowed(a, false));
	EXPECT_EQ(0, allowed(a, true));
	EXPECT_EQ(ALL, LEAVES());
	/* The holes are holes still. */
	EXPECT_EQ(SIGBUS, touch_read(a->guest + HUGE / 2, &t));
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(ALL, allowed(a, true));
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_NONE));
	EXPECT_EQ(0, allowed(a, false));
	EXPECT_EQ(ALL, LEAVES());
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(ALL, allowed(a, true));
	EXPECT_EQ(KB(HUGE / 2) + 4, pte_kb(a));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(0, verify(a->guest, 0, HUGE / 2, 1));
	EXPECT_EQ(0, verify(a->source, 0, a->len, 1));
}

/* What is continued or collapsed while it may not be written stays so. */
TEST_F(hgm, read_only_leaves)
{
	struct arena *a = &self->a;
	struct touch t;

	half_split(a, 0);
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ));
	ASSERT_EQ(0, arena_continue(a, HUGE / 2, SMALL));
	EXPECT_EQ(SIGSEGV, touch_write(a->guest + HUGE / 2, 1, &t));
	EXPECT_EQ(0, verify_small(a, SMALLS / 2, 1));
	ASSERT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(0, allowed(a, true));
	EXPECT_EQ(SIGSEGV, touch_write(a->guest + HUGE / 2 + SMALL, 1, &t));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(ALL, allowed(a, true));
}

TEST_F(hgm, collapse_of_what_nobody_may_read)
{
	struct arena *a = &self->a;
	struct touch t;

	half_split(a, 0);
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_NONE));
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(0, allowed(a, false));
	EXPECT_EQ(SIGSEGV, touch_read(a->guest + HUGE / 2, &t));
	ASSERT_EQ(0, mprotect(a->guest, a->len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
}

/* ---- R3: what another processor remembers of 512 entries ---- */

struct other_cpu {
	struct arena *a;
	pthread_t thread;
	int step;		/* 1: it knows all entries, 2: it may look again */
	int passed;		/* small pages that let themselves be written */
};

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *remember(void *arg)
{
	struct other_cpu *o = arg;
	struct touch t;
	size_t i;

	stay_on(1);
	for (i = 0; i < SMALLS; i++)
		o->a->guest[i * SMALL] = o->a->source[i * SMALL];
	for (i = 0; i < SMALLS; i++)
		(void)*(volatile char *)(o->a->guest + i * SMALL);
	__atomic_store_n(&o->step, 1, __ATOMIC_SEQ_CST);
	/* No sleep: the entries would be forgotten. */
	while (__atomic_load_n(&o->step, __ATOMIC_SEQ_CST) != 2)
		;
	for (i = 0; i < SMALLS; i++) {
		/* From the end: the first one is what a flush with too long a stride would hit. */
		size_t n = SMALLS - 1 - i;

		o->passed += !touch_write(o->a->guest + n * SMALL, 0x77, &t);
	}
	return NULL;
}

static int other_start(struct other_cpu *o, struct arena *a)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return -ENODEV;
	*o = (struct other_cpu) { .a = a };
	must(arena_hgm(a, UFFD_FEATURE_SIGBUS, 0), "registration");
	must(arena_continue_small(a, 0, HUGE), "small pages");
	stay_on(0);
	if (pthread_create(&o->thread, NULL, remember, o))
		die("no thread");
	while (__atomic_load_n(&o->step, __ATOMIC_SEQ_CST) != 1)
		sched_yield();
	return 0;
}

static void other_end(struct other_cpu *o)
{
	__atomic_store_n(&o->step, 2, __ATOMIC_SEQ_CST);
	pthread_join(o->thread, NULL);
}

TEST_F(hgm, mprotect_reaches_every_processor)
{
	struct other_cpu o;

	if (other_start(&o, &self->a))
		SKIP(return, "one processor");
	EXPECT_EQ(0, mprotect(self->a.guest, self->a.len, PROT_READ));
	other_end(&o);
	EXPECT_EQ(0, o.passed);
	if (o.passed)
		wrong("another processor could write to %d of %lu protected small pages", o.passed, SMALLS);
	EXPECT_EQ(0, verify(self->a.source, 0, HUGE, 1));
}

TEST_F(hgm, zap_reaches_every_processor)
{
	struct other_cpu o;

	if (other_start(&o, &self->a))
		SKIP(return, "one processor");
	EXPECT_EQ(0, madvise(self->a.guest, HUGE, MADV_DONTNEED));
	other_end(&o);
	EXPECT_EQ(0, o.passed);
	if (o.passed)
		wrong("another processor could write to %d of %lu unmapped small pages", o.passed, SMALLS);
	EXPECT_EQ(0, verify(self->a.source, 0, HUGE, 1));
}

TEST_F(hgm, punch_reaches_every_processor)
{
	struct other_cpu o;

	if (other_start(&o, &self->a))
		SKIP(return, "one processor");
	EXPECT_EQ(0, fallocate(self->a.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE));
	/* A new page: what the other still wrote to the old one is not in it. */
	fill(self->a.source, 0, HUGE, 2);
	other_end(&o);
	/* The file has a page, so that each of them is a minor fault. */
	EXPECT_EQ(0, o.passed);
	if (o.passed)
		wrong("another processor could write to %d of %lu small pages of a page that was freed", o.passed, SMALLS);
	EXPECT_EQ(0, verify(self->a.source, 0, HUGE, 2));
}

/* From 4K entries to a huge one that is protected: no 4K entry may live on beside it. */
TEST_F(hgm, collapse_reaches_every_processor)
{
	struct other_cpu o;

	if (other_start(&o, &self->a))
		SKIP(return, "one processor");
	EXPECT_EQ(0, collapse_settled(self->a.guest, HUGE));
	EXPECT_EQ(KB(HUGE), pmd_kb(&self->a));
	EXPECT_EQ(0, madvise(self->a.guest, HUGE, MADV_DONTNEED));
	other_end(&o);
	EXPECT_EQ(0, o.passed);
	if (o.passed)
		wrong("another processor knew %d of %lu small pages after collapse and zap", o.passed, SMALLS);
}

HGM_HARNESS_MAIN
