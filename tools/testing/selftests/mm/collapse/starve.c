// SPDX-License-Identifier: GPL-2.0
/*
 * Makes allocations of a huge page fail: by fault injection where the kernel
 * has it, else by really using up every free block of that size, with one
 * page per block that cannot be moved.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "collapse.h"

#define FAIL_DIR	"/sys/kernel/debug/fail_page_alloc"
#define RESERVE_MB	96
#define PIPE_PAGES	256
#define MAX_PIPES	64
#define MAX_EATEN	4096

static bool injected;
static int pipes[MAX_PIPES][2], nr_pipes, room;
static char *eaten[MAX_EATEN];
static int nr_eaten;

static void inject(void)
{
	knob_set(FAIL_DIR "/probability", "0");
	knob_set(FAIL_DIR "/interval", "1");
	knob_set(FAIL_DIR "/space", "0");
	knob_set(FAIL_DIR "/verbose", "0");
	knob_set(FAIL_DIR "/times", "-1");
	knob_set(FAIL_DIR "/task-filter", "N");
	knob_set(FAIL_DIR "/ignore-gfp-wait", "N");
	knob_set(FAIL_DIR "/ignore-gfp-highmem", "N");
	knob_set_num(FAIL_DIR "/min-order", __builtin_ctzl(pmd_pages));
	knob_set(FAIL_DIR "/probability", "100");
	injected = true;
}

static void hold(char *page)
{
	struct iovec iov = { page, 1 };

	if (!room) {
		if (nr_pipes == MAX_PIPES)
			return;
		if (pipe(pipes[nr_pipes]))
			die("pipe: %s", strerror(errno));
		room = fcntl(pipes[nr_pipes][1], F_SETPIPE_SZ, PIPE_PAGES * page_size);
		room = room < 0 ? 16 : room / (int)page_size;
		nr_pipes++;
	}
	if (vmsplice(pipes[nr_pipes - 1][1], &iov, 1, SPLICE_F_NONBLOCK) != 1)
		die("vmsplice: %s", strerror(errno));
	room--;
}

/* Fills memory with small pages and keeps one page of each block. */
static void break_blocks(void)
{
	long free_mb = meminfo_kb("MemFree") / 1024;
	size_t len = free_mb > RESERVE_MB + 8 ? (size_t)(free_mb - RESERVE_MB) << 20 : 0;
	uint64_t max_blocks = (uint64_t)meminfo_kb("MemTotal") * 8 * 1024 / pmd_size;
	char *seen = calloc(1, max_blocks), *mem, *p;
	struct page_info info;

	if (!len || !seen) {
		free(seen);
		return;
	}
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		die("mmap of %zu bytes: %s", len, strerror(errno));
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	for (p = mem; p < mem + len; p += page_size)
		*(volatile char *)p = 1;
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	for (p = mem; p < mem + len; p += page_size) {
		uint64_t block;

		if (page_info(0, p, &info) || !info.pfn)
			continue;
		block = info.pfn / pmd_pages;
		if (block >= max_blocks || seen[block])
			continue;
		seen[block] = 1;
		hold(p);
	}
	munmap(mem, len);
	free(seen);
}

/* Takes the blocks that are left until there is none. */
static int eat_blocks(void)
{
	while (nr_eaten < MAX_EATEN) {
		char *mem = region_map(1);
		int err;

		*(volatile char *)mem = 1;
		err = collapse_settled(mem, pmd_size);
		eaten[nr_eaten++] = mem;
		if (err)
			return err == -ENOMEM ? 0 : err;
	}
	return -E2BIG;
}

int huge_starve(void)
{
	if (knob_there(FAIL_DIR)) {
		inject();
		return 0;
	}
	break_blocks();
	return eat_blocks();
}

void huge_feed(void)
{
	if (injected)
		knob_set(FAIL_DIR "/probability", "0");
	injected = false;
	while (nr_eaten)
		region_unmap(eaten[--nr_eaten], 1);
	while (nr_pipes--) {
		close(pipes[nr_pipes][0]);
		close(pipes[nr_pipes][1]);
	}
	nr_pipes = room = 0;
}
