// SPDX-License-Identifier: GPL-2.0
/*
 * Windows of other code, which huge pages of files come into. Linux 7.3 fails
 * here with either implementation of khugepaged, unless the hooks for
 * fault-around and truncation in swap of this repository are applied.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file_race.h"

/* ---- faults of a small mapping, while the huge page that it shows a part of is made and split ---- */

/*
 * A fault maps the pages around its own that are there. The mapping begins in
 * the middle of PMD 0 and ends with the first page of PMD 1; there is nothing
 * else in the table. Only that page is touched, as nobody ever waits for it,
 * by a process of its own, which never waits for other CPUs.
 */
static void *windower(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	size_t nr = pmd_pages / 8, front = pmd_pages - nr;
	char *table = region_map(1), *window = table + front * page_size;
	char *touch = window + (nr - 1) * page_size;
	pid_t pid;

	if (mmap(window, nr * page_size, PROT_READ, MAP_SHARED | MAP_FIXED, fr->f.fd,
		 (pmd_pages - nr + 1) * page_size) != window)
		die("mmap: %s", strerror(errno));
	pid = fork();
	while (!pid) {
		*(const volatile char *)touch;
		madvise(touch, page_size, MADV_DONTNEED);
	}
	while (pid > 0 && !r->stop) {
		size_t stray = count_pages(pid, table, front * page_size, PAGE_PRESENT);

		if (stray)
			race_fail(r, "%zu pages in front of a mapping became mapped with it", stray);
		race_add(r->disturbed, count_pages(pid, window, nr * page_size, PAGE_PRESENT) > 1);
		sleep_ms(1 + race_random() % 50);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	region_unmap(table, 1);
	return NULL;
}

/* Few instructions of a fault meet few of a split: this has to be tried often. */
static void *halver(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	char text[80];

	while (!r->stop) {
		file_race_collapse(fr, fr->second, 0);
		snprintf(text, sizeof(text), "%d,%p,%p,%u", getpid(), fr->second,
			 fr->second + pmd_size, 1 + race_random() % 8);
		knob_try("/sys/kernel/debug/split_huge_pages", text);
		sched_yield();
	}
	return NULL;
}

int file_race_window(enum file_kind kind)
{
	const char *around = "/sys/kernel/debug/fault_around_bytes";
	struct file_race *fr = file_race_start("window", kind, 3);
	long bytes = knob_num(around);
	int ret;

	khugepaged_idle();
	knob_set_num(around, pmd_size);
	race_thread(fr->r, halver);
	race_thread(fr->r, windower);
	ret = file_race_finish(fr);
	knob_set_num(around, bytes);
	return ret;
}

/* ---- truncation of shared memory on its way to swap (class 35) ---- */

/* The last PMD is one folio, and may go. */
static volatile bool whole;

/* What more than one maps is not paged out by madvise(): nobody else touches the last PMD. */
static void *pager(void *arg)
{
	struct race *r = arg;
	char *last = r->base + (r->nr_pmds - 1) * pmd_size;

	while (!r->stop) {
		if (whole)
			madvise(last, pmd_size, MADV_PAGEOUT);
		sched_yield();
	}
	return NULL;
}

/* A huge page, of which the end is cut off: it does not come back. */
static void *swap_cutter(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	size_t first = race_pages(r) - pmd_pages, n;

	while (!r->stop) {
		size_t keep = race_random() % (pmd_pages - 1) + 1;

		for (n = 0; n < pmd_pages; n++)
			race_write(r, first + n);
		file_race_collapse(fr, r->base, r->nr_pmds - 1);
		whole = true;
		if (race_random() % 4)
			usleep(race_random() % 1000);
		if (ftruncate(fr->f.fd, (first + keep) * page_size) || ftruncate(fr->f.fd, fr->f.len))
			race_fail(r, "ftruncate: %s", strerror(errno));
		whole = false;
		for (n = keep; n < pmd_pages; n++)
			r->version[first + n] = 0;
		for (n = race_random() % 64; n < pmd_pages; n += race_random() % 64 + 1)
			if (!race_check(r, first + n))
				return NULL;
	}
	return NULL;
}

static long swapped_out(struct race *r)
{
	(void)r;
	return vmstat("pswpout");
}

int file_race_swap(enum file_kind kind)
{
	struct file_race *fr = file_race_start("swap", kind, 2);
	/* Locked and about to leave the page cache; without the probe it is rare that the cut comes just then. */
	int fd = widen_one("folio_alloc_swap", 2000, 1);

	race_count(fr->r, swapped_out);
	race_thread(fr->r, swap_cutter);
	race_thread(fr->r, pager);
	race_wait(fr->r);
	if (fd >= 0)
		close(fd);
	return file_race_finish(fr);
}
