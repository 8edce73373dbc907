// SPDX-License-Identifier: GPL-2.0
/*
 * A collapse that fails at one of its steps leaves everything as it was:
 * content, mapping, counters, charge and memory. Afterwards it succeeds.
 */
#include <fcntl.h>

#include "harness.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#define REPEAT	40	/* one leaked huge page each would be 80 MiB */

/*
 * Free memory, once what compaction holds and what is freed late has come
 * back, or after three seconds without that. What has leaked never does.
 */
static long free_settled_kb(long want)
{
	long now = free_kb();
	int n;

	for (n = 0; n < 30 && now < want; n++) {
		knob_try("/proc/sys/vm/compact_memory", "1");
		sleep_ms(100);
		now = free_kb();
	}
	return now;
}

FIXTURE(rollback) {
	char *mem;
	struct balance before;
	struct memcg cg;
	long charge, alloc, alloc_failed, free_kb;
	pid_t holder;
};

static long settled_charge(const struct memcg *cg)
{
	/* Per-CPU charge caches and deferred frees come and go. */
	knob_try("/proc/sys/vm/stat_refresh", "1");
	return memcg_num(cg, "memory.current");
}

FIXTURE_SETUP(rollback)
{
	knobs_baseline();
	self->holder = 0;
	ASSERT_EQ(0, memcg_create(&self->cg, "collapse-rollback"));
	ASSERT_EQ(0, memcg_enter(&self->cg));
	self->mem = region_map(1);
	fill_small(self->mem, pmd_size, 1);
	balance_read(&self->before);
	self->charge = settled_charge(&self->cg);
	self->alloc = vmstat("thp_collapse_alloc");
	self->alloc_failed = vmstat("thp_collapse_alloc_failed");
	self->free_kb = free_kb();
}

FIXTURE_TEARDOWN(rollback)
{
	region_unmap(self->mem, 1);
	memcg_leave();
	memcg_destroy(&self->cg);
}

#define MEM (self->mem)
#define PAGE(n) (self->mem + (n) * page_size)
#define SLACK (256 * page_size)	/* of the charge, below one huge page */

/* What holds after each failed attempt, apart from the content. */
#define EXPECT_UNTOUCHED() do {							\
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));				\
	EXPECT_EQ(0, count_thp_pages(0, MEM, pmd_size));			\
	EXPECT_EQ(0, smaps_kb(0, MEM, pmd_size, "AnonHugePages"));		\
	EXPECT_EQ(0, balance_check(&self->before, 0));				\
	EXPECT_GT(self->charge + SLACK, settled_charge(&self->cg))		\
		TH_LOG("the memory cgroup keeps a charge");			\
	EXPECT_LT(self->free_kb - REPEAT * (long)pmd_size / 1024 / 4,			\
		  free_settled_kb(self->free_kb)) TH_LOG("memory leaks");		\
} while (0)

#define EXPECT_SUCCESS() do {							\
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));				\
	EXPECT_EQ(1, count_huge(0, MEM, pmd_size));				\
	EXPECT_EQ(0, balance_check(&self->before, 1));				\
} while (0)

/* Each attempt fails with @want; huge pages allocated per attempt: @alloc_. */
#define EXPECT_FAILURES(want, alloc_, failed_) do {				\
	long a = vmstat("thp_collapse_alloc");					\
	long f = vmstat("thp_collapse_alloc_failed");				\
	int n;									\
	for (n = 0; n < REPEAT; n++)						\
		ASSERT_EQ(want, collapse(MEM, pmd_size))			\
			TH_LOG("attempt %d", n);				\
	EXPECT_EQ(a + (alloc_) * REPEAT, vmstat("thp_collapse_alloc"));		\
	EXPECT_EQ(f + (failed_) * REPEAT, vmstat("thp_collapse_alloc_failed"));	\
} while (0)

