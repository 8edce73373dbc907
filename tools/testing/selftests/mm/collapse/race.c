// SPDX-License-Identifier: GPL-2.0
/* Common parts of the races. */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "race.h"

/* How much longer a race goes on in which nothing has happened yet. */
#define SLOWEST_MS	60000

unsigned int race_seconds(void)
{
	const char *s = getenv("RACE_SECONDS");

	return s ? atoi(s) : 30;
}

uint32_t race_random(void)
{
	static __thread uint32_t x;

	if (!x)
		x = (uintptr_t)&x >> 4 | 1;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

size_t race_pages(const struct race *r)
{
	return r->nr_pmds * pmd_pages;
}

char *race_page(struct race *r, size_t n)
{
	return r->base + n * page_size;
}

void race_fail(struct race *r, const char *fmt, ...)
{
	va_list ap;

	if (!__atomic_exchange_n(&r->failed, true, __ATOMIC_SEQ_CST)) {
		va_start(ap, fmt);
		printf("# wrong: %s: ", r->name);
		vprintf(fmt, ap);
		printf("\n");
		va_end(ap);
		fflush(stdout);
	}
	r->stop = true;
}

bool race_check(struct race *r, size_t n)
{
	race_add(r->checked, 1);
	if (stamp_check(race_page(r, n), r->version[n]) == 0)
		return true;
	race_fail(r, "page %zu of PMD %zu lost its content", n % pmd_pages, n / pmd_pages);
	return false;
}

void race_write(struct race *r, size_t n)
{
	r->version[n] = r->version[n] % 0xffff00 + 1;
	stamp(race_page(r, n), r->version[n]);
}

int race_collapse(struct race *r, char *start, size_t len)
{
	int err = collapse(start, len);

	if (!err) {
		race_add(r->collapsed, 1);
		return 0;
	}
	switch (err) {
	case -EAGAIN:
		race_add(r->again, 1);
		break;
	case -EINVAL:
		race_add(r->inval, 1);
		break;
	case -EBUSY:
		race_add(r->busy, 1);
		break;
	case -ENOMEM:
		race_add(r->nomem, 1);
		break;
	default:
		race_fail(r, "MADV_COLLAPSE gives %s", strerror(-err));
	}
	return err;
}

void *race_collapser(void *arg)
{
	struct race *r = arg;
	size_t n = race_random();

	while (!r->stop) {
		race_collapse(r, r->base + n++ % r->nr_pmds * pmd_size, pmd_size);
		sched_yield();
	}
	return NULL;
}

void *race_splitter(void *arg)
{
	struct race *r = arg;

	while (!r->stop) {
		/* A hint for one page splits the huge page that it is part of. */
		madvise(race_page(r, race_random() % race_pages(r)), page_size, MADV_COLD);
		sched_yield();
	}
	return NULL;
}

static void write_every_second(struct race *r, size_t parity)
{
	unsigned int i = 0;

	while (!r->stop) {
		size_t n = (race_random() % race_pages(r)) / 2 * 2 + parity;

		if (!race_check(r, n))
			return;
		race_write(r, n);
		/* With few CPUs, the others are to have most of the time. */
		if (++i % 32 == 0)
			sched_yield();
	}
}

void *race_writer(void *arg)
{
	write_every_second(arg, 0);
	return NULL;
}

void *race_writer_odd(void *arg)
{
	write_every_second(arg, 1);
	return NULL;
}

bool race_sizes;

/* All sizes that khugepaged makes below a PMD's. */
static long folios_made(void)
{
	unsigned int order;
	long sum = 0;

	for (order = 2; order < pmd_order(); order++)
		if (size_there(order))
			sum += size_stat(order, "collapse_alloc");
	return sum;
}

struct race *race_start(const char *name, size_t nr_pmds)
{
	unsigned int order;

	knobs_baseline();
	for (order = 2; race_sizes && order <= pmd_order(); order++)
		if (size_there(order))
			size_enable(order, order < pmd_order() ? "inherit" : "never");
	return race_start_at(name, region_map(nr_pmds), nr_pmds);
}

struct race *race_start_at(const char *name, char *base, size_t nr_pmds)
{
	struct race *r = calloc(1, sizeof(*r));
	size_t n;

	if (!r)
		die("no memory");
	r->name = name;
	balance_read(&r->before);
	r->nr_pmds = nr_pmds;
	r->base = base;
	r->version = calloc(race_pages(r), sizeof(*r->version));
	if (!r->version)
		die("no memory");
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	for (n = 0; n < race_pages(r); n++)
		race_write(r, n);
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	madvise(r->base, nr_pmds * pmd_size, MADV_HUGEPAGE);
	khugepaged_fast();
	knob_set("khugepaged/scan_sleep_millisecs", "1");
	/* At its own priority it would not get to run beside the threads. */
	setpriority(PRIO_PROCESS, khugepaged_pid(), 0);
	r->by_daemon = -pages_collapsed();
	r->folios = -folios_made();
	return r;
}

void race_thread(struct race *r, void *(*fn)(void *))
{
	int err;

	if (r->nr_threads == MAX_THREADS)
		die("more than %d threads", MAX_THREADS);
	err = pthread_create(&r->thread[r->nr_threads], NULL, fn, r);
	if (err)
		die("pthread_create: %s", strerror(err));
	r->nr_threads++;
}

void race_count(struct race *r, long (*counter)(struct race *r))
{
	r->counter = counter;
	r->counted = counter(r);
}

static bool something_happened(const struct race *r)
{
	return r->collapsed && r->disturbed &&
	       (!r->wants_daemon || r->by_daemon + pages_collapsed());
}

bool race_goes_on(const struct race *r, uint64_t end)
{
	uint64_t now = now_ms();

	return !r->failed && (now < end || (!something_happened(r) && now < end + SLOWEST_MS));
}

void race_wait(struct race *r)
{
	uint64_t end = now_ms() + race_seconds() * 1000ull;
	int i;

	while (!r->stop && !r->waited && race_goes_on(r, end)) {
		sleep_ms(100);
		if (r->counter)
			r->disturbed = r->counter(r) - r->counted;
	}
	r->stop = true;
	for (i = 0; i < r->nr_threads; i++)
		pthread_join(r->thread[i], NULL);
	r->nr_threads = 0;
	if (r->waited)
		return;
	r->waited = true;
	khugepaged_idle();
	/* It may still hold the file, and what it makes counts. */
	if (khugepaged_wait_asleep(SLOWEST_MS))
		race_fail(r, "the daemon does not come to rest");
	setpriority(PRIO_PROCESS, khugepaged_pid(), 19);
	r->by_daemon += pages_collapsed();
	r->folios += folios_made();
}

int race_finish(struct race *r)
{
	size_t n;

	race_wait(r);
	for (n = 0; r->version && n < race_pages(r) && !r->failed; n++)
		race_check(r, n);
	printf("# %s: %ld collapsed, %ld by the daemon, %ld smaller folios; refused: %ld EAGAIN, %ld EINVAL, %ld EBUSY, %ld ENOMEM; %ld disturbed, %ld checked\n",
	       r->name, r->collapsed, r->by_daemon, r->folios, r->again, r->inval, r->busy,
	       r->nomem, r->disturbed, r->checked);
	if (!r->collapsed)
		race_fail(r, "nothing was collapsed");
	if (!r->disturbed)
		race_fail(r, "nothing raced with it");
	if (r->wants_daemon && !r->by_daemon)
		race_fail(r, "the daemon collapsed nothing");
	munmap(r->base, r->nr_pmds * pmd_size);
	if (balance_check(&r->before, 0))
		race_fail(r, "counters are not back where they were");
	fflush(stdout);
	return r->failed ? -1 : 0;
}
