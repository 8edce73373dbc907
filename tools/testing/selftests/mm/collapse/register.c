// SPDX-License-Identifier: GPL-2.0
/* How memory becomes known to khugepaged, and how it is forgotten again. */
#include <fcntl.h>
#include <sys/prctl.h>

#include "harness.h"

#define ARG_LEN		(128 * 1024 - 1)	/* MAX_ARG_STRLEN */
#define NR_ARGS		7	/* twice that is below a quarter of the stack */
#define EXEC_DEPTH	6

FIXTURE(registration) {
};

FIXTURE_SETUP(registration)
{
	knobs_baseline();
}

FIXTURE_TEARDOWN(registration)
{
}

#define EXPECT_COLLAPSED(mem, nr) do {						\
	EXPECT_EQ(0, khugepaged_wait_huge(mem, (nr) * pmd_size, nr, LONG_MS))	\
		TH_LOG("khugepaged does not know this memory");			\
} while (0)

/* Small pages first, advice later: the advice registers. */
TEST_F(registration, by_advice)
{
	char *mem = region_map(1);

	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_NOHUGEPAGE));
	EXPECT_TRUE(smaps_flag(mem, "nh"));
	fill(mem, pmd_size, 1);
	khugepaged_fast();
	sleep_ms(QUIET_MS);
	EXPECT_EQ(0, count_huge(0, mem, pmd_size));
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	EXPECT_TRUE(smaps_flag(mem, "hg"));
	EXPECT_FALSE(smaps_flag(mem, "nh"));
	EXPECT_COLLAPSED(mem, 1);
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
}

/* enabled=always: a fault registers, without any advice. */
TEST_F(registration, by_fault)
{
	char *mem = region_map(1);

	knob_set("enabled", "always");
	fill(mem, pmd_size, 1);
	ASSERT_EQ(1, count_huge(0, mem, pmd_size));
	ASSERT_EQ(0, split_range(mem));
	khugepaged_fast();
	EXPECT_COLLAPSED(mem, 1);
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
}

/* Two VMAs too small for a huge page become one that is large enough. */
TEST_F(registration, by_merge)
{
	char *mem = region_map(1);

	knob_set("enabled", "always");
	khugepaged_fast();
	ASSERT_EQ(0, mprotect(mem + pmd_size / 2, pmd_size / 2, PROT_NONE));
	fill(mem, pmd_size / 2, 1);
	sleep_ms(QUIET_MS);
	ASSERT_EQ(0, count_huge(0, mem, pmd_size));
	ASSERT_EQ(0, mprotect(mem + pmd_size / 2, pmd_size / 2, PROT_READ | PROT_WRITE));
	EXPECT_COLLAPSED(mem, 1);
	EXPECT_EQ(0, verify(mem, pmd_size / 2, 1));
	EXPECT_EQ(0, verify_zero(mem + pmd_size / 2, pmd_size / 2));
}