TEST_F(rollback, allocation)
{
	ASSERT_EQ(0, huge_starve());
	EXPECT_FAILURES(-ENOMEM, 0, 1);
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	huge_feed();
	EXPECT_UNTOUCHED();
	EXPECT_SUCCESS();
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

TEST_F(rollback, charge)
{
	ASSERT_EQ(0, memcg_set(&self->cg, "memory.swap.max", "0"));
	ASSERT_EQ(0, memcg_set_num(&self->cg, "memory.max", self->charge + SLACK));
	EXPECT_FAILURES(-EBUSY, 1, 0);
	EXPECT_UNTOUCHED();
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
	EXPECT_LE(REPEAT, memcg_event(&self->cg, "memory.events", "max"));
	EXPECT_EQ(0, memcg_event(&self->cg, "memory.events", "oom_kill"));
	ASSERT_EQ(0, memcg_set(&self->cg, "memory.max", "max"));
	EXPECT_SUCCESS();
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

/* Seen by the scan: nothing is allocated. */
TEST_F(rollback, pin)
{
	const size_t at[] = { 0, 1, 255, 256, pmd_pages - 1 };
	struct pin pin;
	size_t i;

	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		ASSERT_EQ(0, pin_vmsplice(&pin, PAGE(at[i])));
		EXPECT_FAILURES(-EAGAIN, 0, 0);
		EXPECT_UNTOUCHED();
		EXPECT_EQ(0, verify(MEM, pmd_size, 1));
		pin_release(&pin);
	}
	EXPECT_SUCCESS();
	EXPECT_EQ(0, verify(MEM, pmd_size, 1));
}

/*
 * Not seen by the scan: a page that is swapped out here is mapped and pinned
 * in another process. Isolation finds the pin, with all pages before it
 * already locked and off the LRU, in an unhooked page table.
 */
TEST_F(rollback, pin_found_by_isolation)
{
	const size_t at[] = { 0, 1, 256, pmd_pages - 1 };
	size_t i;

	ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		long alloc;

		self->holder = share_swapped(MEM, 1, at[i], true);
		ASSERT_EQ(0, count_pages(0, PAGE(at[i]), page_size, PAGE_PRESENT));
		balance_read(&self->before);
		alloc = vmstat("thp_collapse_alloc");
		EXPECT_EQ(-EAGAIN, collapse(MEM, pmd_size));
		EXPECT_EQ(alloc + 1, vmstat("thp_collapse_alloc"))
			TH_LOG("the failure was not after the allocation");
		EXPECT_UNTOUCHED();
		EXPECT_EQ(0, verify(MEM, pmd_size, 1));
		child_end(self->holder);
		/* The last reference may be dropped a moment later. */
		EXPECT_SUCCESS();
		EXPECT_EQ(0, verify(MEM, pmd_size, 1));
		ASSERT_EQ(0, split_range(MEM));
		fill(MEM, pmd_size, 1);
	}
}

/* A guard page is a swap entry to the scan; swap-in fails at it. */
TEST_F(rollback, swap_in)
{
	ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
	ASSERT_EQ(0, page_out(PAGE(100), 5 * page_size));
	ASSERT_EQ(0, madvise(PAGE(103), page_size, MADV_GUARD_INSTALL));
	balance_read(&self->before);
	EXPECT_FAILURES(-EINVAL, 1, 0);
	EXPECT_UNTOUCHED();
	/* Those before the guard were brought in, those after it were not. */
	EXPECT_EQ(3, count_pages(0, PAGE(100), 3 * page_size, PAGE_PRESENT));
	EXPECT_EQ(1, count_pages(0, PAGE(104), page_size, PAGE_SWAPPED));
	EXPECT_EQ(1, count_pages(0, PAGE(103), page_size, PAGE_GUARD));
	EXPECT_EQ(0, verify(MEM, 103 * page_size, 1));
	EXPECT_EQ(0, verify(PAGE(104), pmd_size - 104 * page_size, 1));
	ASSERT_EQ(0, madvise(PAGE(103), page_size, MADV_GUARD_REMOVE));
	EXPECT_SUCCESS();
	EXPECT_EQ(0, verify(MEM, 103 * page_size, 1));
	EXPECT_EQ(0, verify_zero(PAGE(103), page_size));
	EXPECT_EQ(0, verify(PAGE(104), pmd_size - 104 * page_size, 1));
}

