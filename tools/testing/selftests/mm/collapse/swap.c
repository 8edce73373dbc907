// SPDX-License-Identifier: GPL-2.0
/* Swap devices: a zram device when the machine has no swap of its own. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#include "collapse.h"

#define ZRAM "/dev/zram0"

static bool made;

const char *swap_device(void)
{
	static char dev[128];
	char text[256];
	FILE *f = fopen("/proc/swaps", "r");

	dev[0] = 0;
	while (f && fgets(text, sizeof(text), f))
		if (sscanf(text, "/%126s", dev + 1) == 1) {
			dev[0] = '/';
			break;
		}
	if (f)
		fclose(f);
	return dev[0] ? dev : NULL;
}

bool swap_active(void)
{
	return swap_device() != NULL;
}

/* The version 1 header: signature at the end of the first page. */
static int write_header(const char *dev, uint32_t last_page)
{
	char *page = calloc(1, page_size);
	uint32_t *info = (uint32_t *)(page + 1024);
	int fd = open(dev, O_RDWR);
	int err = 0;

	if (fd < 0) {
		free(page);
		return -errno;
	}
	info[0] = 1;
	info[1] = last_page;
	memcpy(page + page_size - 10, "SWAPSPACE2", 10);
	if (write(fd, page, page_size) != (ssize_t)page_size)
		err = -EIO;
	fsync(fd);
	close(fd);
	free(page);
	return err;
}

int swap_setup(unsigned int mib)
{
	char size[32];
	int err;

	if (swap_active())
		return 0;
	if (access("/sys/block/zram0", F_OK))
		return -ENODEV;
	knob_try("/sys/block/zram0/reset", "1");
	snprintf(size, sizeof(size), "%uM", mib);
	err = knob_try("/sys/block/zram0/disksize", size);
	if (!err)
		err = write_header(ZRAM, ((uint64_t)mib << 20) / page_size - 1);
	if (!err)
		err = swap_on(ZRAM);
	made = !err;
	return err;
}

void swap_teardown(void)
{
	if (!made)
		return;
	swap_off(ZRAM);
	knob_try("/sys/block/zram0/reset", "1");
	made = false;
}

int swap_on(const char *dev)
{
	return swapon(dev, 0) ? -errno : 0;
}

int swap_off(const char *dev)
{
	return swapoff(dev) ? -errno : 0;
}

/* Until as many of the pages as wanted have @flag; each try is on the next CPU, as it empties the LRU batches of that one. */
static int page_out_until(char *start, size_t len, unsigned int flag, size_t wanted)
{
	uint64_t end = now_ms() + 10000;
	cpu_set_t before, one;
	unsigned int cpu = 0;
	int err;

	if (sched_getaffinity(0, sizeof(before), &before))
		return -errno;
	do {
		do
			cpu = (cpu + 1) % CPU_SETSIZE;
		while (!CPU_ISSET(cpu, &before));
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		err = madvise(start, len, MADV_PAGEOUT) ? -errno : 0;
		if (err || count_pages(0, start, len, flag) == wanted)
			goto out;
		sleep_ms(10);
	} while (now_ms() < end);
	err = late("not all of %zu pages are paged out after 10 s", len / page_size);
out:
	sched_setaffinity(0, sizeof(before), &before);
	return err;
}

int page_out(char *start, size_t len)
{
	return page_out_until(start, len, PAGE_SWAPPED, len / page_size);
}

int page_out_gone(char *start, size_t len)
{
	return page_out_until(start, len, PAGE_PRESENT, 0);
}
