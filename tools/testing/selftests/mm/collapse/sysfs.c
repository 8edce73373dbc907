// SPDX-License-Identifier: GPL-2.0
/* The files of /sys/kernel/mm/transparent_hugepage/khugepaged: names, values, parsing. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "harness.h"

#define DIR_PATH "/sys/kernel/mm/transparent_hugepage/khugepaged"

enum kind { UINT, PAGES, PTES, FLAG, READ_ONLY };

static const struct file {
	const char *name;
	enum kind kind;
} files[] = {
	{ "defrag", FLAG },
	{ "max_ptes_none", PTES },
	{ "max_ptes_swap", PTES },
	{ "max_ptes_shared", PTES },
	{ "pages_to_scan", PAGES },
	{ "scan_sleep_millisecs", UINT },
	{ "alloc_sleep_millisecs", UINT },
	{ "pages_collapsed", READ_ONLY },
	{ "full_scans", READ_ONLY },
};

#define NR_FILES (sizeof(files) / sizeof(files[0]))

static long found_at_start[NR_FILES];

static const char *path_of(const struct file *f)
{
	static char path[64];

	snprintf(path, sizeof(path), "khugepaged/%s", f->name);
	return path;
}

FIXTURE(sysfs) {
};

FIXTURE_SETUP(sysfs)
{
	knobs_baseline();
}

FIXTURE_TEARDOWN(sysfs)
{
}

TEST_F(sysfs, the_nine_files_and_no_other)
{
	struct dirent *de;
	struct stat st;
	size_t i, n = 0;
	DIR *dir = opendir(DIR_PATH);

	ASSERT_NE(NULL, dir);
	while ((de = readdir(dir)))
		n += de->d_name[0] != '.';
	closedir(dir);
	/* The Rust implementation has one more; mthp_file.c tests it. */
	EXPECT_EQ(NR_FILES + knob_there("khugepaged/mthp_page_cache"), n);
	for (i = 0; i < NR_FILES; i++) {
		char path[128];

		snprintf(path, sizeof(path), DIR_PATH "/%s", files[i].name);
		ASSERT_EQ(0, stat(path, &st))
			TH_LOG("%s is missing", path);
		EXPECT_EQ(files[i].kind == READ_ONLY ? 0444 : 0644, st.st_mode & 0777)
			TH_LOG("mode of %s", path);
	}
}

TEST_F(sysfs, defaults)
{
	const long want[] = {
		1, pmd_pages - 1, pmd_pages / 8, pmd_pages / 2,
		pmd_pages * 8, 10000, 60000,
	};
	size_t i;

	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		EXPECT_EQ(want[i], found_at_start[i])
			TH_LOG("%s was changed before this test (run it on a freshly booted machine) or has a wrong default",
			       files[i].name);
}

TEST_F(sysfs, values_end_in_one_newline)
{
	size_t i;

	for (i = 0; i < NR_FILES; i++) {
		char path[128], buf[64], want[64];
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), DIR_PATH "/%s", files[i].name);
		fd = open(path, O_RDONLY);
		ASSERT_LE(0, fd);
		n = read(fd, buf, sizeof(buf) - 1);
		ASSERT_LT(0, n);
		buf[n] = 0;
		EXPECT_EQ(0, read(fd, want, sizeof(want)));
		close(fd);
		snprintf(want, sizeof(want), "%lu\n", strtoul(buf, NULL, 10));
		EXPECT_STREQ(want, buf);
	}
}

struct attempt {
	const char *text;
	int uint_err, pages_err, ptes_err, flag_err;
	unsigned long value;
};

