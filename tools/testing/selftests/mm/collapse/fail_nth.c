// SPDX-License-Identifier: GPL-2.0
/*
 * A collapse whose first allocation fails, then its second, its third, until
 * none is left to fail: pages, slab objects, and with
 * KHUGEPAGED_RUST_FAULT_INJECTION each step of the collapse as well. Whatever
 * fails, the memory holds what it held, no counter has moved, no lock is held,
 * and the next attempt succeeds.
 *
 * /proc/PID/fail-nth of the caller, or of the daemon, counts down. Needs
 * FAULT_INJECTION; FAILSLAB for slab objects.
 */
#include <fcntl.h>
#include <unistd.h>

#include "harness.h"

#define DEBUG		"/sys/kernel/debug/"
#define MOST		20000
#define NO_STEP		99	/* of fail_collapse: no step has this number */
#define ORDER		4

enum what { ALLOCATIONS, STEPS };

FIXTURE(nth) {
	char *mem;
	struct filemap f;
	int fail;		/* fail-nth of who collapses */
	int daemon_fails;
	struct balance balance;
	struct file_stat stat;
};

FIXTURE_VARIANT(nth) {
	enum what what;
};

FIXTURE_VARIANT_ADD(nth, allocations) { .what = ALLOCATIONS };
FIXTURE_VARIANT_ADD(nth, steps) { .what = STEPS };

static int open_fail(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fail-nth", pid, pid);
	return open(path, O_RDWR);
}

static void fail_set(int fd, unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(fd, text, strlen(text), 0) < 0)
		die("fail-nth: %s", strerror(errno));
}

/* 0: it failed; else how many more there would have had to be. */
static unsigned int fail_left(int fd)
{
	char text[16] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		die("fail-nth: %s", strerror(errno));
	return atoi(text);
}

/* Also what may sleep, movable memory, single pages. */
static void fail_widely(void)
{
	static const char * const knobs[][2] = {
		{ "fail_page_alloc/ignore-gfp-wait", "N" }, { "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" }, { "failslab/ignore-gfp-wait", "N" },
		{ "failslab/cache-filter", "N" }, { "fail_page_alloc/verbose", "0" },
		{ "failslab/verbose", "0" }, { "fail_collapse/verbose", "0" },
		{ "fail_collapse/probability", "0" }, { "fail_page_alloc/probability", "0" },
		{ "failslab/probability", "0" },
	};
	char path[128];
	size_t i;

	for (i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++) {
		snprintf(path, sizeof(path), DEBUG "%s", knobs[i][0]);
		if (knob_there(path))
			knob_set(path, knobs[i][1]);
	}
}

FIXTURE_SETUP(nth)
{
	bool steps = knob_there(DEBUG "fail_collapse/step");

	if (variant->what == STEPS && !steps)
		SKIP(return, "no fail_collapse: needs KHUGEPAGED_RUST_FAULT_INJECTION");
	knobs_baseline();
	fail_widely();
	if (steps)
		knob_set_num(DEBUG "fail_collapse/step", variant->what == STEPS ? 0 : NO_STEP);
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	knob_set("khugepaged/alloc_sleep_millisecs", "1");
	khugepaged_register(LONG_MS);
	self->fail = open_fail(getpid());
	self->daemon_fails = open_fail(khugepaged_pid());
	ASSERT_LE(0, self->fail);
	ASSERT_LE(0, self->daemon_fails);
}

FIXTURE_TEARDOWN(nth)
{
	fail_set(self->fail, 0);
	fail_set(self->daemon_fails, 0);
	if (knob_there(DEBUG "fail_collapse/step"))
		knob_set_num(DEBUG "fail_collapse/step", 0);
}

static bool right_error(int err)
{
	return !err || err == -ENOMEM || err == -EAGAIN || err == -EBUSY || err == -EINVAL;
}

/* Each of the first; of those that come once for each page, fewer and fewer. */
static unsigned int next_of(unsigned int n)
{
	return n + (n >= 32 ? n / 4 : 1);
}

/*
 * @make sets memory up, @collapse collapses it with the failure number n in
 * force, @check looks at content, @end takes the memory away. All counters are
 * those of before @make afterwards.
 */
#define EACH_FAILURE(make_, collapse_, fd_, settled_, check_, end_) do {	\
	unsigned int n_, left_ = 0, failed_ = 0, done_ = 0;			\
	int err_;								\
										\
	for (n_ = 1; !left_ && n_ < MOST; n_ = next_of(n_)) {	\
		balance_read(&self->balance);					\
		file_stat_read(&self->stat);					\
		make_;								\
		fail_set(fd_, n_);						\
		err_ = (collapse_);						\
		left_ = fail_left(fd_);						\
		fail_set(fd_, 0);						\
		failed_ += err_ != 0;						\
		done_ += !left_;						\
		EXPECT_TRUE(right_error(err_)) TH_LOG("failure %u: %d", n_, err_);	\
		check_;								\
		EXPECT_EQ(0, settled_) TH_LOG("after failure %u", n_);		\
		check_;								\
		end_;								\
		ASSERT_EQ(0, balance_check(&self->balance, 0)) TH_LOG("failure %u", n_);	\
		ASSERT_EQ(0, file_stat_check(&self->stat, &(struct file_stat){ }))	\
			TH_LOG("failure %u", n_);				\
	}									\
	EXPECT_LT(n_, MOST);							\
	EXPECT_LT(0, done_) TH_LOG("there was nothing to fail");		\
	TH_LOG("%u times something failed, and %u times the collapse", done_, failed_);	\
} while (0)

