// SPDX-License-Identifier: GPL-2.0
/* The threads of a race, and children. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hgm.h"

/* Far more than any passage takes, even emulated. */
#define STUCK_MS	30000

void crew_add(struct crew *c, void *(*fn)(void *), void *arg)
{
	if (c->nr == MAX_CREW || pthread_create(&c->thread[c->nr], NULL, fn, arg))
		die("no thread");
	c->nr++;
}

void crew_fail(struct crew *c, const char *fmt, ...)
{
	char line[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (!__atomic_exchange_n(&c->failed, true, __ATOMIC_SEQ_CST))
		wrong("%s", line);
	__atomic_store_n(&c->stop, true, __ATOMIC_SEQ_CST);
}

static void print_stacks(void)
{
	DIR *dir = opendir("/proc/self/task");
	char path[300], line[200];
	struct dirent *d;
	FILE *f;

	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/stack", d->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		printf("# thread %s\n", d->d_name);
		while (fgets(line, sizeof(line), f))
			printf("#   %s", line);
		fclose(f);
	}
	if (dir)
		closedir(dir);
	fflush(stdout);
}

int crew_run(struct crew *c, unsigned int ms)
{
	uint64_t start = now_ms(), moved = start;
	long last = 0, now;
	struct timespec t;
	int i;

	while (crew_on(c) && now_ms() < start + ms) {
		sleep_ms(20);
		now = c->progress ? count_of(*c->progress) : last + 1;
		if (now != last) {
			last = now;
			moved = now_ms();
		} else if (now_ms() > moved + STUCK_MS) {
			wrong("no progress for %d s: a lost wake-up, or a fault that never ends", STUCK_MS / 1000);
			print_stacks();
			_exit(1);
		}
	}
	__atomic_store_n(&c->stop, true, __ATOMIC_SEQ_CST);
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += STUCK_MS / 1000;
	for (i = 0; i < c->nr; i++) {
		if (pthread_timedjoin_np(c->thread[i], NULL, &t)) {
			wrong("thread %d of the race does not end", i);
			print_stacks();
			_exit(1);
		}
	}
	c->nr = 0;
	return c->failed ? -EIO : 0;
}

int in_child(int (*fn)(void *), void *arg)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("no child");
	if (!pid) {
		status = fn(arg);
		fflush(stdout);
		_exit(status);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("no status of the child");
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}
