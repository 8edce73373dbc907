// SPDX-License-Identifier: GPL-2.0
/* Races with processes that come and go: fork, exit, kill, memory cgroup OOM. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "race.h"

#define MAX_CHILDREN 4

static void reap(struct race *r, int *alive, int wait_for, bool kills)
{
	int status;

	while (*alive > wait_for) {
		if (waitpid(-1, &status, 0) < 0)
			die("waitpid: %s", strerror(errno));
		(*alive)--;
		if (kills && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			continue;
		if (status)
			race_fail(r, "a child ended with status %#x", status);
	}
}

/* ---- fork() ---- */

/* The snapshot must be exact and private. */
static int forked_child(struct race *r)
{
	size_t n;

	for (n = race_random() % 8; n < race_pages(r); n += 8)
		if (!race_check(r, n))
			return 1;
	for (n = 0; n < race_pages(r); n += 16)
		race_write(r, n);
	collapse(r->base + race_random() % r->nr_pmds * pmd_size, pmd_size);
	for (n = 0; n < race_pages(r); n += 16)
		if (!race_check(r, n))
			return 2;
	return 0;
}

/* The only writer, so that versions and memory agree at each fork. */
static void *forker(void *arg)
{
	struct race *r = arg;
	int alive = 0, i;

	while (!r->stop) {
		pid_t pid = fork();

		if (!pid)
			_exit(forked_child(r));
		if (pid < 0)
			die("fork: %s", strerror(errno));
		alive++;
		race_add(r->disturbed, 1);
		for (i = 0; i < 200; i++) {
			size_t n = race_random() % race_pages(r);

			if (race_check(r, n))
				race_write(r, n);
		}
		reap(r, &alive, MAX_CHILDREN - 1, false);
	}
	reap(r, &alive, 0, false);
	return NULL;
}

int race_fork(void)
{
	struct race *r = race_start("fork", 3);

	race_thread(r, forker);
	race_thread(r, race_collapser);
	race_thread(r, race_splitter);
	return race_finish(r);
}

/* ---- exit and kill -9 ---- */

static void *victim_collapser(void *arg)
{
	char *mem = arg;
	int i;

	for (;;)
		for (i = 0; i < 2; i++)
			collapse(mem + i * pmd_size, pmd_size);
	return NULL;
}

/* Collapses itself from two threads, then leaves in the middle of it. */
static void victim(int ready, char *mem)
{
	pthread_t thread[2];
	size_t off;
	int i;

	/* Up to now the daemon could see the parent's registration only. */
	for (off = 0; off < 2 * pmd_size; off += page_size)
		stamp(mem + off, 3);
	madvise(mem, 2 * pmd_size, MADV_HUGEPAGE);
	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, victim_collapser, mem);
	if (write(ready, "r", 1) != 1)
		_exit(9);
	for (i = race_random() % 20; i; i--) {
		madvise(mem + race_random() % (2 * pmd_pages) * page_size, page_size, MADV_COLD);
		sched_yield();
	}
	for (off = 0; off < 2 * pmd_size; off += page_size)
		if (stamp_check(mem + off, 3))
			_exit(1);
	_exit(0);
}

static void *killer(void *arg)
{
	struct race *r = arg;
	char *mem = region_map(2);

	while (!r->stop) {
		int ready[2], alive = 1, fd, i;
		bool kills = race_random() & 1;
		pid_t pid;
		char c;

		if (pipe(ready))
			die("pipe: %s", strerror(errno));
		pid = fork();
		if (!pid)
			victim(ready[1], mem);
		close(ready[1]);
		fd = pidfd_open_(pid);
		if (read(ready[0], &c, 1) != 1)
			kills = false;
		close(ready[0]);
		/* A collapse from here must not touch what is being torn down. */
		for (i = race_random() % 6; i >= 0 && fd >= 0; i--) {
			ssize_t n = collapse_process(fd, mem + i % 2 * pmd_size, pmd_size);

			if (n > 0)
				race_add(r->collapsed, 1);
			else if (n != -EAGAIN && n != -EINVAL && n != -EBUSY &&
				 n != -ENOMEM && n != -ESRCH)
				race_fail(r, "process_madvise gives %s", strerror(-n));
			if (i == 1 && kills)
				kill(pid, SIGKILL);
		}
		if (kills)
			kill(pid, SIGKILL);
		if (fd >= 0)
			close(fd);
		reap(r, &alive, 0, kills);
		race_add(r->disturbed, 1);
		race_add(r->checked, 1);
	}
	return NULL;
}

int race_exit(void)
{
	struct race *r = race_start("exit", 1);

	race_thread(r, killer);
	return race_finish(r);
}

/* ---- OOM in a memory cgroup ---- */

struct oom_account {
	long collapsed, ended;
};

/* Takes memory in huge and small pages until it does not get any more. */
static void glutton(struct oom_account *account)
{
	size_t i, n, off;
	char *mem[64];

	for (i = 0; i < 64; i++) {
		mem[i] = region_map(1);
		for (off = 0; off < pmd_size; off += page_size)
			stamp(mem[i] + off, i + 1);
		madvise(mem[i], pmd_size, MADV_HUGEPAGE);
		if (!collapse(mem[i], pmd_size))
			race_add(account->collapsed, 1);
		n = race_random() % (i + 1);
		madvise(mem[n], page_size, MADV_COLD);
		for (off = 0; off < pmd_size; off += page_size)
			if (stamp_check(mem[n] + off, n + 1))
				_exit(1);
	}
	_exit(0);
}

static void *oom_maker(void *arg)
{
	struct race *r = arg;
	struct oom_account *account = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct memcg cg;
	int alive = 0, err;

	err = memcg_create(&cg, "collapse-oom");
	if (err || account == MAP_FAILED)
		die("memory cgroup: %s", strerror(-err));
	memcg_set(&cg, "memory.swap.max", "0");
	/* Less than one child wants. */
	memcg_set_num(&cg, "memory.max", 30 * pmd_size);
	while (!r->stop) {
		pid_t pid = fork();

		if (!pid) {
			if (memcg_enter(&cg))
				_exit(8);
			knob_try("/proc/self/oom_score_adj", "1000");
			glutton(account);
		}
		alive++;
		reap(r, &alive, 2, true);
		r->disturbed = memcg_event(&cg, "memory.events", "oom_kill");
		r->collapsed = account->collapsed;
	}
	reap(r, &alive, 0, true);
	r->checked = r->disturbed;
	memcg_set(&cg, "memory.reclaim", "1G");
	if (memcg_num(&cg, "memory.current") > (long)pmd_size)
		race_fail(r, "the empty memory cgroup still has %ld bytes charged",
			  memcg_num(&cg, "memory.current"));
	memcg_destroy(&cg);
	return NULL;
}

int race_memcg_oom(void)
{
	struct race *r = race_start("memcg_oom", 1);

	race_thread(r, oom_maker);
	return race_finish(r);
}
