// SPDX-License-Identifier: GPL-2.0
/*
 * herd NAME: collapses the memory of every process of that name, PMD by PMD, as
 * any manager of memory may from outside, and splits it again, until it is
 * killed. Says in the end how many it has made.
 */
#include <errno.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "collapse.h"

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

static void split_process(int pidfd, char *page)
{
	struct iovec range = { page, page_size };

	syscall(__NR_process_madvise, pidfd, &range, 1, MADV_COLD, 0);
}

/* Each whole PMD of a line of maps; how many are huge now. */
static long herd_mapping(int pidfd, char *start, char *end)
{
	char *at = (char *)(((uintptr_t)start + pmd_size - 1) / pmd_size * pmd_size);
	long made = 0;

	for (; at + pmd_size <= end && !stop; at += pmd_size) {
		if (collapse_process(pidfd, at, pmd_size) == (ssize_t)pmd_size)
			made++;
		split_process(pidfd, at + pmd_size / 2);
	}
	return made;
}

static long herd_process(const char *pid)
{
	int pidfd = pidfd_open_(atoi(pid));
	char path[64], line[512];
	long made = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "r");
	while (pidfd >= 0 && maps && fgets(line, sizeof(line), maps)) {
		unsigned long start, end;
		char perms[5];

		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3 && perms[0] == 'r')
			made += herd_mapping(pidfd, (char *)start, (char *)end);
	}
	if (maps)
		fclose(maps);
	if (pidfd >= 0)
		close(pidfd);
	return made;
}

static bool is_called(const char *pid, const char *name)
{
	char path[64], comm[64];

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	return knob_read(path, comm, sizeof(comm)) == 0 && strcmp(comm, name) == 0;
}

int main(int argc, char **argv)
{
	struct dirent *de;
	long made = 0;
	DIR *proc;

	if (argc != 2) {
		fprintf(stderr, "usage: herd NAME\n");
		return 2;
	}
	collapse_init();
	signal(SIGTERM, on_signal);
	while (!stop) {
		proc = opendir("/proc");
		while (!stop && proc && (de = readdir(proc)))
			if (de->d_name[0] >= '1' && de->d_name[0] <= '9' && is_called(de->d_name, argv[1]))
				made += herd_process(de->d_name);
		if (proc)
			closedir(proc);
		sleep_ms(5);
	}
	printf("%ld collapses from outside\n", made);
	/* This program has changed no knob; what others have set is to stay. */
	_exit(fflush(stdout) ? 1 : 0);
}
