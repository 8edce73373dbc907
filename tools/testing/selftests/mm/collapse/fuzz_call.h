/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls that fuzz makes, one function each, without anything else of it:
 * scripts/fuzz.py puts this file in front of a sequence that it prints as a
 * program. Pages are counted from the start of the arena; what can fail
 * returns a negative errno. One process, one processor.
 */
#ifndef FUZZ_CALL_H
#define FUZZ_CALL_H

#include "fuzz_arena.h"

F int f_fd = -1, f_uffd = -1, f_pin[2] = { -1, -1 }, f_held[2] = { -1, -1 };
F int f_wake = -1, f_stat = -1, f_scans = -1;
F pid_t f_child;
F bool f_markers;			/* something is, or was, write-protected by userfaultfd */
F unsigned int f_retries;		/* EAGAIN that was not the last word */
F long *f_shared;			/* what a child's call returned */
F long (*f_look)(void);			/* what a child has to say of its memory */
F void (*f_acted)(int act, unsigned int page, unsigned int n, uint32_t version, long ret);
F sigjmp_buf f_env;
F volatile int f_caught, f_armed;

F long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

F void f_signal(int sig)
{
	if (!f_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	f_armed = 0;
	f_caught = sig == SIGBUS ? BUS : SEGFAULT;
	siglongjmp(f_env, 1);
}

F void f_knob(const char *file, const char *text)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/mm/transparent_hugepage/%s", file);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "%s > %s: %s\n", text, path, strerror(errno));
	close(fd);
}

/* The file is a memfd, or without a name in @dir. */
F void f_start(const char *dir, unsigned int pages)
{
	struct sigaction act = { .sa_handler = f_signal, .sa_flags = SA_NODEFER };

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
	f_fd = dir ? open(dir, O_TMPFILE | O_RDWR, 0600) : memfd_create("fuzz", 0);
	f_shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f_fd < 0 || ftruncate(f_fd, pages * PAGE) || f_shared == MAP_FAILED)
		perror("the file");
}

F long f_map(unsigned int page, unsigned int n, int prot, int kind, unsigned int off)
{
	static const int flags[] = {
		[ANON] = MAP_PRIVATE | MAP_ANONYMOUS, [FILE_SHARED] = MAP_SHARED,
		[FILE_PRIVATE] = MAP_PRIVATE, [ANON_SHARED] = MAP_SHARED | MAP_ANONYMOUS,
	};
	bool file = !(flags[kind] & MAP_ANONYMOUS);
	void *got = mmap(AT(page), n * PAGE, prot, flags[kind] | MAP_FIXED, file ? f_fd : -1,
			 file ? off * PAGE : 0);

	return got == MAP_FAILED ? -errno : 0;
}

F long f_unmap(unsigned int page, unsigned int n)
{
	return result(munmap(AT(page), n * PAGE));
}

/* MADV_COLLAPSE may say EAGAIN for what only another part of the kernel does. */
F long f_advise(unsigned int page, unsigned int n, int advice)
{
	long err;
	int again;

	/* Linux 7.3 does not come to an end where shared memory has a marker of that: it zaps, finds it, and begins again. */
	if (advice == 102 /* MADV_GUARD_INSTALL */ && f_markers)
		return -EBUSY;
	err = result(madvise(AT(page), n * PAGE, advice));
	for (again = 0; advice == 25 && err == -EAGAIN && again < 3; again++) {
		usleep(again * 1000);
		err = result(madvise(AT(page), n * PAGE, advice));
		f_retries += err != -EAGAIN;
	}
	return err;
}

F long f_protect(unsigned int page, unsigned int n, int prot)
{
	return result(mprotect(AT(page), n * PAGE, prot));
}

F long f_move(unsigned int page, unsigned int n, unsigned int to, int dontunmap)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | (dontunmap ? 4 : 0);

	return mremap(AT(page), n * PAGE, n * PAGE, flags, AT(to)) == MAP_FAILED ? -errno : 0;
}

F long f_resize(unsigned int page, unsigned int n, unsigned int to)
{
	return mremap(AT(page), n * PAGE, to * PAGE, 0) == MAP_FAILED ? -errno : 0;
}

F void f_page(uint64_t *page, uint32_t version)
{
	memset(page, 0, PAGE);
	page[0] = f_word(version, 0);
	page[WORDS / 2] = f_word(version, WORDS / 2);
	page[WORDS - 1] = f_word(version, WORDS - 1);
}

F int f_write_one(unsigned int page, uint32_t version)
{
	volatile uint64_t *at = (uint64_t *)AT(page);

	if (sigsetjmp(f_env, 0))
		return f_caught;
	f_armed = 1;
	at[0] = f_word(version, 0);
	at[WORDS / 2] = f_word(version, WORDS / 2);
	at[WORDS - 1] = f_word(version, WORDS - 1);
	f_armed = 0;
	return TOUCHED;
}

/* @nr pages, each @step behind the last, of the versions from @version on. */
F long f_write(unsigned int page, unsigned int nr, unsigned int step, uint32_t version)
{
	unsigned int i;
	long ends = 0;

	for (i = 0; i < nr; i++)
		ends |= (long)f_write_one(page + i * step, version + i) << 2 * i;
	return ends;
}

F int f_read_one(unsigned int page, uint64_t *word)
{
	if (sigsetjmp(f_env, 0))
		return f_caught;
	f_armed = 1;
	*word = *(volatile uint64_t *)AT(page);
	f_armed = 0;
	return TOUCHED;
}

F bool f_zeroes(const volatile uint64_t *p, unsigned int n)
{
	for (; n >= 4; p += 4, n -= 4)
		if (p[0] | p[1] | p[2] | p[3])
			return false;
	while (n--)
		if (*p++)
			return false;
	return true;
}

