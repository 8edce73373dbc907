// SPDX-License-Identifier: GPL-2.0
/* Races with reclaim, migration, other collapsers and those who only look. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "race.h"

/* ---- swap ---- */

static void *pager(void *arg)
{
	struct race *r = arg;

	while (!r->stop) {
		size_t n = race_random() % race_pages(r);
		size_t nr = race_random() % 8 ? race_random() % 64 + 1 : pmd_pages;

		if (n + nr > race_pages(r))
			nr = race_pages(r) - n;
		madvise(race_page(r, n), nr * page_size, MADV_PAGEOUT);
		sched_yield();
	}
	return NULL;
}

/* Everything has to come back while it is being collapsed. */
static void *switcher(void *arg)
{
	struct race *r = arg;
	const char *dev = r->private;

	while (!r->stop) {
		int err = swap_off(dev);

		if (err && err != -ENOMEM && err != -EINTR) {
			race_fail(r, "swapoff: %s", strerror(-err));
			break;
		}
		sleep_ms(50);
		if (!err) {
			race_add(r->disturbed, 1);
			err = swap_on(dev);
			if (err)
				race_fail(r, "swapon: %s", strerror(-err));
		}
		sleep_ms(400);
	}
	return NULL;
}

static long swapped_in(struct race *r)
{
	return vmstat("pswpin");
}

int race_swap(void)
{
	static char dev[128];
	struct race *r;
	long in = vmstat("pswpin");
	int err = swap_setup(128), ret;

	if (err)
		die("no swap and no /dev/zram0 (%s): build with SWAP and ZRAM", strerror(-err));
	snprintf(dev, sizeof(dev), "%s", swap_device());
	r = race_start("swap", 4);
	knob_set_num("khugepaged/max_ptes_swap", pmd_pages - 1);
	r->private = dev;
	race_thread(r, pager);
	/*
	 * Not with the lesser sizes: a fault then brings back a large folio, and if
	 * swapoff finds it on the way, it maps all of it for each of its entries. That
	 * is Linux 7.3, whatever implements collapse.
	 */
	if (race_sizes)
		race_count(r, swapped_in);
	else
		race_thread(r, switcher);
	race_thread(r, race_writer);
	race_thread(r, race_writer_odd);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	race_wait(r);
	if (!swap_active())
		swap_on(dev);
	if (vmstat("pswpin") == in)
		race_fail(r, "nothing was swapped");
	ret = race_finish(r);
	swap_teardown();
	return ret;
}

/* ---- migration ---- */

static bool two_nodes(void)
{
	return access("/sys/devices/system/node/node1/meminfo", F_OK) == 0;
}

static void *migrator(void *arg)
{
	struct race *r = arg;
	void *page[64];
	int node[64], status[64];
	size_t i;

	while (!r->stop) {
		size_t n = race_random() % race_pages(r);
		int to = race_random() & 1;

		for (i = 0; i < 64; i++) {
			page[i] = race_page(r, (n + i) % race_pages(r));
			node[i] = to;
		}
		if (syscall(__NR_move_pages, 0, 64ul, page, node, status, 1 << 1) < 0) {
			if (errno == ENOSYS) {
				printf("# migrate: compaction only; move_pages needs NUMA_MIGRATION\n");
				break;
			}
			if (errno != ENOMEM)
				race_fail(r, "move_pages: %s", strerror(errno));
		}
		for (i = 0; i < 64; i++)
			if (status[i] == to)
				race_add(r->disturbed, 1);
		sched_yield();
	}
	return NULL;
}

/* Compaction moves pages whichever nodes there are. */
static void *compactor(void *arg)
{
	struct race *r = arg;

	while (!r->stop) {
		knob_try("/proc/sys/vm/compact_memory", "1");
		sched_yield();
	}
	return NULL;
}

static long migrated(struct race *r)
{
	return vmstat("pgmigrate_success");
}

int race_migrate(void)
{
	struct race *r = race_start("migrate", 4);

	race_count(r, migrated);
	if (two_nodes())
		race_thread(r, migrator);
	race_thread(r, compactor);
	race_thread(r, race_writer);
	race_thread(r, race_writer_odd);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	return race_finish(r);
}

/* ---- several collapsers on one range ---- */

/* The same memory through process_madvise(), from another process. */
static pid_t outside_collapser(struct race *r, long *collapsed)
{
	pid_t parent = getpid(), pid = fork();
	int fd;
	size_t n;

	if (pid)
		return pid;
	/* Its copy of the memory is not wanted. */
	munmap(r->base, r->nr_pmds * pmd_size);
	fd = pidfd_open_(parent);
	for (n = 0; getppid() == parent; n++)
		if (collapse_process(fd, r->base + n % r->nr_pmds * pmd_size, pmd_size) > 0)
			race_add(*collapsed, 1);
	_exit(0);
}

static long collapsed_outside(struct race *r)
{
	return *(long *)r->private;
}

int race_collapsers(void)
{
	long *outside = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct race *r = race_start("collapsers", 3);
	pid_t pid = outside_collapser(r, outside);

	r->private = outside;
	race_count(r, collapsed_outside);
	r->wants_daemon = true;
	knob_set("khugepaged/scan_sleep_millisecs", "0");
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	race_thread(r, race_splitter);
	race_thread(r, race_writer);
	race_thread(r, race_writer_odd);
	race_wait(r);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return race_finish(r);
}

/* ---- readers of /proc ---- */

static void slurp(struct race *r, const char *path)
{
	char buf[8192];
	int fd = open(path, O_RDONLY);

	if (fd < 0) {
		race_fail(r, "%s: %s", path, strerror(errno));
		return;
	}
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static void *text_reader(void *arg)
{
	struct race *r = arg;

	while (!r->stop) {
		slurp(r, "/proc/self/smaps");
		slurp(r, "/proc/self/smaps_rollup");
		if (access("/proc/self/numa_maps", F_OK) == 0)
			slurp(r, "/proc/self/numa_maps");
		race_add(r->disturbed, 1);
	}
	return NULL;
}

/* A page is there (or on its way) at any time; none may seem to be missing. */
static void *map_reader(void *arg)
{
	struct race *r = arg;
	size_t len = r->nr_pmds * pmd_size, n;

	while (!r->stop) {
		n = count_pages(0, r->base, len, PAGE_PRESENT | PAGE_SWAPPED);
		if (n != race_pages(r))
			race_fail(r, "pagemap shows %zu of %zu pages", n, race_pages(r));
		n = count_huge(0, r->base, len);
		if (n > r->nr_pmds)
			race_fail(r, "PAGEMAP_SCAN shows %zu of %zu huge pages", n, r->nr_pmds);
		count_thp_pages(0, r->base, len);
		if (mincore(r->base, len, r->private))
			race_fail(r, "mincore: %s", strerror(errno));
		race_add(r->disturbed, 1);
	}
	return NULL;
}

int race_readers(void)
{
	struct race *r = race_start("readers", 4);

	r->private = malloc(race_pages(r));
	race_thread(r, text_reader);
	race_thread(r, map_reader);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	race_thread(r, race_writer);
	race_thread(r, race_writer_odd);
	return race_finish(r);
}
