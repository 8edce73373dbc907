// SPDX-License-Identifier: GPL-2.0
/* Races over one file: collapse against one other thing at a time. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "file_race.h"

static int against(const char *name, enum file_kind kind, void *(*a)(void *), void *(*b)(void *))
{
	struct file_race *fr = file_race_start(name, kind, 3);

	race_thread(fr->r, a);
	race_thread(fr->r, b);
	race_thread(fr->r, file_race_collapser);
	race_thread(fr->r, file_race_collapser);
	race_thread(fr->r, file_race_writer);
	return file_race_finish(fr);
}

int file_race_truncate(enum file_kind kind)
{
	return against("truncate", kind, file_race_truncater, file_race_reader);
}

int file_race_mremap(enum file_kind kind)
{
	return against("mremap", kind, file_race_mover, file_race_mover);
}

int file_race_exit(enum file_kind kind)
{
	return against("exit", kind, file_race_forker, file_race_forker);
}

int file_race_faults(enum file_kind kind)
{
	return against("faults", kind, file_race_faulter, file_race_faulter);
}

/* Classes 34, 41, 42: pages that others hold locked, read and map. */
int file_race_split(enum file_kind kind)
{
	return against("split", kind, file_race_splitter, file_race_reader);
}

int file_race_reclaim(enum file_kind kind)
{
	return against("reclaim", kind, file_race_reclaimer, file_race_reader);
}

/* ---- private copies (class 18) ---- */

/* What it writes is its own; PMD 0 of the file does not show it. */
static void *copier(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	char *mine = file_map(&fr->f, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	uint32_t version = 2;

	while (!r->stop) {
		size_t n = race_random() % pmd_pages, other = n ^ 1;
		volatile uint64_t *word = (volatile uint64_t *)(mine + n * page_size);

		*word = version;
		race_collapse(r, mine, pmd_size);
		if (*word != version++)
			race_fail(r, "a private copy lost what was written to it");
		if (!file_race_still(fr, fr->second + n * page_size, n))
			break;
		/* Forgotten, it is the file again. */
		if (race_random() % 4 == 0) {
			madvise(mine, pmd_size, MADV_DONTNEED);
			if (!file_race_still(fr, mine + other * page_size, other))
				break;
		}
		race_add(r->disturbed, 1);
		sched_yield();
	}
	munmap(mine, fr->f.len);
	return NULL;
}

int file_race_private(enum file_kind kind)
{
	return against("private", kind, copier, file_race_reclaimer);
}

/* ---- references from outside (class 16) ---- */

/* What a page shows that was taken hold of before, while it is mapped and after. */
static void *pinner(void *arg)
{
	char *buf = aligned_alloc(page_size, page_size);
	struct race *r = arg;
	struct file_race *fr = r->private;

	while (!r->stop) {
		size_t n = race_random() % pmd_pages;
		char *page = fr->second + n * page_size;
		struct iovec from = { page, page_size }, to = { buf, page_size };
		struct pin pin;

		if (pin_vmsplice(&pin, page)) {
			race_fail(r, "vmsplice: %s", strerror(errno));
			break;
		}
		sched_yield();
		if (read(pin.fd[0], buf, page_size) != (ssize_t)page_size)
			race_fail(r, "the pipe has less than a page");
		else if (!file_race_still(fr, buf, n))
			break;
		pin_release(&pin);
		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)page_size)
			race_fail(r, "process_vm_readv: %s", strerror(errno));
		else if (!file_race_still(fr, buf, n))
			break;
		race_add(r->disturbed, 1);
		if (n % 4 == 0)
			sleep_ms(1);
	}
	free(buf);
	return NULL;
}

int file_race_pin(enum file_kind kind)
{
	return against("pin", kind, pinner, file_race_splitter);
}

/* ---- migration (class 21) ---- */

static void *migrator(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	bool numa = access("/sys/devices/system/node/node1", F_OK) == 0;

	while (!r->stop) {
		void *page[8];
		int node[8], status[8], i;

		for (i = 0; numa && i < 8; i++) {
			page[i] = fr->second + race_random() % race_pages(r) * page_size;
			node[i] = race_random() % 2;
		}
		if (numa)
			syscall(__NR_move_pages, 0, 8ul, page, node, status, 4 /* MPOL_MF_MOVE_ALL */);
		else
			knob_try("/proc/sys/vm/compact_memory", "1");
		race_add(r->disturbed, 1);
		sched_yield();
	}
	return NULL;
}

int file_race_migrate(enum file_kind kind)
{
	return against("migrate", kind, migrator, file_race_splitter);
}

/* ---- userfaultfd (class 29): shared memory only ---- */

/*
 * Holes in the last PMD, filled by a userfaultfd. Of a huge page that cannot
 * be split just then, PUNCH_HOLE only clears a part: that is no hole, but zero.
 */
