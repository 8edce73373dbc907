/* SPDX-License-Identifier: GPL-2.0 */
/* Common parts of the races: arena, writers that check, collapsers, verdict. */
#ifndef COLLAPSE_RACE_H
#define COLLAPSE_RACE_H

#include "collapse.h"

#define MAX_THREADS 16

struct race {
	const char *name;
	struct balance before;
	char *base;		/* the arena, @nr_pmds PMDs */
	size_t nr_pmds;
	uint32_t *version;	/* per page, kept by its only writer */
	volatile bool stop;
	volatile bool failed;
	bool waited;
	pthread_t thread[MAX_THREADS];
	int nr_threads;

	/* Counts disturbances where no thread does, and what it gave at first. */
	long (*counter)(struct race *r);
	long counted;
	bool wants_daemon;	/* the daemon has to collapse something, too */

	/* What happened; a race in which nothing happened fails. */
	long collapsed, disturbed, checked;
	long again, inval, busy, nomem;		/* refusals */
	long by_daemon, folios;	/* folios: below the size of a PMD */
	void *private;
};

#define race_add(counter, n) __atomic_add_fetch(&(counter), n, __ATOMIC_RELAXED)

/* The daemon makes folios below the size of a PMD instead of huge pages. */
extern bool race_sizes;

unsigned int race_seconds(void);
/* An arena of stamped small pages, advised for the daemon, which runs fast. */
struct race *race_start(const char *name, size_t nr_pmds);
/* The same over memory that is there; the knobs were set before. */
struct race *race_start_at(const char *name, char *base, size_t nr_pmds);
void race_thread(struct race *r, void *(*fn)(void *));
void race_count(struct race *r, long (*counter)(struct race *r));
/*
 * Runs for the time set, and on a slow machine until something has happened;
 * then joins the threads.
 */
void race_wait(struct race *r);
/* For races that go in rounds: whether there should be another one, if they were to end at @end (ms). */
bool race_goes_on(const struct race *r, uint64_t end);
/* The same, then checks every page and the counters: 0 or -1. */
int race_finish(struct race *r);

/* A failure seen by a thread: printed at once, ends the race. */
void race_fail(struct race *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

uint32_t race_random(void);		/* per thread */
char *race_page(struct race *r, size_t n);
size_t race_pages(const struct race *r);
/* The page must have the version last written; then it gets the next one. */
bool race_check(struct race *r, size_t n);
void race_write(struct race *r, size_t n);

/* One collapse; counts it, and fails the race on an errno that cannot be. */
int race_collapse(struct race *r, char *start, size_t len);

/* Threads for all races. */
void *race_collapser(void *arg);	/* MADV_COLLAPSE on every PMD in turn */
void *race_splitter(void *arg);		/* huge pages back to small ones */
void *race_writer(void *arg);		/* even pages: check and write */
void *race_writer_odd(void *arg);	/* odd pages */

/* One for each test: 0, or -1 after the reason was printed. */
int race_remap(void);
int race_mremap(void);
int race_discard(void);
int race_tables(void);
int race_mprotect(void);
int race_fork(void);
int race_exit(void);
int race_memcg_oom(void);
int race_uffd(void);
int race_pin(void);
int race_ksm(void);
int race_swap(void);
int race_migrate(void);
int race_collapsers(void);
int race_readers(void);
int race_core(void);
/* The receiver of a core file, which the kernel starts with "--receive FILE". */
int core_receive(const char *file);

#endif /* COLLAPSE_RACE_H */