TEST_F(registration, by_fork)
{
	char *mem = region_map(1);
	pid_t child;
	int status;

	fill_small(mem, pmd_size, 1);
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	child = fork();
	if (!child) {
		/* Own pages, no huge fault, no advice: only fork registered it. */
		fill(mem, pmd_size, 2);
		khugepaged_fast();
		if (khugepaged_wait_huge(mem, pmd_size, 1, LONG_MS))
			_exit(1);
		_exit(verify(mem, pmd_size, 2) ? 2 : 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
}

TEST_F(registration, not_for_nohugepage)
{
	char *mem = region_map(2);

	fill_small(mem, 2 * pmd_size, 1);
	ASSERT_EQ(0, madvise(mem, 2 * pmd_size, MADV_HUGEPAGE));
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_NOHUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_wait_huge(mem + pmd_size, pmd_size, 1, LONG_MS));
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	EXPECT_EQ(0, count_huge(0, mem, pmd_size));
	EXPECT_EQ(0, verify(mem, 2 * pmd_size, 1));
}

TEST_F(registration, not_when_disabled_by_prctl)
{
	char *mem = region_map(1);

	fill_small(mem, pmd_size, 1);
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	EXPECT_EQ(0, count_huge(0, mem, pmd_size));
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	EXPECT_COLLAPSED(mem, 1);
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
}

/* enabled=madvise: memory of the same process without advice is left alone. */
TEST_F(registration, only_advised_memory)
{
	char *mem = region_map(1), *plain = region_map(1);

	fill_small(mem, pmd_size, 1);
	fill_small(plain, pmd_size, 1);
	ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_COLLAPSED(mem, 1);
	EXPECT_EQ(0, khugepaged_passes(1, LONG_MS));
	EXPECT_EQ(0, count_huge(0, plain, pmd_size));
	knob_set("enabled", "always");
	EXPECT_COLLAPSED(plain, 1);
	EXPECT_EQ(0, verify(plain, pmd_size, 1));
}

/* A process that is gone is forgotten: the pass count goes on. */
TEST_F(registration, ends_with_the_process)
{
	int i, status;

	khugepaged_fast();
	for (i = 0; i < 40; i++) {
		pid_t child = fork();

		if (!child) {
			char *mem = region_map(1);

			stamp(mem, 1);
			madvise(mem, pmd_size, MADV_HUGEPAGE);
			if (i & 1)
				sleep_ms(i);
			_exit(0);
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(0, status);
	}
	{
		char *mem = region_map(1);

		fill_small(mem, pmd_size, 1);
		ASSERT_EQ(0, madvise(mem, pmd_size, MADV_HUGEPAGE));
		EXPECT_COLLAPSED(mem, 1);
		EXPECT_EQ(0, khugepaged_passes(2, LONG_MS));
	}
}

/* ---- exec ---- */

/*
 * The new program's stack is a temporary VMA while arguments are copied; it
 * must not get huge pages. The program runs itself EXEC_DEPTH times with
 * more than a megabyte of arguments and checks each byte.
 */
static char letter(int arg, int pos)
{
	return 'A' + (arg * 7 + pos % 23) % 26;
}

static int exec_next(int depth)
{
	char *argv[NR_ARGS + 4], num[16];
	int i, j;

	snprintf(num, sizeof(num), "%d", depth);
	argv[0] = "register";
	argv[1] = "--exec";
	argv[2] = num;
	for (i = 0; i < NR_ARGS; i++) {
		argv[3 + i] = malloc(ARG_LEN + 1);
		if (!argv[3 + i])
			return 20;
		for (j = 0; j < ARG_LEN; j++)
			argv[3 + i][j] = letter(i, j);
		argv[3 + i][ARG_LEN] = 0;
	}
	argv[3 + NR_ARGS] = NULL;
	execve("/proc/self/exe", argv, argv + 3);
	return 21;
}

static int exec_check(int argc, char **argv)
{
	int depth, i, j;

	if (argc != NR_ARGS + 3)
		return 22;
	depth = atoi(argv[2]);
	for (i = 0; i < NR_ARGS; i++)
		for (j = 0; j <= ARG_LEN; j++) {
			char want = j < ARG_LEN ? letter(i, j) : 0;

			if (argv[3 + i][j] != want || environ[i][j] != want)
				return 23;
		}
	return depth ? exec_next(depth - 1) : 0;
}

TEST_F(registration, exec_with_large_arguments)
{
	int i, status;
	pid_t child[3];

	knob_set("enabled", "always");
	khugepaged_fast();
	knob_set("khugepaged/scan_sleep_millisecs", "0");
	for (i = 0; i < 3; i++) {
		child[i] = fork();
		if (!child[i])
			_exit(exec_next(EXEC_DEPTH));
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(child[i], waitpid(child[i], &status, 0));
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(0, WEXITSTATUS(status));
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--exec") == 0)
		return exec_check(argc, argv);
	collapse_init();
	return test_harness_run(argc, argv);
}