static void *uffd_filler(void *arg)
{
	struct race *r = arg;
	struct file_race *fr = r->private;
	size_t first = race_pages(r) - pmd_pages, i;
	char *whole = file_map(&fr->f, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *mine = whole + first * page_size;
	uint64_t buf[page_size / sizeof(uint64_t)];
	int fd = uffd_open(UFFD_FEATURE_MISSING_SHMEM), err;

	if (fd < 0 || uffd_register_range(fd, mine, pmd_size, UFFDIO_REGISTER_MODE_MISSING)) {
		race_fail(r, "userfaultfd: %s", strerror(errno));
		return NULL;
	}
	while (!r->stop) {
		size_t n = race_random() % pmd_pages;
		char *page = race_page(r, first + n);

		if (fallocate(fr->f.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (first + n) * page_size, page_size))
			race_fail(r, "PUNCH_HOLE: %s", strerror(errno));
		r->version[first + n]++;
		for (i = 0; i < page_size / sizeof(*buf); i++)
			buf[i] = pattern_word(page + i * sizeof(*buf), r->version[first + n]);
		race_collapse(r, mine, pmd_size);
		do {
			err = uffd_copy_page(fd, mine + n * page_size, buf, page_size, 0);
		} while (err == -EAGAIN);
		if (err == -EEXIST && !verify_zero(page, page_size))
			stamp(page, r->version[first + n]);
		else if (err)
			race_fail(r, "UFFDIO_COPY into a hole: %s", strerror(-err));
		if (!race_check(r, first + n))
			break;
		race_add(r->disturbed, 1);
		sched_yield();
	}
	close(fd);
	munmap(whole, fr->f.len);
	return NULL;
}

int file_race_uffd(enum file_kind kind)
{
	return against("uffd", kind, uffd_filler, file_race_splitter);
}

/* ---- several collapsers of one extent ---- */

#define NR_RIVALS 4

struct extent {
	struct file_race *fr;
	pthread_barrier_t barrier;
	char *mem[NR_RIVALS];
	int err[NR_RIVALS];
};

struct rival {
	struct extent *e;
	int nr;
};

static void *rival(void *arg)
{
	struct rival *me = arg;
	struct extent *e = me->e;

	pthread_barrier_wait(&e->barrier);
	e->err[me->nr] = collapse(e->mem[me->nr], pmd_size);
	return NULL;
}

/*
 * One page of memory in the end, whoever made it, and clean answers for all.
 * A rival that comes too late may have allocated a page of its own: it must
 * have given that up, which the counters tell.
 */
static void one_round(struct extent *e, long *again)
{
	struct race *r = e->fr->r;
	struct rival me[NR_RIVALS];
	pthread_t thread[NR_RIVALS];
	struct file_stat before;
	long alloc = vmstat("thp_collapse_alloc");
	uint64_t first = 0;
	bool shmem = !file_on_disk(e->fr->f.kind);
	struct file_stat delta = { .shmem_thp = shmem, .file_thp = !shmem };
	struct page_info info;
	int i, ok = 0;

	file_stat_read(&before);
	pthread_barrier_init(&e->barrier, NULL, NR_RIVALS);
	for (i = 0; i < NR_RIVALS; i++) {
		me[i] = (struct rival){ e, i };
		pthread_create(&thread[i], NULL, rival, &me[i]);
	}
	for (i = 0; i < NR_RIVALS; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < NR_RIVALS; i++) {
		ok += !e->err[i];
		*again += e->err[i] == -EAGAIN;
		if (e->err[i] && e->err[i] != -EAGAIN)
			race_fail(r, "a rival ended with %s", strerror(-e->err[i]));
		if (!e->err[i] && count_huge(0, e->mem[i], pmd_size) != 1)
			race_fail(r, "success, and nothing is mapped by a PMD");
	}
	if (vmstat("thp_collapse_alloc") - alloc > NR_RIVALS)
		race_fail(r, "%ld huge pages for %d rivals",
			  vmstat("thp_collapse_alloc") - alloc, NR_RIVALS);
	race_add(r->collapsed, ok);
	race_add(r->disturbed, 1);
	/* Those who were told to try again need not make another. */
	alloc = vmstat("thp_collapse_alloc");
	for (i = 0; i < NR_RIVALS; i++) {
		if (collapse_settled(e->mem[i], pmd_size))
			race_fail(r, "the extent cannot be collapsed any more");
		page_info(0, e->mem[i], &info);
		if (i && info.pfn != first)
			race_fail(r, "two huge pages for one extent");
		first = info.pfn;
	}
	if (ok && vmstat("thp_collapse_alloc") != alloc)
		race_fail(r, "a second huge page was made for one extent");
	delta.shmem_mapped = shmem;
	delta.file_mapped = !shmem;
	if (file_stat_check(&before, &delta))
		race_fail(r, "counters differ");
}

int file_race_extent(enum file_kind kind)
{
	struct file_race *fr = file_race_start("extent", kind, 3);
	struct extent e = { .fr = fr };
	long again = 0, rounds = 0;
	uint64_t end;
	size_t n;
	int i;

	khugepaged_idle();
	khugepaged_wait_asleep(30000);
	end = now_ms() + race_seconds() * 1000ull;
	/* The daemon may be there first, and on a machine with a lot to do one round may take all the time. */
	while (race_goes_on(fr->r, end)) {
		char text[64];

		for (i = 0; i < NR_RIVALS; i++)
			e.mem[i] = file_map(&fr->f, PROT_READ, MAP_SHARED);
		/* Back to small pages, in the cache and in every table. */
		for (n = 0; n < 50 && count_thp_pages(0, e.mem[0], pmd_size) + (n == 0); n++) {
			file_touch(e.mem[0], pmd_size);
			snprintf(text, sizeof(text), "%d,%p,%p", getpid(), e.mem[0], e.mem[0] + pmd_size);
			knob_try("/sys/kernel/debug/split_huge_pages", text);
			file_touch(e.mem[0], pmd_size);
		}
		if (count_thp_pages(0, e.mem[0], pmd_size))
			race_fail(fr->r, "a huge page cannot be split");
		for (i = 0; i < NR_RIVALS; i++)
			file_touch(e.mem[i], pmd_size);
		one_round(&e, &again);
		rounds++;
		for (n = 0; n < pmd_pages && !fr->r->failed; n++)
			file_race_still(fr, e.mem[n % NR_RIVALS] + n * page_size, n);
		for (i = 0; i < NR_RIVALS; i++)
			region_unmap(e.mem[i], 3);
	}
	printf("# extent: %ld rounds, %ld EAGAIN\n", rounds, again);
	fr->r->stop = true;
	return file_race_finish(fr);
}
