// SPDX-License-Identifier: GPL-2.0
/* The daemon's thread: when it is there, when it wakes, how it stops. */
#include "harness.h"

#define MIN_FREE "/proc/sys/vm/min_free_kbytes"

FIXTURE(thread) {
};

FIXTURE_SETUP(thread)
{
	knobs_baseline();
}

FIXTURE_TEARDOWN(thread)
{
}

static char *eligible_region(void)
{
	char *mem = region_map(1);

	fill_small(mem, pmd_size, 1);
	madvise(mem, pmd_size, MADV_HUGEPAGE);
	return mem;
}

/*
 * The daemon sleeps for a day with work on its list; a new value must wake
 * it, whichever of the two sleep files it is written to.
 */
static void sleeps_until_written(struct __test_metadata *_metadata,
				 const char *file, const char *val)
{
	char *mem = eligible_region();
	uint64_t start;
	long scans;

	/* Joining an empty list may have woken the daemon; let that pass end. */
	sleep_ms(50);
	ASSERT_EQ(0, khugepaged_wait_asleep(LONG_MS));
	ASSERT_EQ(0, split_range(mem));
	ASSERT_EQ(0, count_huge(0, mem, pmd_size));
	scans = full_scans();
	sleep_ms(QUIET_MS);
	ASSERT_EQ(0, count_huge(0, mem, pmd_size))
		TH_LOG("khugepaged does not keep its sleep time");
	EXPECT_EQ(scans, full_scans());
	start = now_ms();
	knob_set(file, val);
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, 5000))
		TH_LOG("writing %s does not wake khugepaged", file);
	EXPECT_GT(5000, now_ms() - start);
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
}

TEST_F(thread, scan_sleep_wakes_at_once)
{
	sleeps_until_written(_metadata, "khugepaged/scan_sleep_millisecs", "10");
}

TEST_F(thread, scan_sleep_unchanged_wakes_too)
{
	sleeps_until_written(_metadata, "khugepaged/scan_sleep_millisecs", "86400000");
}

TEST_F(thread, alloc_sleep_wakes_too)
{
	sleeps_until_written(_metadata, "khugepaged/alloc_sleep_millisecs", "60000");
}

struct policy {
	const char *global, *size, *other, *shmem, *shmem_size;
	bool thread;
};

/* Pairs of every knob that decides whether the thread is there. */
static const struct policy policies[] = {
	/* enabled   own size   16 pages   shmem     shmem size */
	{ "never",   "inherit", "never",   "never",  "inherit", false },
	{ "madvise", "inherit", "never",   "never",  "inherit", true },
	{ "never",   "never",   "never",   "never",  "inherit", false },
	{ "always",  "inherit", "never",   "never",  "inherit", true },
	{ "never",   "inherit", "inherit", "never",  "inherit", false },
	{ "always",  "never",   "never",   "never",  "inherit", true },
	{ "never",   "never",   "never",   "never",  "never",   false },
	{ "never",   "always",  "never",   "never",  "inherit", true },
	{ "never",   "inherit", "never",   "never",  "inherit", false },
	{ "never",   "madvise", "never",   "never",  "inherit", true },
	{ "never",   "never",   "never",   "never",  "inherit", false },
	{ "never",   "never",   "always",  "never",  "inherit", true },
	{ "never",   "never",   "inherit", "never",  "inherit", false },
	{ "never",   "never",   "madvise", "never",  "inherit", true },
	{ "never",   "never",   "never",   "never",  "inherit", false },
	{ "never",   "never",   "never",   "always", "inherit", true },
	{ "never",   "never",   "never",   "always", "never",   false },
	{ "never",   "never",   "never",   "advise", "inherit", true },
	{ "never",   "never",   "never",   "never",  "inherit", false },
	{ "never",   "never",   "never",   "within_size", "inherit", true },
	{ "never",   "never",   "never",   "deny",   "always",  false },
	{ "never",   "never",   "never",   "never",  "always",  true },
	{ "never",   "never",   "never",   "never",  "never",   false },
	{ "never",   "never",   "never",   "never",  "advise",  true },
	{ "never",   "never",   "never",   "deny",   "advise",  false },
	{ "never",   "never",   "never",   "force",  "inherit", true },
	{ "never",   "never",   "never",   "never",  "within_size", true },
	{ "never",   "inherit", "never",   "never",  "inherit", false },
	{ "madvise", "never",   "never",   "deny",   "never",   true },
};

/* One of the sizes between: 64 KiB with pages of 4 KiB. */
static const char *other_size(void)
{
	static char name[32];

	snprintf(name, sizeof(name), "hugepages-%zukB", 16 * page_size / 1024);
	return name;
}

static void apply(const struct policy *p)
{
	char path[64];

	knob_set("enabled", p->global);
	snprintf(path, sizeof(path), "%s/enabled", thp_size_dir());
	knob_set(path, p->size);
	snprintf(path, sizeof(path), "%s/enabled", other_size());
	knob_set(path, p->other);
	/* In this order: "force" is refused unless the PMD size inherits. */
	snprintf(path, sizeof(path), "%s/shmem_enabled", thp_size_dir());
	if (knob_there(path))
		knob_set(path, p->shmem_size);
	knob_set("shmem_enabled", p->shmem);
}