/* One row per way of writing a number; 0 means accepted, with @value read back. */
static const struct attempt attempts[] = {
	{ "1", 0, 0, 0, 0, 1 },
	{ "1\n", 0, 0, 0, 0, 1 },
	{ "+1", 0, 0, 0, 0, 1 },
	{ "+1\n", 0, 0, 0, 0, 1 },
	{ "0001", 0, 0, 0, 0, 1 },
	{ "0", 0, -EINVAL, 0, 0, 0 },
	{ "010", 0, 0, 0, -EINVAL, 10 },
	{ "511", 0, 0, 0, -EINVAL, 511 },
	{ "512", 0, 0, -EINVAL, -EINVAL, 512 },
	{ "4294967295", 0, 0, -EINVAL, -EINVAL, 4294967295ul },
	{ "4294967296", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "4294967297", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "18446744073709551615", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "18446744073709551616", -EINVAL, -EINVAL, -EINVAL, -ERANGE, 0 },
	{ "99999999999999999999999999", -EINVAL, -EINVAL, -EINVAL, -ERANGE, 0 },
	{ "\n", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ " 1", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "1 ", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "\t1", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "1\n\n", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "\n1", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "-1", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "-0", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "++1", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "+", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "+ 1", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "0x1", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "1x", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "1.0", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "1 2", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "a", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
	{ "always", -EINVAL, -EINVAL, -EINVAL, -EINVAL, 0 },
};

static int expected(const struct attempt *a, enum kind kind)
{
	switch (kind) {
	case UINT:
		return a->uint_err;
	case PAGES:
		return a->pages_err;
	case PTES:
		/* The limit follows the page size; 511 and 512 stand for it. */
		return a->ptes_err;
	default:
		return a->flag_err;
	}
}

TEST_F(sysfs, parsing)
{
	size_t i, j;

	for (i = 0; i < NR_FILES; i++) {
		const struct file *f = &files[i];

		if (f->kind == READ_ONLY)
			continue;
		for (j = 0; j < sizeof(attempts) / sizeof(attempts[0]); j++) {
			const struct attempt *a = &attempts[j];
			char text[32], value[32];
			int err;

			snprintf(text, sizeof(text), "%s", a->text);
			snprintf(value, sizeof(value), "%lu", a->value);
			if (f->kind == PTES && a->value == 511)
				snprintf(text, sizeof(text), "%zu", pmd_pages - 1);
			if (f->kind == PTES && a->value == 512)
				snprintf(text, sizeof(text), "%zu", pmd_pages);
			if (f->kind == PTES && a->value == 511)
				snprintf(value, sizeof(value), "%zu", pmd_pages - 1);
			/* A value that none of the attempts leaves behind. */
			knob_set(path_of(f), f->kind == FLAG ? "1" : "7");
			if (a->value == 1 && f->kind == FLAG)
				knob_set(path_of(f), "0");
			err = knob_try(path_of(f), text);
			EXPECT_EQ(expected(a, f->kind), err)
				TH_LOG("writing \"%s\" to %s", text, f->name);
			if (err && f->kind != FLAG)
				snprintf(value, sizeof(value), "7");
			else if (err)
				snprintf(value, sizeof(value), "1");
			EXPECT_EQ(strtol(value, NULL, 10), knob_num(path_of(f)))
				TH_LOG("%s after writing \"%s\"", f->name, text);
		}
	}
}

TEST_F(sysfs, writes_with_lengths)
{
	int fd = open(DIR_PATH "/max_ptes_swap", O_WRONLY);

	ASSERT_LE(0, fd);
	knob_set("khugepaged/max_ptes_swap", "7");
	/* Nothing written, nothing changed. */
	EXPECT_EQ(0, write(fd, "", 0));
	EXPECT_EQ(7, knob_num("khugepaged/max_ptes_swap"));
	/* The count covers what was taken, a trailing NUL included. */
	EXPECT_EQ(3, pwrite(fd, "9\n", 3, 0));
	EXPECT_EQ(9, knob_num("khugepaged/max_ptes_swap"));
	EXPECT_EQ(-1, pwrite(fd, "", 1, 0));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_F(sysfs, counters_refuse_writes)
{
	EXPECT_EQ(-EACCES, knob_try("khugepaged/pages_collapsed", "0"));
	EXPECT_EQ(-EACCES, knob_try("khugepaged/full_scans", "0"));
}

int main(int argc, char **argv)
{
	size_t i;

	collapse_init();
	for (i = 0; i < NR_FILES; i++)
		found_at_start[i] = knob_num(path_of(&files[i]));
	return test_harness_run(argc, argv);
}
