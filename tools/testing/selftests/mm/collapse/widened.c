// SPDX-License-Identifier: GPL-2.0
/* The wideners of the races: they hold a collapse up, for that long, and leave nothing behind. */
#include "harness.h"

/* Long against what a collapse takes by itself, even emulated. */
#define DELAY_MS 150

FIXTURE(widened) {
	char *mem;
};

FIXTURE_SETUP(widened)
{
	int fd = widen_one("pmdp_collapse_flush", 1, 1);

	if (fd < 0)
		SKIP(return, "no program can be put on a probe: %s", strerror(-fd));
	close(fd);
	knobs_baseline();
	self->mem = region_map(1);
}

FIXTURE_TEARDOWN(widened)
{
}

/* How long a collapse takes, in milliseconds; -1 if it fails. */
static long time_of_collapse(char *mem)
{
	uint64_t start, end;
	int err;

	fill_small(mem, pmd_size, 1);
	start = now_ms();
	err = collapse_settled(mem, pmd_size);
	end = now_ms();
	if (err || verify(mem, pmd_size, 1) || split_range(mem))
		return -1;
	return end - start;
}

TEST_F(widened, each_window_that_a_collapse_has)
{
	static const char * const functions[] = {
		"__mem_cgroup_charge", "pmdp_collapse_flush", "tlb_remove_table_sync_one", "folio_add_new_anon_rmap",
	};
	size_t i;

	ASSERT_LE(0, time_of_collapse(self->mem));
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		int fd = widen_one(functions[i], DELAY_MS * 1000, 1);

		ASSERT_LE(0, fd) TH_LOG("%s: %s", functions[i], strerror(-fd));
		EXPECT_LE(DELAY_MS, time_of_collapse(self->mem)) TH_LOG("%s does not delay", functions[i]);
		close(fd);
	}
}

/* Without the probe, nothing is held up any more; a slow machine gets some tries. */
TEST_F(widened, ends_with_its_descriptor)
{
	int fd = widen_one("pmdp_collapse_flush", DELAY_MS * 1000, 1), tries;
	long ms = 0;

	ASSERT_LE(0, fd);
	close(fd);
	for (tries = 0; tries < 10; tries++) {
		ms = time_of_collapse(self->mem);
		if (ms >= 0 && ms < DELAY_MS)
			break;
	}
	EXPECT_GT(10, tries) TH_LOG("a collapse takes %ld ms", ms);
}

TEST_F(widened, refuses_what_it_does_not_know)
{
	EXPECT_GT(0, widen_one("no_such_function_in_any_kernel", 1, 1));
	EXPECT_LT(3, widen(1));
}

/* For stress.sh: "--hold US" widens the windows for as long as this process lives, and says how many when they are. */
static int hold(const char *us)
{
	int nr = widen(atoi(us));

	if (nr < 0)
		printf("no wider windows: %s (KPROBE_EVENTS, BPF_SYSCALL and BPF_EVENTS are needed)\n", strerror(-nr));
	else
		printf("%d places hold collapses up for %s us\n", nr, us);
	fflush(stdout);
	if (nr > 0)
		pause();
	return nr < 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--hold") == 0)
		return hold(argv[2]);
	collapse_init();
	return test_harness_run(argc, argv);
}