F bool f_is(const volatile uint64_t *p, uint32_t version)
{
	return p[0] == f_word(version, 0) && p[WORDS / 2] == f_word(version, WORDS / 2) &&
	       p[WORDS - 1] == f_word(version, WORDS - 1) &&
	       f_zeroes(p + 1, WORDS / 2 - 1) && f_zeroes(p + WORDS / 2 + 1, WORDS / 2 - 2);
}

/* Every byte of the page: does it have this version, or is it empty, if that will do? */
F int f_check(unsigned int page, uint32_t version, bool or_zero, bool *right)
{
	const volatile uint64_t *p = (uint64_t *)AT(page);

	if (sigsetjmp(f_env, 0))
		return f_caught;
	f_armed = 1;
	*right = f_is(p, version) || (or_zero && f_is(p, 0));
	f_armed = 0;
	return TOUCHED;
}

F long f_read(unsigned int page, unsigned int nr, unsigned int step)
{
	unsigned int i;
	uint64_t word;
	long ends = 0;

	for (i = 0; i < nr; i++)
		ends |= (long)f_read_one(page + i * step, &word) << 2 * i;
	return ends;
}

F long f_passes(void)
{
	char text[16] = "";

	return pread(f_scans, text, sizeof(text) - 1, 0) > 0 ? atol(text) : -1;
}

/*
 * One pass over all processes; the daemon's sleep is long, and its list never
 * empty. A task that looks whether to go on sleeping is in state S, too, so
 * that alone does not mean that the pass is over, unless it stays so: a pass
 * ends early if there is no huge page.
 */
F long f_daemon(void)
{
	struct timespec nap = { 0, 50000 };
	long before = f_passes();
	unsigned int naps, asleep = 0;
	char text[256], *state;
	ssize_t n;

	if (write(f_wake, "86400000", 8) != 8)
		return -errno;
	for (naps = 0; naps < 200000; naps++) {
		nanosleep(&nap, NULL);
		n = pread(f_stat, text, sizeof(text) - 1, 0);
		if (n <= 0)
			return -ESRCH;
		text[n] = 0;
		state = strrchr(text, ')');
		asleep = state && state[2] == 'S' ? asleep + 1 : 0;
		if (asleep > 500 || (asleep && f_passes() != before))
			return 0;
	}
	return -ETIMEDOUT;
}

F void f_daemon_open(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *de;
	char path[300], comm[16];

	while (dir && f_stat < 0 && (de = readdir(dir))) {
		int fd, n;

		snprintf(path, sizeof(path), "/proc/%s/comm", de->d_name);
		fd = open(path, O_RDONLY);
		n = fd < 0 ? 0 : read(fd, comm, sizeof(comm));
		close(fd);
		if (n != 11 || memcmp(comm, "khugepaged", 10))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", de->d_name);
		f_stat = open(path, O_RDONLY);
	}
	if (dir)
		closedir(dir);
	f_wake = open("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", O_WRONLY);
	f_scans = open("/sys/kernel/mm/transparent_hugepage/khugepaged/full_scans", O_RDONLY);
}

F long f_limits(unsigned int none, unsigned int swap, unsigned int shared)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", none);
	f_knob("khugepaged/max_ptes_none", text);
	snprintf(text, sizeof(text), "%u", swap);
	f_knob("khugepaged/max_ptes_swap", text);
	snprintf(text, sizeof(text), "%u", shared);
	f_knob("khugepaged/max_ptes_shared", text);
	return 0;
}

F long f_act(int act, unsigned int page, unsigned int n, uint32_t version)
{
	switch (act) {
	case CHILD_WRITE:
		return f_write(page, n < 4 ? n : 4, 1, version);
	case CHILD_COLLAPSE:
		return f_advise(page, n, 25);
	case CHILD_DONTNEED:
		return f_advise(page, n, MADV_DONTNEED);
	case CHILD_UNMAP:
		return f_unmap(page, n);
	case CHILD_DAEMON:
		return f_daemon();
	}
	return 0;
}

F pid_t f_fork_one(void)
{
	pid_t pid = fork();

	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

F long f_wait(pid_t pid)
{
	int status;

	if (pid <= 0 || waitpid(pid, &status, 0) != pid)
		return -ECHILD;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* The act's result, and above it whether the child found its memory as it should be. */
F long f_fork(int act, unsigned int page, unsigned int n, uint32_t version)
{
	pid_t pid = f_fork_one();
	long status;

	if (!pid) {
		*f_shared = f_act(act, page, n, version);
		if (f_acted)
			f_acted(act, page, n, version, *f_shared);
		_exit(f_look ? f_look() : 0);
	}
	status = f_wait(pid);
	return status ? 100000 + status : *f_shared;
}

/*
 * A child that waits until f_reap(), and then looks at its memory. It is asleep
 * before anything else happens: the daemon passes by who is busy with its memory.
 */
F long f_hold(void)
{
	int ready[2];
	char c;

	if (f_child)
		return -EBUSY;
	if (pipe(f_held) || pipe(ready))
		return -errno;
	f_child = f_fork_one();
	if (!f_child) {
		close(f_held[1]);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		_exit(read(f_held[0], &c, 1) == 1 && f_look ? f_look() : 0);
	}
	close(f_held[0]);
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		perror("the child");
	close(ready[0]);
	usleep(50);
	return 0;
}

F long f_reap(void)
{
	long status;

	if (!f_child)
		return -ECHILD;
	if (write(f_held[1], "x", 1) != 1)
		perror("the child");
	close(f_held[1]);
	status = f_wait(f_child);
	f_child = 0;
	return status;
}

#include "fuzz_call_more.h"

#endif /* FUZZ_CALL_H */