TEST_F(thread, thread_follows_the_policy)
{
	size_t i;

	for (i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		const struct policy *p = &policies[i];

		/* With pages of 64 KiB shared memory has no huge pages of that size, and no knob for them. */
		if (file_kind_missing(MEMFD) && (strcmp(p->shmem, "never") || strcmp(p->shmem_size, "inherit")))
			continue;
		apply(p);
		EXPECT_EQ(0, khugepaged_wait_thread(p->thread, 5000))
			TH_LOG("khugepaged should be %s with enabled=%s %s=%s %s=%s shmem_enabled=%s shmem size=%s",
			       p->thread ? "there" : "gone", p->global,
			       thp_size_dir(), p->size, other_size(), p->other, p->shmem,
			       p->shmem_size);
	}
}

TEST_F(thread, thread_restarts_and_works)
{
	char *mem = eligible_region();
	pid_t before = khugepaged_pid();
	int i;

	ASSERT_NE(0, before);
	for (i = 0; i < 20; i++) {
		knob_set("enabled", "never");
		EXPECT_EQ(0, khugepaged_wait_thread(false, 5000));
		knob_set("enabled", "madvise");
		EXPECT_EQ(0, khugepaged_wait_thread(true, 5000));
	}
	EXPECT_NE(before, khugepaged_pid());
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS));
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
}

TEST_F(thread, thread_is_of_lowest_priority)
{
	char path[64], buf[1024], *p;
	int i;

	ASSERT_EQ(0, khugepaged_wait_thread(true, 5000));
	snprintf(path, sizeof(path), "/proc/%d/stat", khugepaged_pid());
	ASSERT_EQ(0, knob_read(path, buf, sizeof(buf)));
	p = strchr(buf, ')');
	ASSERT_NE(NULL, p);
	for (i = 0; i < 17 && p; i++)
		p = strchr(p + 1, ' ');
	ASSERT_NE(NULL, p);
	EXPECT_EQ(19, strtol(p, NULL, 10)) TH_LOG("nice value of khugepaged");
}

/* pageblocks that khugepaged wants free, in kB, before the 5 % limit. */
static long recommended_kb(void)
{
	char line[256], zone[32];
	long present = 0, zones = 0;
	FILE *f = fopen("/proc/zoneinfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*d, zone %31s", zone) == 1)
			continue;
		if (sscanf(line, " present %ld", &present) == 1 && present &&
		    strcmp(zone, "Movable") && strcmp(zone, "Device"))
			zones++;
	}
	if (f)
		fclose(f);
	/* Two blocks per zone and one for each pair of 3 migrate types. */
	return pmd_size / 1024 * zones * (2 + 3 * 3);
}

TEST_F(thread, min_free_kbytes_is_raised)
{
	long limit = meminfo_kb("MemTotal") / 20, want = recommended_kb(), got;

	knob_set("enabled", "never");
	knob_set(MIN_FREE, "1024");
	ASSERT_EQ(1024, knob_num(MIN_FREE));
	knob_set("enabled", "madvise");
	got = knob_num(MIN_FREE);
	TH_LOG("min_free_kbytes: %ld, wanted %ld, at most %ld", got, want, limit);
	if (want < limit - limit / 10) {
		EXPECT_EQ(want, got);
	} else {
		EXPECT_LE(got, limit);
		EXPECT_GE(got, limit - limit / 4);
	}
	/* Writing the same mode again repairs a value set by hand. */
	knob_set(MIN_FREE, "1024");
	knob_set("enabled", "madvise");
	EXPECT_EQ(got, knob_num(MIN_FREE));
	/* Without huge pages the kernel's general formula is back. */
	knob_set(MIN_FREE, "1024");
	knob_set("enabled", "never");
	EXPECT_GT(got, knob_num(MIN_FREE));
	/* A higher value set by hand is kept. */
	knob_set("enabled", "madvise");
	knob_set_num(MIN_FREE, got + 512);
	knob_set("enabled", "always");
	EXPECT_EQ(got + 512, knob_num(MIN_FREE));
}

TEST_F(thread, defrag_can_be_switched)
{
	char *mem = eligible_region();

	knob_set("khugepaged/defrag", "0");
	EXPECT_EQ(0, knob_num("khugepaged/defrag"));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS));
	knob_set("khugepaged/defrag", "1");
	EXPECT_EQ(1, knob_num("khugepaged/defrag"));
	ASSERT_EQ(0, split_range(mem));
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS));
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
}

TEST_F(thread, freezer_stops_the_daemon_and_lets_it_go)
{
	char *mem = eligible_region();

	if (!knob_there("/sys/power/pm_test"))
		SKIP(return, "no /sys/power/pm_test: build with SUSPEND and PM_DEBUG");
	khugepaged_fast();
	knob_set("/sys/power/pm_test", "freezer");
	knob_try("/sys/module/suspend/parameters/pm_test_delay", "1");
	/* Fails with EBUSY if a task, khugepaged for one, does not freeze. */
	EXPECT_EQ(0, knob_try("/sys/power/state", knob_there("/sys/power/mem_sleep") ?
			      "mem" : "freeze"));
	knob_set("/sys/power/pm_test", "none");
	if (count_huge(0, mem, pmd_size))
		ASSERT_EQ(0, split_range(mem));
	EXPECT_EQ(0, khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS))
		TH_LOG("khugepaged does not work after thawing");
	EXPECT_EQ(0, verify(mem, pmd_size, 1));

	/* The same in its long sleep and in its sleep without work. */
	khugepaged_idle();
	knob_set("/sys/power/pm_test", "freezer");
	EXPECT_EQ(0, knob_try("/sys/power/state", "freeze"));
	region_unmap(mem, 1);
	EXPECT_EQ(0, knob_try("/sys/power/state", "freeze"));
	knob_set("/sys/power/pm_test", "none");
}

COLLAPSE_HARNESS_MAIN