static long corrupted_kb(void)
{
	return meminfo_kb("HardwareCorrupted");
}

static void unpoison(uint64_t pfn)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%llu", (unsigned long long)pfn);
	knob_try("/sys/kernel/debug/hwpoison/unpoison-pfn", buf);
}

/* The injection also tells the process that has the page mapped. */
static void expected_sigbus(int sig)
{
}

TEST_F(rollback, poison)
{
	long corrupted = corrupted_kb();
	struct page_info info;
	int status;
	pid_t child;

	if (corrupted < 0)
		SKIP(return, "no memory failure handling: build with MEMORY_FAILURE");
	page_info(0, PAGE(200), &info);
	signal(SIGBUS, expected_sigbus);
	ASSERT_EQ(0, madvise(PAGE(200), page_size, MADV_HWPOISON));
	ASSERT_EQ(corrupted + (long)page_size / 1024, corrupted_kb());
	balance_read(&self->before);
	EXPECT_FAILURES(-EINVAL, 1, 0);
	EXPECT_UNTOUCHED();
	EXPECT_EQ(0, verify(MEM, 200 * page_size, 1));
	EXPECT_EQ(0, verify(PAGE(201), pmd_size - 201 * page_size, 1));
	/* Who touches it dies of it, nobody else does. */
	signal(SIGBUS, SIG_DFL);
	child = fork();
	if (!child) {
		(void)*(volatile char *)PAGE(200);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGBUS, WTERMSIG(status));
	/* Given up, the place can be used again. */
	ASSERT_EQ(0, madvise(PAGE(200), page_size, MADV_DONTNEED));
	EXPECT_SUCCESS();
	EXPECT_EQ(0, verify(MEM, 200 * page_size, 1));
	EXPECT_EQ(0, verify_zero(PAGE(200), page_size));
	unpoison(info.pfn);
	EXPECT_EQ(corrupted, corrupted_kb());
}

/*
 * Pages that somebody else has locked or taken off the LRU for a moment:
 * reclaim, compaction. It may succeed or fail, and fails only with EAGAIN,
 * or EINVAL where the page is not present.
 */
TEST_F(rollback, pages_in_use_by_the_kernel)
{
	int ok = 0, again = 0, other = 0, n, stop[2], status;
	uint64_t end = now_ms() + 20000;
	pid_t child;

	ASSERT_EQ(0, pipe2(stop, O_NONBLOCK));
	child = fork();
	if (!child) {
		char c;

		while (read(stop[0], &c, 1) < 0)
			knob_try("/proc/sys/vm/compact_memory", "1");
		_exit(0);
	}
	/* The child must not keep the pages shared. */
	fill_small(MEM, pmd_size, 2);
	for (n = 0; now_ms() < end && (n < 200 || !ok || !again); n++) {
		int err = collapse(MEM, pmd_size);

		ok += !err;
		again += err == -EAGAIN;
		other += err && err != -EAGAIN && err != -EINVAL;
		ASSERT_EQ(0, stamp_check(PAGE(n % pmd_pages), 2));
		if (!err)
			ASSERT_EQ(0, split_range(MEM));
	}
	ASSERT_EQ(1, write(stop[1], "x", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	TH_LOG("%d collapsed, %d EAGAIN", ok, again);
	EXPECT_LT(0, ok);
	EXPECT_EQ(0, other);
	EXPECT_EQ(0, verify(MEM, pmd_size, 2));
	EXPECT_UNTOUCHED();
	EXPECT_SUCCESS();
}

int main(int argc, char **argv)
{
	return harness_run_swapping(argc, argv, 64);
}
