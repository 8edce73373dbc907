// SPDX-License-Identifier: GPL-2.0
/* sysfs and procfs files: read, write, save and put back. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collapse.h"

#define THP_DIR "/sys/kernel/mm/transparent_hugepage/"
#define MAX_KNOBS 96

static struct saved {
	char path[128];
	char val[128];	/* as long as core_pattern may be */
} saved[MAX_KNOBS];
static int nr_saved;
static pid_t saver;

/* sysfs paths are short; the room keeps the compiler from asking for more. */
#define ROOM 512

static const char *full_path(const char *path, char *buf, size_t len)
{
	if (path[0] == '/')
		return path;
	snprintf(buf, len, THP_DIR "%s", path);
	return buf;
}

int knob_read(const char *path, char *buf, size_t len)
{
	char full[ROOM];
	ssize_t n;
	int fd = open(full_path(path, full, sizeof(full)), O_RDONLY);

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return n;
	while (n && isspace((unsigned char)buf[n - 1]))
		n--;
	buf[n] = 0;
	return 0;
}

int knob_try(const char *path, const char *val)
{
	char full[ROOM];
	size_t len = strlen(val);
	int fd = open(full_path(path, full, sizeof(full)), O_WRONLY);
	ssize_t n;
	int err = 0;

	if (fd < 0)
		return -errno;
	n = write(fd, val, len);
	if (n < 0)
		err = -errno;
	else if ((size_t)n != len)
		err = -EIO;
	close(fd);
	return err;
}

void knob_set(const char *path, const char *val)
{
	int err = knob_try(path, val);

	if (err)
		die("writing \"%s\" to %s: %s", val, path, strerror(-err));
}

void knob_set_num(const char *path, unsigned long val)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%lu", val);
	knob_set(path, buf);
}

long knob_num(const char *path)
{
	char buf[64];
	int err = knob_read(path, buf, sizeof(buf));

	if (err)
		die("reading %s: %s", path, strerror(-err));
	return strtol(buf, NULL, 10);
}

bool knob_there(const char *path)
{
	char full[ROOM];

	return access(full_path(path, full, sizeof(full)), F_OK) == 0;
}

int knob_choice(const char *path, char *buf, size_t len)
{
	char text[256], *open_, *close_;
	int err = knob_read(path, text, sizeof(text));

	if (err)
		return err;
	open_ = strchr(text, '[');
	close_ = open_ ? strchr(open_, ']') : NULL;
	if (!close_) {
		snprintf(buf, len, "%s", text);
		return 0;
	}
	*close_ = 0;
	snprintf(buf, len, "%s", open_ + 1);
	return 0;
}

const char *thp_size_dir(void)
{
	static char dir[32];

	snprintf(dir, sizeof(dir), "hugepages-%zukB", pmd_size >> 10);
	return dir;
}

static void save_one(const char *path)
{
	struct saved *s = &saved[nr_saved];

	if (nr_saved == MAX_KNOBS || !knob_there(path))
		return;
	snprintf(s->path, sizeof(s->path), "%s", path);
	if (knob_choice(path, s->val, sizeof(s->val)) == 0)
		nr_saved++;
}

void knobs_restore(void)
{
	char now[128];
	int i;

	if (getpid() != saver)
		return;
	for (i = 0; i < nr_saved; i++) {
		if (knob_choice(saved[i].path, now, sizeof(now)) == 0 &&
		    strcmp(now, saved[i].val) == 0)
			continue;
		knob_try(saved[i].path, saved[i].val);
	}
}

static void restore_and_die(int sig)
{
	knobs_restore();
	signal(sig, SIG_DFL);
	raise(sig);
}

void knobs_save(void)
{
	static const char *const fixed[] = {
		"enabled", "defrag", "shmem_enabled", "use_zero_page",
		"khugepaged/defrag", "khugepaged/max_ptes_none",
		"khugepaged/max_ptes_swap", "khugepaged/max_ptes_shared",
		"khugepaged/pages_to_scan", "khugepaged/scan_sleep_millisecs",
		"khugepaged/alloc_sleep_millisecs", "khugepaged/mthp_page_cache",
		"/sys/kernel/mm/ksm/run", "/sys/kernel/mm/ksm/use_zero_pages",
		"/sys/kernel/mm/ksm/sleep_millisecs",
		"/sys/kernel/mm/ksm/pages_to_scan",
		"/proc/sys/vm/swappiness", "/proc/sys/vm/overcommit_memory",
		"/proc/sys/vm/min_free_kbytes", "/sys/power/pm_test",
		"/proc/sys/vm/dirty_writeback_centisecs", "/proc/sys/kernel/core_pattern",
	};
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGPIPE };
	char path[300];
	struct dirent *de;
	DIR *dir;
	size_t i;

	if (saver)
		return;
	saver = getpid();
	for (i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		save_one(fixed[i]);
	dir = opendir(THP_DIR);
	while (dir && (de = readdir(dir))) {
		if (strncmp(de->d_name, "hugepages-", 10))
			continue;
		snprintf(path, sizeof(path), "%s/enabled", de->d_name);
		save_one(path);
		snprintf(path, sizeof(path), "%s/shmem_enabled", de->d_name);
		save_one(path);
	}
	if (dir)
		closedir(dir);
	atexit(knobs_restore);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], restore_and_die);
}

void knobs_baseline(void)
{
	char path[300], mine[64];
	struct dirent *de;
	DIR *dir;

	snprintf(mine, sizeof(mine), "%s", thp_size_dir());
	dir = opendir(THP_DIR);
	while (dir && (de = readdir(dir))) {
		if (strncmp(de->d_name, "hugepages-", 10))
			continue;
		snprintf(path, sizeof(path), "%s/enabled", de->d_name);
		if (knob_there(path))
			knob_set(path, strcmp(de->d_name, mine) ? "never" : "inherit");
		snprintf(path, sizeof(path), "%s/shmem_enabled", de->d_name);
		if (knob_there(path))
			knob_set(path, strcmp(de->d_name, mine) ? "never" : "inherit");
	}
	if (dir)
		closedir(dir);
	if (knob_there("shmem_enabled"))
		knob_set("shmem_enabled", "never");
	khugepaged_idle();
	knob_set("enabled", "madvise");
	knob_set("defrag", "madvise");
	knob_set_num("khugepaged/defrag", 1);
	knob_set_num("khugepaged/max_ptes_none", pmd_pages - 1);
	knob_set_num("khugepaged/max_ptes_swap", pmd_pages / 8);
	knob_set_num("khugepaged/max_ptes_shared", pmd_pages / 2);
	knob_set_num("khugepaged/pages_to_scan", pmd_pages * 8);
	knob_set_num("khugepaged/alloc_sleep_millisecs", 60000);
	/* The C implementation has not got it. */
	if (knob_there("khugepaged/mthp_page_cache"))
		knob_set("khugepaged/mthp_page_cache", "0");
}
