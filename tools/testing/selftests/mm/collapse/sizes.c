// SPDX-License-Identifier: GPL-2.0
/* Folios below the size of a PMD: their knobs, their counters, and where they are. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "collapse.h"

#define KPF_COMPOUND_HEAD	(1ull << 15)
#define KPF_COMPOUND_TAIL	(1ull << 16)

unsigned int pmd_order(void)
{
	return __builtin_ctzl(pmd_pages);
}

static void size_path(char *path, size_t len, unsigned int order, const char *file)
{
	snprintf(path, len, "hugepages-%zukB/%s", (page_size << order) >> 10, file);
}

unsigned int next_order(unsigned int order)
{
	return order + (getenv("FEW_KINDS") ? 2 : 1);
}

bool size_there(unsigned int order)
{
	char path[128];

	size_path(path, sizeof(path), order, "enabled");
	return order >= 2 && order <= pmd_order() && knob_there(path);
}

void size_enable(unsigned int order, const char *how)
{
	char path[128];

	size_path(path, sizeof(path), order, "enabled");
	knob_set(path, how);
}

void sizes_enable(unsigned int orders, const char *how)
{
	unsigned int order;

	for (order = 2; order <= pmd_order(); order++)
		if (orders & 1u << order)
			size_enable(order, how);
}

void shmem_sizes_enable(unsigned int orders, const char *how)
{
	char path[128];
	unsigned int order;

	for (order = 1; order <= pmd_order(); order++) {
		size_path(path, sizeof(path), order, "shmem_enabled");
		if (orders & 1u << order && knob_there(path))
			knob_set(path, how);
	}
}

long size_stat(unsigned int order, const char *name)
{
	char path[128], buf[32];

	snprintf(buf, sizeof(buf), "stats/%s", name);
	size_path(path, sizeof(path), order, buf);
	if (knob_read(path, buf, sizeof(buf)))
		return -1;
	return strtol(buf, NULL, 10);
}

bool is_folio(const char *start, unsigned int order)
{
	size_t nr = 1ul << order, i;
	struct page_info info;
	uint64_t first = 0, flags;

	for (i = 0; i < nr; i++) {
		if (page_info(0, start + i * page_size, &info) || !(info.flags & PAGE_PRESENT))
			return false;
		if (!i)
			first = info.pfn;
		flags = page_kpf(info.pfn);
		if (info.pfn != first + i || !(flags & (i ? KPF_COMPOUND_TAIL : KPF_COMPOUND_HEAD)))
			return false;
	}
	return first % nr == 0 && !(page_kpf(first + nr) & KPF_COMPOUND_TAIL);
}

size_t count_folios(const char *start, size_t len, unsigned int order)
{
	size_t off, nr = 0;

	for (off = 0; off < len; off += page_size << order)
		nr += is_folio(start + off, order);
	return nr;
}

int wait_folios(const char *start, size_t len, unsigned int order, size_t nr, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (count_folios(start, len, order) < nr) {
		if (now_ms() > end)
			return late("%zu of %zu folios of order %u after %u ms",
				    count_folios(start, len, order), nr, order, ms);
		sleep_ms(20);
	}
	return 0;
}

void fault_folios(char *start, size_t len, unsigned int order)
{
	size_t off;

	size_enable(order, "always");
	for (off = 0; off < len; off += page_size << order)
		*(volatile char *)(start + off) = 0;
	size_enable(order, "never");
	if (count_folios(start, len, order) != len / (page_size << order))
		die("faults gave no folios of order %u", order);
}
