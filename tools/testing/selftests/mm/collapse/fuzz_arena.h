/* SPDX-License-Identifier: GPL-2.0 */
/* The memory that fuzz works on, and what its pages hold; a part of fuzz_call.h. */
#ifndef FUZZ_ARENA_H
#define FUZZ_ARENA_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>

#define ARENA		0x200000000000ul
#define ARENA_PMDS	3
#define PMD_PAGES	512u
#define ARENA_PAGES	(ARENA_PMDS * PMD_PAGES)
#define PAGE		4096ul
#define AT(page)	((char *)ARENA + (page) * PAGE)
#define WORDS		(PAGE / sizeof(uint64_t))

/* Kinds of f_map(). */
enum { ANON, FILE_SHARED, FILE_PRIVATE, ANON_SHARED };
/* What f_fork() does in the child, before it looks at all of its memory. */
enum { CHILD_LOOK, CHILD_WRITE, CHILD_COLLAPSE, CHILD_DONTNEED, CHILD_UNMAP, CHILD_DAEMON, CHILD_ACTS };
/* How an access ends; of several, two bits each. */
enum { TOUCHED, SEGFAULT, BUS };

#define F	static __attribute__((unused))

/* A page's content is told by its version: three words of it, and zeroes. 0 is an empty page. */
F uint64_t f_word(uint32_t version, unsigned int at)
{
	bool marked = at == 0 || at == WORDS / 2 || at == WORDS - 1;

	return version && marked ? version * 0x9e3779b97f4a7c15ull + at : 0;
}

#endif /* FUZZ_ARENA_H */
