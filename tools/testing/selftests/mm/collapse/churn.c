// SPDX-License-Identifier: GPL-2.0
/*
 * churn FILE MIB: collapses the file and splits it again, until SIGTERM, while
 * others use it. MADV_COLLAPSE and khugepaged both work on a shared mapping of
 * MIB MiB that this program never touches, so the file may have any size at
 * any time. Prints what was achieved; the exit status is 0 only if huge pages
 * were made.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collapse.h"

#define SPLIT "/sys/kernel/debug/split_huge_pages"
#define MAX_ERRNO 4096

static volatile sig_atomic_t stopped;
static unsigned long refused[MAX_ERRNO];

static void stop(int sig)
{
	stopped = 1;
}

/* All large folios of the file to folios of one smaller order. */
static void split_file(const char *path, size_t len, int order)
{
	char text[256];

	snprintf(text, sizeof(text), "%s,0x0,0x%zx,%d", path, len / page_size, order);
	knob_set(SPLIT, text);
}

/* One MADV_COLLAPSE per PMD; returns how many became mapped by one. */
static unsigned long collapse_each(char *map, size_t len)
{
	unsigned long n = 0;
	size_t off;
	int err;

	for (off = 0; off < len && !stopped; off += pmd_size) {
		bool huge = count_huge(0, map + off, pmd_size) == 1;

		err = collapse(map + off, pmd_size);
		if (err)
			refused[-err]++;
		else
			n += !huge;
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned long mapped = 0, rounds = 0;
	char path[200], *map;
	long allocs, daemon;
	size_t len;
	int fd, i;

	if (argc != 3 || atol(argv[2]) <= 0 || !realpath(argv[1], NULL)) {
		fprintf(stderr, "usage: churn FILE MIB\n");
		return 2;
	}
	collapse_init();
	snprintf(path, sizeof(path), "%s", realpath(argv[1], NULL));
	len = (((size_t)atol(argv[2]) << 20) + pmd_size - 1) / pmd_size * pmd_size;
	fd = open(path, O_RDWR);
	map = region_map(len / pmd_size);
	if (fd < 0 || mmap(map, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != map)
		die("%s: %s", path, strerror(errno));
	close(fd);
	signal(SIGTERM, stop);
	signal(SIGALRM, stop);
	knobs_baseline();
	if (madvise(map, len, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE: %s", strerror(errno));
	khugepaged_fast();
	allocs = vmstat("thp_collapse_alloc");
	daemon = pages_collapsed();
	srandom(1);
	while (!stopped) {
		mapped += collapse_each(map, len);
		sleep_ms(random() % 20);
		split_file(path, len, random() % 8);
		rounds++;
	}
	allocs = vmstat("thp_collapse_alloc") - allocs;
	daemon = pages_collapsed() - daemon;
	printf("# churn: %lu rounds, MADV_COLLAPSE mapped %lu huge pages, khugepaged made %ld, %ld were allocated\n",
	       rounds, mapped, daemon, allocs);
	for (i = 0; i < MAX_ERRNO; i++)
		if (refused[i])
			printf("# churn: refused %lu times: %s\n", refused[i], strerror(i));
	return mapped && allocs ? 0 : 1;
}
