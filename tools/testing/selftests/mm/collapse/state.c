// SPDX-License-Identifier: GPL-2.0
/* States of memory that take more than one step to bring about. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collapse.h"

#define MAX_HELD_PINS 64

void stamp_small(char *start, size_t len, size_t step, uint32_t version)
{
	size_t off;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		die("PR_SET_THP_DISABLE: %s", strerror(errno));
	for (off = 0; off < len; off += step * page_size)
		stamp(start + off, version);
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

void make_huge(char *start, size_t len)
{
	int err = collapse_settled(start, len);

	if (err || count_huge(0, start, len) != len / pmd_size)
		die("cannot make huge pages to start from: %s", strerror(-err));
}

void split_pmds(char *start, size_t len)
{
	char *p;

	for (p = start; p < start + len; p += pmd_size)
		if (mprotect(p, page_size, PROT_READ) ||
		    mprotect(p, page_size, PROT_READ | PROT_WRITE))
			die("mprotect: %s", strerror(errno));
	if (count_huge(0, start, len))
		die("a huge PMD survived mprotect() of one of its pages");
}

char *region_map_used(size_t nr_pmds)
{
	char *start = region_map(nr_pmds + 1), *end = start + nr_pmds * pmd_size;

	stamp(end, 1);
	if (mmap(end, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != end ||
	    munmap(end + page_size, pmd_size))
		die("cannot cut a region: %s", strerror(errno));
	return start;
}

void khugepaged_register(unsigned int ms)
{
	char *anchor = region_map_used(1);
	int err;

	if (madvise(anchor, pmd_size, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE: %s", strerror(errno));
	err = khugepaged_wake(ms);
	if (err)
		die("waking khugepaged: %s", strerror(-err));
	region_unmap(anchor, 1);
}

static pid_t fork_holder(int ready[2])
{
	pid_t pid;

	if (pipe(ready))
		die("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return 0;
	}
	close(ready[1]);
	return pid;
}

static void holder_stay(int fd, bool ok)
{
	if (!ok || write(fd, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void holder_wait(int fd, const char *what)
{
	char c;

	if (read(fd, &c, 1) != 1)
		die("the child could not %s", what);
	close(fd);
}

pid_t share_with_child(void)
{
	int ready[2];
	pid_t pid = fork_holder(ready);

	if (!pid)
		holder_stay(ready[1], true);
	holder_wait(ready[0], "start");
	return pid;
}

pid_t starve_in_child(void)
{
	int ready[2];
	pid_t pid = fork_holder(ready);

	if (!pid)
		holder_stay(ready[1], huge_starve() == 0);
	holder_wait(ready[0], "use up all huge pages");
	return pid;
}

pid_t share_swapped(char *start, size_t nr_pmds, size_t page, bool pinned)
{
	static struct pin pins[MAX_HELD_PINS];
	int ready[2], err;
	size_t i;
	pid_t pid;

	for (i = 0; i < nr_pmds; i++) {
		err = page_out(start + i * pmd_size + page * page_size, page_size);
		if (err)
			die("cannot page out: %s", strerror(-err));
	}
	pid = fork_holder(ready);
	if (!pid) {
		bool ok = nr_pmds <= MAX_HELD_PINS;

		for (i = 0; ok && i < nr_pmds; i++) {
			char *p = start + i * pmd_size;

			stamp_version(p + page * page_size);
			ok = !pinned || !pin_vmsplice(&pins[i], p + page * page_size);
			/* What else it inherited would make those pages shared. */
			munmap(p, page * page_size);
			munmap(p + (page + 1) * page_size, pmd_size - (page + 1) * page_size);
		}
		holder_stay(ready[1], ok);
	}
	holder_wait(ready[0], "hold the swapped page");
	return pid;
}

void child_end(pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}
