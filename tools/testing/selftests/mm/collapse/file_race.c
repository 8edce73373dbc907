// SPDX-License-Identifier: GPL-2.0
/* Races over one file: start, verdict, and those who write, read and collapse. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file_race.h"

static struct file_race *of(struct race *r)
{
	return r->private;
}

static long lesser_folios(void)
{
	unsigned int order;
	long nr = 0;

	for (order = 2; order < pmd_order(); order++)
		nr += size_stat(order, "collapse_alloc");
	return nr;
}

struct file_race *file_race_start(const char *name, enum file_kind kind, size_t nr_pmds)
{
	struct file_race *fr = calloc(1, sizeof(*fr));
	char cg[32];

	if (!fr)
		die("no memory");
	/*
	 * A collapse in C reads ahead with pages locked, which takes the
	 * mapping's invalidate_lock. PUNCH_HOLE and truncation on a disk hold
	 * that and wait for the pages: both sides wait for ever. RACE_CUT=1
	 * makes them race all the same.
	 */
	fr->may_cut = !file_on_disk(kind) || getenv("RACE_CUT");
	knobs_baseline();
	file_stat_read(&fr->before);
	/* One that was killed may have left its group behind. */
	snprintf(cg, sizeof(cg), "file-race.%d", getpid());
	if (memcg_create(&fr->cg, cg) || memcg_enter(&fr->cg))
		die("no memory cgroup");
	file_setup(&fr->f, kind, nr_pmds, 1);
	if (!file_on_disk(kind) && kind != TMPFS_FILE)
		knob_set("shmem_enabled", "advise");
	/*
	 * What cannot be one huge page for the moment becomes lesser folios; of a
	 * memfd khugepaged makes nothing else.
	 */
	if (getenv("RACE_MTHP") && knob_there("khugepaged/mthp_page_cache")) {
		shmem_sizes_enable(1u << pmd_order(), "never");
		shmem_sizes_enable(~(1u << pmd_order()), "advise");
		knob_set("khugepaged/mthp_page_cache", "1");
		fr->mthp = true;
	}
	fr->lesser = lesser_folios();
	fr->r = race_start_at(name, fr->f.mem, nr_pmds);
	fr->r->private = fr;
	/* The stamps of all pages have version 1 now. Dirty, they could not be split. */
	if (file_on_disk(kind))
		fsync(fr->f.fd);
	fr->second = file_map(&fr->f, PROT_READ, MAP_SHARED);
	return fr;
}

/* @buf is page @n of the file, the stamps' addresses those of the first mapping. */
static bool page_is(struct file_race *fr, const char *buf, size_t n, uint32_t version)
{
	const size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) };
	const char *home = race_page(fr->r, n);
	size_t i;

	for (i = 0; i < 3; i++) {
		uint64_t got = *(const volatile uint64_t *)(buf + at[i]);
		uint64_t want = pattern_word(home + at[i], version);

		if (got == want)
			continue;
		race_fail(fr->r, "page %zu of PMD %zu has %#llx at %zu, expected %#llx (version %u)",
			  n % pmd_pages, n / pmd_pages, (unsigned long long)got, at[i],
			  (unsigned long long)want, version);
		return false;
	}
	return true;
}

bool file_race_still(struct file_race *fr, const char *page, size_t n)
{
	return page_is(fr, page, n, 1);
}

static int reread(struct file_race *fr)
{
	char *buf = aligned_alloc(page_size, page_size);
	size_t n;
	int err;

	munmap(fr->second, fr->f.len);
	err = file_drop(&fr->f);
	if (err)
		race_fail(fr->r, "the page cache cannot be emptied: %s", strerror(-err));
	for (n = 0; !err && fr->f.fd >= 0 && n < race_pages(fr->r); n++, fr->reread++) {
		if (pread(fr->f.fd, buf, page_size, n * page_size) != (ssize_t)page_size)
			race_fail(fr->r, "page %zu cannot be read again: %s", n, strerror(errno));
		if (fr->r->failed || !page_is(fr, buf, n, fr->r->version[n]))
			break;
	}
	free(buf);
	return fr->r->failed ? -1 : 0;
}

int file_race_finish(struct file_race *fr)
{
	struct race *r = fr->r;
	size_t n;

	race_wait(r);
	for (n = 0; n < race_pages(r) && !r->failed; n++)
		page_is(fr, race_page(r, n), n, r->version[n]);
	fr->lesser = lesser_folios() - fr->lesser;
	/* race_finish() unmaps the first mapping. */
	fr->f.mem = NULL;
	if (race_finish(r) || reread(fr))
		return -1;
	file_close(&fr->f);
	memcg_leave();
	memcg_destroy(&fr->cg);
	/* Of the page cache only what holds for any disk: no huge page is left. */
	fr->before.pages = fr->before.shmem = -1;
	if (file_stat_check(&fr->before, &(struct file_stat){ })) {
		printf("# %s: counters are not back where they were\n", r->name);
		return -1;
	}
	printf("# %s: %ld pages read again, %ld lesser folios\n", r->name, fr->reread, fr->lesser);
	return 0;
}

