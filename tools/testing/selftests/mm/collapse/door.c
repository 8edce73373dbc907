// SPDX-License-Identifier: GPL-2.0
/* MADV_COLLAPSE, process_madvise() and the daemon. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "collapse.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef __NR_process_madvise
#define __NR_process_madvise 440
#endif
#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif

#define POLL_MS 10

int collapse(void *start, size_t len)
{
	return madvise(start, len, MADV_COLLAPSE) ? -errno : 0;
}

unsigned long collapse_retries;

int collapse_settled(void *start, size_t len)
{
	uint64_t end = now_ms() + 5000;
	int err;

	do {
		err = collapse(start, len);
		if (err != -EAGAIN)
			return err;
		collapse_retries++;
		sleep_ms(POLL_MS);
	} while (now_ms() < end);
	return err;
}

int pidfd_open_(pid_t pid)
{
	int fd = syscall(__NR_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

ssize_t collapse_process(int pidfd, void *start, size_t len)
{
	struct iovec iov = { start, len };
	ssize_t n = syscall(__NR_process_madvise, pidfd, &iov, 1, MADV_COLLAPSE, 0);

	return n < 0 ? -errno : n;
}

pid_t kernel_thread_pid(const char *name)
{
	char path[300], comm[32];
	struct dirent *de;
	DIR *dir = opendir("/proc");
	pid_t pid = 0;

	while (dir && !pid && (de = readdir(dir))) {
		if (!isdigit((unsigned char)de->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", de->d_name);
		if (knob_read(path, comm, sizeof(comm)) || strcmp(comm, name))
			continue;
		/* A kernel thread has no executable; a test of this name has. */
		snprintf(path, sizeof(path), "/proc/%s/exe", de->d_name);
		if (readlink(path, comm, sizeof(comm)) < 0)
			pid = atoi(de->d_name);
	}
	if (dir)
		closedir(dir);
	return pid;
}

pid_t khugepaged_pid(void)
{
	return kernel_thread_pid("khugepaged");
}

int khugepaged_wait_thread(bool there, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	do {
		if (there == (khugepaged_pid() != 0))
			return 0;
		sleep_ms(POLL_MS);
	} while (now_ms() < end);
	return late("khugepaged is %sthere after %u ms", there ? "not " : "", ms);
}

void khugepaged_fast(void)
{
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	knob_set_num("khugepaged/alloc_sleep_millisecs", 10);
	knob_set_num("khugepaged/scan_sleep_millisecs", 10);
}

void khugepaged_idle(void)
{
	knob_set_num("khugepaged/scan_sleep_millisecs", 24u * 3600 * 1000);
}

int khugepaged_wait_asleep(unsigned int ms)
{
	uint64_t end = now_ms() + ms;
	char path[64], line[256], *state;
	int seen = 0;

	/* Twice in a row: it also sleeps, shortly, when an allocation failed. */
	snprintf(path, sizeof(path), "/proc/%d/stat", khugepaged_pid());
	while (seen < 2) {
		if (now_ms() > end)
			return late("khugepaged is still awake after %u ms", ms);
		sleep_ms(POLL_MS);
		if (knob_read(path, line, sizeof(line)))
			return -ESRCH;
		state = strrchr(line, ')');
		seen = state && state[2] == 'S' ? seen + 1 : 0;
	}
	return 0;
}

int khugepaged_wake(unsigned int ms)
{
	int err = khugepaged_wait_asleep(ms);

	if (err)
		return err;
	khugepaged_idle();
	return khugepaged_wait_asleep(ms);
}

int khugepaged_passes(unsigned int n, unsigned int ms)
{
	uint64_t end = now_ms() + ms;
	unsigned int first = full_scans();

	/* The pass under way may have gone by already: it does not count. */
	while ((unsigned int)full_scans() - first < n + 1) {
		if (now_ms() > end)
			return late("%u passes after %u ms, not %u",
				    (unsigned int)full_scans() - first, ms, n + 1);
		sleep_ms(POLL_MS);
	}
	return 0;
}

int khugepaged_run(unsigned int n, unsigned int ms)
{
	int err, asleep;

	khugepaged_fast();
	err = khugepaged_passes(n, ms);
	khugepaged_idle();
	asleep = khugepaged_wait_asleep(ms);
	return err ?: asleep;
}

int khugepaged_wait_huge(const void *start, size_t len, size_t nr, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (count_huge(0, start, len) < nr) {
		if (now_ms() > end)
			return late("%zu of %zu huge pages after %u ms",
				    count_huge(0, start, len), nr, ms);
		sleep_ms(POLL_MS);
	}
	return 0;
}

int forget_references(char *start, size_t len)
{
	int err = knob_try("/proc/self/clear_refs", "1");

	if (!err && (mprotect(start, len, PROT_READ) || mprotect(start, len, PROT_READ | PROT_WRITE)))
		err = -errno;
	return err;
}

int split_range(char *start)
{
	uint64_t end = now_ms() + 5000;

	/* A hint for a part of a huge page splits it and keeps its content. */
	do {
		if (madvise(start, page_size, MADV_COLD))
			return -errno;
		if (!count_thp_pages(0, start, page_size))
			return 0;
		sleep_ms(1);
	} while (now_ms() < end);
	return late("a huge page is not split after 5 s");
}
