// SPDX-License-Identifier: GPL-2.0
/* Counters: vmstat, per-size statistics, meminfo, process status. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collapse.h"

/* Value after the word @name at the start of a line; -1 if there is none. */
static long line_value(const char *path, const char *name, char sep)
{
	size_t len = strlen(name);
	char text[256];
	long val = -1;
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	while (fgets(text, sizeof(text), f)) {
		if (strncmp(text, name, len) || text[len] != sep)
			continue;
		val = strtol(text + len + 1, NULL, 10);
		break;
	}
	fclose(f);
	return val;
}

long vmstat(const char *name)
{
	return line_value("/proc/vmstat", name, ' ');
}

long mthp_stat(const char *name)
{
	char path[128], buf[32];

	snprintf(path, sizeof(path), "%s/stats/%s", thp_size_dir(), name);
	if (knob_read(path, buf, sizeof(buf)))
		return -1;
	return strtol(buf, NULL, 10);
}

long meminfo_kb(const char *name)
{
	return line_value("/proc/meminfo", name, ':');
}

/* MemFree, and what the per-CPU lists of the page allocator hold. */
long free_kb(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	long pages = 0, count;
	char text[256];

	while (f && fgets(text, sizeof(text), f))
		if (sscanf(text, " count: %ld", &count) == 1)
			pages += count;
	if (f)
		fclose(f);
	return meminfo_kb("MemFree") + pages * (long)page_size / 1024;
}

long proc_status_kb(pid_t pid, const char *name)
{
	char path[64] = "/proc/self/status";

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return line_value(path, name, ':');
}

long pages_collapsed(void)
{
	return knob_num("khugepaged/pages_collapsed");
}

long full_scans(void)
{
	return knob_num("khugepaged/full_scans");
}

void balance_read(struct balance *b)
{
	/* Writing to stat_refresh folds the per-CPU differences. */
	knob_try("/proc/sys/vm/stat_refresh", "1");
	b->isolated_anon = vmstat("nr_isolated_anon");
	b->isolated_file = vmstat("nr_isolated_file");
	b->anon_thp = vmstat("nr_anon_transparent_hugepages");
}

int balance_check(const struct balance *before, long anon_thp_pmds_delta)
{
	uint64_t end = now_ms() + SETTLE_MS;
	struct balance now;

	do {
		balance_read(&now);
		if (now.isolated_anon == before->isolated_anon &&
		    now.isolated_file == before->isolated_file &&
		    now.anon_thp == before->anon_thp + anon_thp_pmds_delta)
			return 0;
		sleep_ms(50);
	} while (now_ms() < end);
	printf("# counters: nr_isolated_anon %ld -> %ld, nr_isolated_file %ld -> %ld, nr_anon_transparent_hugepages %ld -> %ld (expected %+ld)\n",
	       before->isolated_anon, now.isolated_anon,
	       before->isolated_file, now.isolated_file,
	       before->anon_thp, now.anon_thp, anon_thp_pmds_delta);
	fflush(stdout);
	return -EIO;
}

static const char * const file_counters[] = {
	"nr_file_pages", "nr_shmem", "nr_shmem_hugepages", "nr_file_hugepages",
	"nr_shmem_pmdmapped", "nr_file_pmdmapped", "nr_isolated_anon", "nr_isolated_file",
};
#define NR_FILE_COUNTERS (sizeof(file_counters) / sizeof(file_counters[0]))

_Static_assert(sizeof(struct file_stat) == NR_FILE_COUNTERS * sizeof(long), "one name each");

void file_stat_read(struct file_stat *s)
{
	long *v = (long *)s;
	size_t i;

	knob_try("/proc/sys/vm/stat_refresh", "1");
	for (i = 0; i < NR_FILE_COUNTERS; i++)
		v[i] = vmstat(file_counters[i]);
	/* The swap cache counts as page cache, and comes and goes. */
	s->pages -= vmstat("nr_swapcached");
}

/*
 * The rest of the system has pages of files, too, and a disk caches what a
 * file system writes about itself: a few more in the page cache are no fault.
 */
static bool differs(size_t i, long was, long is)
{
	long slack = strcmp(file_counters[i], "nr_file_pages") ? 0 : 16;

	return was >= 0 && (is > was + slack || is < was - slack);
}

int file_stat_check(const struct file_stat *before, const struct file_stat *delta)
{
	const long *b = (const long *)before, *d = (const long *)delta;
	uint64_t end = now_ms() + SETTLE_MS;
	struct file_stat now;
	const long *n = (const long *)&now;
	size_t i, bad;

	do {
		file_stat_read(&now);
		for (i = bad = 0; i < NR_FILE_COUNTERS; i++)
			bad += differs(i, b[i] + (b[i] >= 0 ? d[i] : 0), n[i]);
		if (!bad)
			return 0;
		sleep_ms(50);
	} while (now_ms() < end);
	for (i = 0; i < NR_FILE_COUNTERS; i++)
		if (differs(i, b[i] + (b[i] >= 0 ? d[i] : 0), n[i]))
			printf("# counter %s: %ld -> %ld, expected %+ld\n", file_counters[i],
			       b[i], n[i], d[i]);
	fflush(stdout);
	return -EIO;
}
