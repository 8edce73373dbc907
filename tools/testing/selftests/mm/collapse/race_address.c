// SPDX-License-Identifier: GPL-2.0
/* Races with changes of the address space: mmap, mremap, mprotect, discards. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "race.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

/* Threads number themselves; number n owns the n-th share of the arena. */
static int next_owner;

static int owner_number(void)
{
	return __atomic_fetch_add(&next_owner, 1, __ATOMIC_RELAXED);
}

static void check_and_write_all(struct race *r, size_t pmd)
{
	size_t n;

	for (n = pmd * pmd_pages; n < (pmd + 1) * pmd_pages && !r->stop; n++)
		if (race_check(r, n))
			race_write(r, n);
}

/* ---- munmap() and mmap() at the same address ---- */

static void *remapper(void *arg)
{
	struct race *r = arg;
	size_t share = r->nr_pmds / 2, first = owner_number() * share;

	while (!r->stop) {
		size_t pmd = first + race_random() % share, n, i;
		char *at = r->base + pmd * pmd_size;

		check_and_write_all(r, pmd);
		if (race_random() & 1)
			munmap(at, pmd_size);
		if (mmap(at, pmd_size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at) {
			race_fail(r, "mmap: %s", strerror(errno));
			break;
		}
		race_add(r->disturbed, 1);
		/* Whatever was collapsed meanwhile, this is new memory. */
		for (i = 0; i < 32; i++) {
			n = pmd * pmd_pages + race_random() % pmd_pages;
			if (stamp_check(race_page(r, n), 0)) {
				race_fail(r, "new memory is not zero");
				break;
			}
		}
		for (n = pmd * pmd_pages; n < (pmd + 1) * pmd_pages; n++)
			race_write(r, n);
		if (race_random() & 1)
			madvise(at, pmd_size, MADV_HUGEPAGE);
		sched_yield();
	}
	return NULL;
}

int race_remap(void)
{
	struct race *r = race_start("remap", 4);

	next_owner = 0;
	race_thread(r, remapper);
	race_thread(r, remapper);
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	return race_finish(r);
}

/* ---- mremap() ---- */

#define WINDOW 5	/* PMDs per mover: two aligned places, two that are not */

static void stamp_moved(char *at, const char *home, uint32_t version)
{
	size_t off;

	for (off = 0; off < pmd_size; off += page_size / 2)
		*(volatile uint64_t *)(at + off) = pattern_word(home + off, version);
}

static bool check_moved(struct race *r, const char *at, const char *home, uint32_t version)
{
	size_t off;

	race_add(r->checked, 1);
	for (off = 0; off < pmd_size; off += page_size / 2) {
		uint64_t got = *(const volatile uint64_t *)(at + off);

		if (got == pattern_word(home + off, version))
			continue;
		race_fail(r, "offset %#zx after a move: %#llx, expected %#llx", off,
			  (unsigned long long)got,
			  (unsigned long long)pattern_word(home + off, version));
		return false;
	}
	return true;
}

static void *mover(void *arg)
{
	struct race *r = arg;
	char *window = r->base + owner_number() * WINDOW * pmd_size, *at = window;
	const size_t place[] = { 0, 2 * pmd_size, page_size, 2 * pmd_size + page_size };
	uint32_t version = 1;

	/* Nobody else's memory may come to be in the window: none of it is ever free. */
	if (mmap(window + pmd_size, (WINDOW - 1) * pmd_size, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	stamp_moved(at, window, version);
	while (!r->stop) {
		/* From a low place to a high one and back: ranges never overlap. */
		char *to = window + place[(at < window + 2 * pmd_size ? 1 : 0) +
					  (race_random() % 4 ? 0 : 2)];

		if (mremap(at, pmd_size, pmd_size, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
			   to) != to) {
			race_fail(r, "mremap: %s", strerror(errno));
			break;
		}
		at = to;
		race_add(r->disturbed, 1);
		if (!check_moved(r, at, window, version))
			break;
		if (race_random() % 4)
			madvise(at + page_size * (race_random() % pmd_pages), page_size, MADV_COLD);
		stamp_moved(at, window, ++version);
		sched_yield();
		if (!check_moved(r, at, window, version))
			break;
	}
	return NULL;
}

int race_mremap(void)
{
	struct race *r = race_start("mremap", 2 * WINDOW);

	/* Movers keep their own account of what is where. */
	r->version = NULL;
	next_owner = 0;
	race_thread(r, mover);
	race_thread(r, mover);
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	return race_finish(r);
}

/* ---- MADV_DONTNEED, MADV_FREE, guard pages ---- */

static void discard(struct race *r, size_t n)
{
	char *page = race_page(r, n);

	if (madvise(page, page_size, MADV_DONTNEED))
		race_fail(r, "MADV_DONTNEED: %s", strerror(errno));
	else if (stamp_check(page, 0))
		race_fail(r, "discarded content came back");
	else
		r->version[n] = 0;
}

static void lazy_free(struct race *r, size_t n)
{
	char *page = race_page(r, n);
	size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) }, i;

	if (madvise(page, page_size, MADV_FREE))
		race_fail(r, "MADV_FREE: %s", strerror(errno));
	sched_yield();
	for (i = 0; i < 3; i++) {
		uint64_t got = *(volatile uint64_t *)(page + at[i]);

		/* Old or gone, nothing else. */
		if (got && got != pattern_word(page + at[i], r->version[n]))
			race_fail(r, "lazily freed page has %#llx", (unsigned long long)got);
	}
	/* Writing ends it. */
	race_write(r, n);
}

static void guard(struct race *r, size_t n)
{
	char *page = race_page(r, n);
	int i;

	if (madvise(page, page_size, MADV_GUARD_INSTALL)) {
		race_fail(r, "MADV_GUARD_INSTALL: %s", strerror(errno));
		return;
	}
	for (i = 0; i < 3; i++) {
		if (kernel_read(page) != -EFAULT)
			race_fail(r, "a guard page can be read");
		sched_yield();
	}
	madvise(page, page_size, MADV_GUARD_REMOVE);
	if (stamp_check(page, 0))
		race_fail(r, "content under a guard page came back");
	r->version[n] = 0;
}

static void *discarder(void *arg)
{
	struct race *r = arg;
	size_t parity = owner_number();

	while (!r->stop) {
		size_t n = race_random() % race_pages(r) / 2 * 2 + parity, i;

		if (!race_check(r, n))
			break;
		switch (race_random() % 16) {
		case 0:
			guard(r, n);
			break;
		case 1 ... 5:
			lazy_free(r, n);
			break;
		default:
			discard(r, n);
		}
		race_add(r->disturbed, 1);
		for (i = 0; i < 4; i++) {
			n = race_random() % race_pages(r) / 2 * 2 + parity;
			if (race_check(r, n))
				race_write(r, n);
		}
	}
	return NULL;
}

int race_discard(void)
{
	struct race *r = race_start("discard", 4);

	next_owner = 0;
	race_thread(r, discarder);
	race_thread(r, discarder);
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	return race_finish(r);
}

/* ---- mprotect() ---- */

static void *protector(void *arg)
{
	struct race *r = arg;
	size_t share = r->nr_pmds / 2, first = owner_number() * share;

	while (!r->stop) {
		size_t pmd = first + race_random() % share;
		size_t off = 0, len = pmd_size, n;
		bool none = race_random() % 4 == 0;
		char *at;

		switch (race_random() % 4) {
		case 0:
			off = race_random() % pmd_pages * page_size;
			len = page_size;
			break;
		case 1:
			off = len = pmd_size / 2;
			break;
		}
		at = r->base + pmd * pmd_size + off;
		n = (at - r->base) / page_size + race_random() % (len / page_size);
		if (mprotect(at, len, none ? PROT_NONE : PROT_READ)) {
			race_fail(r, "mprotect: %s", strerror(errno));
			break;
		}
		race_add(r->disturbed, 1);
		if (kernel_write(race_page(r, n), 0) != -EFAULT)
			race_fail(r, "protected memory could be written");
		if (none && kernel_read(race_page(r, n)) != -EFAULT)
			race_fail(r, "protected memory could be read");
		if (!none)
			race_check(r, n);
		sched_yield();
		if (mprotect(at, len, PROT_READ | PROT_WRITE))
			race_fail(r, "mprotect: %s", strerror(errno));
		if (race_check(r, n))
			race_write(r, n);
		sched_yield();
	}
	return NULL;
}

/* ---- all of that to one page table: nobody may take a PMD that is empty or huge for a table ---- */

static void *residence_reader(void *arg)
{
	struct race *r = arg;
	unsigned char *resident = malloc(race_pages(r));

	while (!r->stop) {
		/* The answer is old when it comes; that it comes is what matters. */
		if (mincore(r->base, r->nr_pmds * pmd_size, resident))
			race_fail(r, "mincore: %s", strerror(errno));
		sched_yield();
	}
	free(resident);
	return NULL;
}

/* Splits the VMA, and a huge PMD, for a moment; nobody is kept from writing. */
static void *permission_changer(void *arg)
{
	struct race *r = arg;

	while (!r->stop) {
		char *page = race_page(r, race_random() % race_pages(r));

		if (mprotect(page, page_size, PROT_READ | PROT_WRITE | PROT_EXEC) ||
		    mprotect(page, page_size, PROT_READ | PROT_WRITE))
			race_fail(r, "mprotect: %s", strerror(errno));
		sched_yield();
	}
	return NULL;
}

/* All of the memory, huge or not, and faults that may be huge as well. */
static void *table_dropper(void *arg)
{
	struct race *r = arg;
	size_t n;

	while (!r->stop) {
		if (madvise(r->base, r->nr_pmds * pmd_size, MADV_DONTNEED))
			race_fail(r, "MADV_DONTNEED: %s", strerror(errno));
		memset(r->version, 0, race_pages(r) * sizeof(*r->version));
		for (n = 0; n < race_pages(r); n += 8)
			if (race_check(r, n))
				race_write(r, n);
		race_add(r->disturbed, 1);
		sched_yield();
		for (n = 0; n < race_pages(r); n += 8)
			race_check(r, n);
	}
	return NULL;
}

int race_tables(void)
{
	struct race *r = race_start("tables", 1);

	race_thread(r, table_dropper);
	race_thread(r, residence_reader);
	race_thread(r, permission_changer);
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	return race_finish(r);
}

int race_mprotect(void)
{
	struct race *r = race_start("mprotect", 4);

	next_owner = 0;
	race_thread(r, protector);
	race_thread(r, protector);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	return race_finish(r);
}
