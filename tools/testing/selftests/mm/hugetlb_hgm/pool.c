// SPDX-License-Identifier: GPL-2.0
/* The pool of huge pages, and what this process has of it. */
#include <stdio.h>

#include "hgm.h"

/* What was freed may still be on its way: a pipe's buffer, a dying child. */
#define SETTLE_MS	3000

void pool_read(struct pool *p)
{
	p->total = field_of("/proc/meminfo", "HugePages_Total");
	p->free = field_of("/proc/meminfo", "HugePages_Free");
	p->rsvd = field_of("/proc/meminfo", "HugePages_Rsvd");
	p->surplus = field_of("/proc/meminfo", "HugePages_Surp");
}

static bool same(const struct pool *a, const struct pool *b)
{
	return a->total == b->total && a->free == b->free && a->rsvd == b->rsvd && a->surplus == b->surplus;
}

int pool_check(const struct pool *before)
{
	uint64_t end = now_ms() + SETTLE_MS;
	struct pool now;

	for (;;) {
		pool_read(&now);
		if (same(before, &now))
			return 0;
		if (now_ms() > end)
			break;
		sleep_ms(20);
	}
	return wrong("counters are not back: total %ld, was %ld; free %ld, was %ld; reserved %ld, was %ld; surplus %ld, was %ld",
		     now.total, before->total, now.free, before->free, now.rsvd, before->rsvd, now.surplus, before->surplus);
}

void pool_resize(long total)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "w");

	if (!f)
		return;
	fprintf(f, "%ld\n", total);
	fclose(f);
}

long hugetlb_kb(void)
{
	return field_of("/proc/self/status", "HugetlbPages");
}

long tables_kb(void)
{
	return field_of("/proc/self/status", "VmPTE");
}