/* A few pages with holes between them. */
#define STEP_PAGES	(pmd_pages / 8 + 1)

static int collapsed(char *mem)
{
	int err = collapse_settled(mem, pmd_size);

	return err ?: count_huge(0, mem, pmd_size) == 1 ? 0 : -ENOENT;
}

static int holes_right(char *mem)
{
	size_t i;

	for (i = 0; i < pmd_pages; i += STEP_PAGES)
		if (stamp_check(mem + i * page_size, 1))
			return -EIO;
	/* A page that is a hole, or was one. */
	return verify_zero(mem + page_size, page_size);
}

static void make_anon(FIXTURE_DATA(nth) *self, bool swapped)
{
	self->mem = region_map_used(1);
	stamp_small(self->mem, pmd_size, STEP_PAGES, 1);
	if (swapped)
		must(page_out(self->mem, page_size), "page out");
}

TEST_F(nth, anonymous_with_holes)
{
	EACH_FAILURE(make_anon(self, false), collapse(self->mem, pmd_size), self->fail,
		     collapsed(self->mem), EXPECT_EQ(0, holes_right(self->mem)),
		     region_unmap(self->mem, 1));
}

TEST_F(nth, anonymous_swapped)
{
	if (!swap_active())
		SKIP(return, "no swap: boot with zram");
	EACH_FAILURE(make_anon(self, true), collapse(self->mem, pmd_size), self->fail,
		     collapsed(self->mem), EXPECT_EQ(0, holes_right(self->mem)),
		     region_unmap(self->mem, 1));
}

static void make_file(FIXTURE_DATA(nth) *self, enum file_kind kind, bool swapped)
{
	file_create(&self->f, kind, 1);
	file_fill(&self->f, STEP_PAGES, 1);
	/* A look at a hole of shared memory would fill it. */
	fsync(self->f.fd);
	self->f.mem = file_map(&self->f, PROT_READ | PROT_WRITE, MAP_SHARED);
	if (swapped) {
		file_touch(self->f.mem, page_size);
		madvise(self->f.mem, page_size, MADV_PAGEOUT);
	}
}

static int file_right(struct filemap *f)
{
	size_t i;

	for (i = 0; i < pmd_pages; i += STEP_PAGES)
		if (file_verify(f->mem + i * page_size, i * page_size, page_size, 1))
			return -EIO;
	return verify_zero(f->mem + page_size, page_size);
}

static void end_file(struct filemap *f)
{
	file_unmap(f);
	file_close(f);
}

#define EACH_FILE_FAILURE(kind_, swapped_)					\
	EACH_FAILURE(make_file(self, kind_, swapped_), collapse(self->f.mem, pmd_size),	\
		     self->fail, collapsed(self->f.mem),			\
		     EXPECT_EQ(0, file_right(&self->f)), end_file(&self->f))

TEST_F(nth, shared_with_holes)
{
	EACH_FILE_FAILURE(MEMFD, false);
}

TEST_F(nth, shared_swapped)
{
	if (!swap_active())
		SKIP(return, "no swap: boot with zram");
	EACH_FILE_FAILURE(MEMFD, true);
}

TEST_F(nth, ext4)
{
	const char *missing = file_kind_missing(EXT4_FILE);

	if (missing)
		SKIP(return, "%s", missing);
	/* The first file brings in what the file system writes about it. */
	make_file(self, EXT4_FILE, false);
	end_file(&self->f);
	EACH_FILE_FAILURE(EXT4_FILE, false);
}

/* One pass of the daemon, which has no result; and then one in which nothing fails. */
static int pass(void)
{
	must(khugepaged_wake(LONG_MS), "the daemon");
	return 0;
}

static int daemon_huge(char *mem)
{
	pass();
	return count_huge(0, mem, pmd_size) == 1 ? 0 : -ENOENT;
}

TEST_F_TIMEOUT(nth, daemon, 600)
{
	EACH_FAILURE(make_anon(self, false); advise(self->mem, pmd_size, MADV_HUGEPAGE), pass(),
		     self->daemon_fails, daemon_huge(self->mem),
		     EXPECT_EQ(0, holes_right(self->mem)), region_unmap(self->mem, 1));
}

static int daemon_batch(char *mem)
{
	pass();
	return count_folios(mem, pmd_size, ORDER) == 8 ? 0 : -ENOENT;
}

/* Eight folios of 64 KiB in one transaction. */
TEST_F_TIMEOUT(nth, daemon_batch, 600)
{
	size_enable(pmd_order(), "never");
	size_enable(ORDER, "madvise");
	EACH_FAILURE(make_anon(self, false); advise(self->mem, pmd_size, MADV_HUGEPAGE), pass(),
		     self->daemon_fails, daemon_batch(self->mem),
		     EXPECT_EQ(0, holes_right(self->mem)), region_unmap(self->mem, 1));
}

int main(int argc, char **argv)
{
	if (access("/proc/self/task", F_OK) || open_fail(getpid()) < 0) {
		printf("1..0 # SKIP no /proc/PID/task/TID/fail-nth: needs FAULT_INJECTION\n");
		return KSFT_SKIP;
	}
	return harness_run_swapping(argc, argv, 64);
}