int file_race_collapse(struct file_race *fr, char *base, size_t pmd)
{
	return race_collapse(fr->r, base + pmd * pmd_size, pmd_size);
}

/* ---- those who collapse ---- */

void *file_race_collapser(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = of(r);
	size_t n = race_random();

	while (!r->stop) {
		n++;
		file_race_collapse(fr, n & 8 ? fr->second : r->base, n % r->nr_pmds);
		/* khugepaged is to have its share of the small pages. */
		if (fr->mthp)
			sleep_ms(20);
		sched_yield();
	}
	return NULL;
}

/* Classes 34, 35: by protection, which clears the PMD; by debugfs, which splits the folio. */
void *file_race_splitter(void *arg)
{
	struct race *r = arg;
	const char *split = "/sys/kernel/debug/split_huge_pages";
	char text[64];

	while (!r->stop) {
		size_t n = race_random() % r->nr_pmds;
		char *at = of(r)->second + n * pmd_size;

		if (race_random() % 2) {
			snprintf(text, sizeof(text), "%d,%p,%p", getpid(), at, at + pmd_size);
			if (!knob_try(split, text))
				race_add(r->disturbed, 1);
		} else if (!mprotect(at + page_size, page_size, PROT_READ | PROT_EXEC) &&
			   !mprotect(at + page_size, page_size, PROT_READ)) {
			race_add(r->disturbed, 1);
		}
		sleep_ms(1);
	}
	return NULL;
}

/* ---- those who read and write ---- */

static void write_page(struct race *r, size_t n)
{
	size_t at[] = { 0, page_size / 2, page_size - sizeof(uint64_t) }, i;
	struct file_race *fr = of(r);
	uint64_t buf[page_size / sizeof(uint64_t)];

	if (fr->f.fd < 0 || race_random() % 2) {
		race_write(r, n);
		return;
	}
	r->version[n] = r->version[n] % 0xffff00 + 1;
	memset(buf, 0x5a, page_size);
	for (i = 0; i < 3; i++)
		buf[at[i] / sizeof(*buf)] = pattern_word(race_page(r, n) + at[i], r->version[n]);
	if (pwrite(fr->f.fd, buf, page_size, n * page_size) != (ssize_t)page_size)
		race_fail(r, "write: %s", strerror(errno));
}

static void punch_page(struct race *r, size_t n)
{
	if (fallocate(of(r)->f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      n * page_size, page_size)) {
		race_fail(r, "PUNCH_HOLE: %s", strerror(errno));
		return;
	}
	r->version[n] = 0;
	race_add(r->disturbed, 1);
	if (verify_zero(race_page(r, n), page_size))
		race_fail(r, "page %zu of PMD %zu came back after PUNCH_HOLE",
			  n % pmd_pages, n / pmd_pages);
}

/* The middle PMDs, half of their pages; read through either mapping. */
static void write_every_second(struct race *r, size_t parity)
{
	size_t first = pmd_pages, nr = race_pages(r) - 2 * pmd_pages, i = 0;
	struct file_race *fr = of(r);

	while (!r->stop) {
		size_t n = first + (race_random() % nr) / 2 * 2 + parity;
		const char *look = race_random() % 2 ? race_page(r, n) : fr->second + n * page_size;

		race_add(r->checked, 1);
		if (!page_is(fr, look, n, r->version[n]))
			break;
		if (fr->may_cut && fr->f.fd >= 0 && race_random() % 16 == 0)
			punch_page(r, n);
		else
			write_page(r, n);
		if (++i % 32 == 0)
			sched_yield();
	}
}

void *file_race_writer(void *arg)
{
	write_every_second(arg, 0);
	return NULL;
}

void *file_race_writer_odd(void *arg)
{
	write_every_second(arg, 1);
	return NULL;
}

void *file_race_reader(void *arg)
{
	char *buf = aligned_alloc(page_size, page_size);
	struct race *r = arg;
	struct file_race *fr = of(r);

	while (!r->stop) {
		size_t n = race_random() % pmd_pages;

		race_add(r->checked, 1);
		if (!file_race_still(fr, race_page(r, n), n) ||
		    !file_race_still(fr, fr->second + n * page_size, n))
			break;
		if (fr->f.fd < 0)
			continue;
		if (pread(fr->f.fd, buf, page_size, n * page_size) != (ssize_t)page_size)
			race_fail(r, "read: %s", strerror(errno));
		else
			file_race_still(fr, buf, n);
		if (n % 32 == 0)
			sched_yield();
	}
	free(buf);
	return NULL;
}
