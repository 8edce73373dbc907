// SPDX-License-Identifier: GPL-2.0
/* What maps a range: pagemap, kpageflags, PAGEMAP_SCAN and smaps. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/fs.h>

#include "collapse.h"

#define PM_BIT(n)	(1ull << (n))
#define PM_PFN_MASK	(PM_BIT(55) - 1)
#define KPF_THP_BIT	(1ull << 22)

static int open_proc(pid_t pid, const char *file)
{
	char path[64];

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void decode(uint64_t raw, struct page_info *info)
{
	info->flags = 0;
	if (raw & PM_BIT(63))
		info->flags |= PAGE_PRESENT;
	if (raw & PM_BIT(62))
		info->flags |= PAGE_SWAPPED;
	if (raw & PM_BIT(58))
		info->flags |= PAGE_GUARD;
	if (raw & PM_BIT(57))
		info->flags |= PAGE_UFFD_WP;
	if (raw & PM_BIT(56))
		info->flags |= PAGE_EXCLUSIVE;
	if (raw & PM_BIT(55))
		info->flags |= PAGE_SOFT_DIRTY;
	info->pfn = raw & PM_BIT(63) ? raw & PM_PFN_MASK : 0;
}

static uint64_t *read_pagemap(pid_t pid, const void *start, size_t nr)
{
	uint64_t *raw = calloc(nr, sizeof(*raw));
	int fd = open_proc(pid, "pagemap");
	ssize_t want = nr * sizeof(*raw);

	if (fd < 0 || !raw)
		die("cannot open pagemap of %d: %s", pid, strerror(errno));
	if (pread(fd, raw, want, (uintptr_t)start / page_size * sizeof(*raw)) != want) {
		free(raw);
		raw = NULL;
	}
	close(fd);
	return raw;
}

int page_info(pid_t pid, const void *addr, struct page_info *info)
{
	static int self = -1;
	static pid_t owner;
	uint64_t raw;
	int fd;

	if (!pid && owner != getpid()) {
		/* A descriptor from before fork() shows the parent's memory. */
		if (self >= 0)
			close(self);
		self = open_proc(0, "pagemap");
		owner = getpid();
	}
	fd = pid ? open_proc(pid, "pagemap") : self;
	if (fd < 0)
		return -errno;
	if (pread(fd, &raw, sizeof(raw), (uintptr_t)addr / page_size * sizeof(raw)) != sizeof(raw))
		raw = 0;
	if (pid)
		close(fd);
	decode(raw, info);
	return 0;
}

size_t count_pages(pid_t pid, const void *start, size_t len, unsigned int flag)
{
	size_t i, n = 0, nr = len / page_size;
	uint64_t *raw = read_pagemap(pid, start, nr);
	struct page_info info;

	for (i = 0; raw && i < nr; i++) {
		decode(raw[i], &info);
		n += !!(info.flags & flag);
	}
	free(raw);
	return n;
}

uint64_t page_kpf(uint64_t pfn)
{
	static int fd = -1;
	uint64_t flags = 0;

	if (fd < 0)
		fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("cannot open /proc/kpageflags: %s (needs root and PROC_PAGE_MONITOR)",
		    strerror(errno));
	if (pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) != sizeof(flags))
		return 0;
	return flags;
}

size_t count_thp_pages(pid_t pid, const void *start, size_t len)
{
	size_t i, n = 0, nr = len / page_size;
	uint64_t *raw = read_pagemap(pid, start, nr);
	struct page_info info;

	for (i = 0; raw && i < nr; i++) {
		decode(raw[i], &info);
		if (info.pfn && (page_kpf(info.pfn) & KPF_THP_BIT))
			n++;
	}
	free(raw);
	return n;
}

size_t count_huge(pid_t pid, const void *start, size_t len)
{
	struct page_region vec[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)start,
		.end = (uintptr_t)start + len,
		.vec = (uintptr_t)vec,
		.vec_len = 64,
		.category_mask = PAGE_IS_HUGE,
		.return_mask = PAGE_IS_HUGE,
	};
	int fd = open_proc(pid, "pagemap");
	size_t bytes = 0;
	long n, i;

	if (fd < 0)
		return 0;
	while (arg.start < arg.end) {
		n = ioctl(fd, PAGEMAP_SCAN, &arg);
		if (n < 0)
			die("PAGEMAP_SCAN: %s", strerror(errno));
		for (i = 0; i < n; i++)
			bytes += vec[i].end - vec[i].start;
		arg.start = arg.walk_end;
	}
	close(fd);
	return bytes / pmd_size;
}

/* Calls @line for each line of each VMA that touches the range. */
static void walk_smaps(pid_t pid, uintptr_t start, uintptr_t end,
		       void (*line)(const char *text, void *arg), void *arg)
{
	int fd = open_proc(pid, "smaps");
	unsigned long lo, hi;
	bool inside = false;
	char text[512];
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f)
		return;
	while (fgets(text, sizeof(text), f)) {
		if (sscanf(text, "%lx-%lx ", &lo, &hi) == 2) {
			inside = lo < end && hi > start;
			if (lo >= end)
				break;
		} else if (inside) {
			line(text, arg);
		}
	}
	fclose(f);
}

struct field {
	const char *name;
	long sum;
	bool found;
};

static void sum_field(const char *text, void *arg)
{
	struct field *f = arg;
	size_t len = strlen(f->name);

	if (strncmp(text, f->name, len) || text[len] != ':')
		return;
	f->sum += strtol(text + len + 1, NULL, 10);
	f->found = true;
}

long smaps_kb(pid_t pid, const void *start, size_t len, const char *field)
{
	struct field f = { .name = field };

	walk_smaps(pid, (uintptr_t)start, (uintptr_t)start + len, sum_field, &f);
	return f.found ? f.sum : -1;
}

static void find_flag(const char *text, void *arg)
{
	struct field *f = arg;
	char word[8];

	if (strncmp(text, "VmFlags:", 8))
		return;
	snprintf(word, sizeof(word), " %s ", f->name);
	f->found |= strstr(text, word) != NULL;
}

bool smaps_flag(const void *addr, const char *two_letters)
{
	struct field f = { .name = two_letters };

	walk_smaps(0, (uintptr_t)addr, (uintptr_t)addr + 1, find_flag, &f);
	return f.found;
}

bool range_mapped(const void *start, size_t len)
{
	return msync((void *)start, len, MS_ASYNC) == 0;
}

int kernel_write(char *addr, uint64_t word)
{
	int p[2], err = 0;

	if (pipe(p) || write(p[1], &word, sizeof(word)) != sizeof(word))
		die("pipe: %s", strerror(errno));
	if (read(p[0], addr, sizeof(word)) < 0)
		err = -errno;
	close(p[0]);
	close(p[1]);
	return err;
}

int kernel_read(const char *addr)
{
	int p[2], err = 0;

	if (pipe(p))
		die("pipe: %s", strerror(errno));
	if (write(p[1], addr, 1) < 0)
		err = -errno;
	close(p[0]);
	close(p[1]);
	return err;
}
