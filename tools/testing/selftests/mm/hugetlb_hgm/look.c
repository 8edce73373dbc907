// SPDX-License-Identifier: GPL-2.0
/* smaps, pagemap and other files of /proc. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hgm.h"

static FILE *open_proc(pid_t pid, const char *name, const char *mode)
{
	char path[64];
	FILE *f;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", name);
	f = fopen(path, mode);
	if (!f)
		die("cannot open %s", path);
	return f;
}

/* Whether this line of smaps begins a VMA, and whether that touches the range. */
static bool header(const char *line, uintptr_t from, uintptr_t to, bool *inside)
{
	unsigned long start, end;
	char perm[5];

	if (sscanf(line, "%lx-%lx %4s", &start, &end, perm) != 3)
		return false;
	*inside = start < to && end > from;
	return true;
}

long smaps_kb(pid_t pid, const void *start, size_t len, const char *field)
{
	FILE *f = open_proc(pid, "smaps", "r");
	uintptr_t from = (uintptr_t)start;
	size_t n = strlen(field);
	bool inside = false;
	char line[512];
	long kb = -1;

	while (fgets(line, sizeof(line), f)) {
		if (header(line, from, from + len, &inside) || !inside)
			continue;
		if (!strncmp(line, field, n) && line[n] == ':')
			kb = (kb < 0 ? 0 : kb) + atol(line + n + 1);
	}
	fclose(f);
	return kb;
}

bool smaps_flag(pid_t pid, const void *addr, const char *two_letters)
{
	FILE *f = open_proc(pid, "smaps", "r");
	uintptr_t at = (uintptr_t)addr;
	bool inside = false, found = false;
	char line[512], *flag;

	while (fgets(line, sizeof(line), f)) {
		if (header(line, at, at + 1, &inside) || !inside || strncmp(line, "VmFlags:", 8))
			continue;
		for (flag = strtok(line + 8, "\n "); flag; flag = strtok(NULL, "\n "))
			found |= !strcmp(flag, two_letters);
	}
	fclose(f);
	return found;
}

long pte_kb(const struct arena *a)
{
	return smaps_kb(0, a->guest, a->len, "HugetlbPteMapped");
}

long pmd_kb(const struct arena *a)
{
	return smaps_kb(0, a->guest, a->len, "HugetlbPmdMapped");
}

void pagemap(pid_t pid, const void *start, size_t n, uint64_t *entries)
{
	FILE *f = open_proc(pid, "pagemap", "r");
	ssize_t want = n * 8;

	if (pread(fileno(f), entries, want, (uintptr_t)start / SMALL * 8) != want)
		die("cannot read pagemap");
	fclose(f);
}

uint64_t pfn_of(const void *addr)
{
	uint64_t e;

	pagemap(0, addr, 1, &e);
	return e & PM_PRESENT ? PM_PFN(e) : 0;
}

long mapped_smalls(pid_t pid, const void *start, size_t len)
{
	static __thread uint64_t e[SMALLS];
	const char *mem = start;
	long mapped = 0;
	size_t at, i;

	for (at = 0; at < len; at += HUGE) {
		pagemap(pid, mem + at, SMALLS, e);
		for (i = 0; i < SMALLS; i++) {
			if (!(e[i] & PM_PRESENT))
				continue;
			mapped++;
			/* A huge page is as aligned as it is long: the head's low bits are zero. */
			if (PM_PFN(e[i]) % SMALLS != i)
				return wrong("small page %zu of its huge page has pfn %#llx", i, (unsigned long long)PM_PFN(e[i]));
		}
	}
	return mapped;
}

long mapcount_of(const void *addr)
{
	uint64_t pfn = pfn_of(addr), n = 0;
	int fd = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);

	if (!pfn || fd < 0 || pread(fd, &n, 8, pfn * 8) != 8)
		die("cannot read kpagecount");
	close(fd);
	return n;
}

ssize_t read_all(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[8192];
	ssize_t n, total = 0;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		total += n;
	if (n < 0)
		total = -errno;
	close(fd);
	return total;
}
