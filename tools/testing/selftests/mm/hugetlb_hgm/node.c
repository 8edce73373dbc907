// SPDX-License-Identifier: GPL-2.0
/* NUMA nodes, without libnuma. */
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hgm.h"

int node_count(void)
{
	char path[64];
	int n = 0;

	do {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", n);
	} while (!access(path, F_OK) && ++n);
	return n;
}

static int status_of(void *addr, const int *node, int flags)
{
	int status = -EINVAL;

	if (syscall(__NR_move_pages, 0, 1UL, &addr, node, &status, flags) < 0)
		return -errno;
	return status;
}

int node_of(const void *addr)
{
	return status_of((void *)addr, NULL, 0);
}

int node_move(void *addr, int node, int flags)
{
	uint64_t end = now_ms() + 3000;
	int status;

	/* What is busy has to be let go by others first. */
	do {
		status = status_of(addr, &node, flags);
		if (status == node)
			return 0;
	} while ((status == -EBUSY || status == -EAGAIN || status >= 0) && now_ms() < end);
	return status < 0 ? status : -EAGAIN;
}

int node_bind(void *start, size_t len, int node, unsigned int flags)
{
	unsigned long mask = 1UL << node;

	return syscall(__NR_mbind, start, len, 2UL /* MPOL_BIND */, &mask, 64UL, flags) ? -errno : 0;
}

long node_free(int node)
{
	char path[128];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/free_hugepages", node);
	f = fopen(path, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	fclose(f);
	return n;
}
