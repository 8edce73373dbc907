// SPDX-License-Identifier: GPL-2.0
/* Memory control groups, version 2. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collapse.h"

static char root[64];

static int find_root(void)
{
	char text[256], where[64], type[32];
	FILE *f;

	if (root[0])
		return 0;
	f = fopen("/proc/mounts", "r");
	while (f && fgets(text, sizeof(text), f))
		if (sscanf(text, "%*s %63s %31s", where, type) == 2 &&
		    strcmp(type, "cgroup2") == 0)
			snprintf(root, sizeof(root), "%s", where);
	if (f)
		fclose(f);
	if (!root[0]) {
		if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL))
			return -errno;
		snprintf(root, sizeof(root), "/sys/fs/cgroup");
	}
	return 0;
}

int memcg_create(struct memcg *cg, const char *name)
{
	char path[160];
	int err = find_root();

	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", root);
	err = knob_try(path, "+memory");
	if (err)
		return err;
	snprintf(cg->path, sizeof(cg->path), "%s/%s", root, name);
	rmdir(cg->path);
	return mkdir(cg->path, 0755) ? -errno : 0;
}

static int move_self(const char *dir)
{
	char path[192], pid[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	snprintf(pid, sizeof(pid), "%d", getpid());
	return knob_try(path, pid);
}

int memcg_enter(const struct memcg *cg)
{
	return move_self(cg->path);
}

int memcg_leave(void)
{
	int err = find_root();

	return err ? err : move_self(root);
}

int memcg_set(const struct memcg *cg, const char *file, const char *val)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", cg->path, file);
	return knob_try(path, val);
}

int memcg_set_num(const struct memcg *cg, const char *file, long val)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%ld", val);
	return memcg_set(cg, file, buf);
}

long memcg_num(const struct memcg *cg, const char *file)
{
	char path[192], buf[64];

	snprintf(path, sizeof(path), "%s/%s", cg->path, file);
	if (knob_read(path, buf, sizeof(buf)))
		return -1;
	return strtol(buf, NULL, 10);
}

long memcg_event(const struct memcg *cg, const char *file, const char *name)
{
	char path[192], key[64];
	long val, found = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", cg->path, file);
	f = fopen(path, "r");
	while (f && fscanf(f, "%63s %ld", key, &val) == 2)
		if (strcmp(key, name) == 0)
			found = val;
	if (f)
		fclose(f);
	return found;
}

long memcg_event_soon(const struct memcg *cg, const char *file, const char *name, long want)
{
	uint64_t end = now_ms() + 3000;
	long now;

	while ((now = memcg_event(cg, file, name)) != want && now_ms() < end)
		sleep_ms(50);
	return now;
}

char *memcg_cramp(const struct memcg *cg, size_t slack)
{
	char *mem;

	must(memcg_enter(cg), "entering a memory cgroup");
	mem = region_map_used(1);
	advise(mem, pmd_size, MADV_HUGEPAGE);
	fill_small(mem, pmd_size, 1);
	must(memcg_set(cg, "memory.swap.max", "0"), "memory.swap.max");
	must(memcg_set_num(cg, "memory.max", memcg_num(cg, "memory.current") + slack), "memory.max");
	return mem;
}

void child_pause(void)
{
	raise(SIGSTOP);
}

int khugepaged_run_beside(pid_t child, unsigned int n, unsigned int ms)
{
	int status, err;

	if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		return -ECHILD;
	err = khugepaged_run(n, ms);
	kill(child, SIGCONT);
	return err;
}

void memcg_destroy(struct memcg *cg)
{
	uint64_t end = now_ms() + 5000;

	/* Processes that were just reaped may still be on their way out. */
	while (rmdir(cg->path) && errno == EBUSY && now_ms() < end)
		sleep_ms(10);
}
