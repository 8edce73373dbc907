// SPDX-License-Identifier: GPL-2.0
/* MADV_COLLAPSE: what becomes huge, what does not, which errno for which reason. */
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "harness.h"

#define NR 4

FIXTURE(hgm) {
	struct arena a;
};

FIXTURE_SETUP(hgm)
{
	arena_open(&self->a, NR);
	fill(self->a.source, 0, self->a.len, 1);
	must(arena_hgm(&self->a, UFFD_FEATURE_SIGBUS, 0), "registration");
}

FIXTURE_TEARDOWN(hgm)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

#define AT(n) (self->a.guest + (n) * HUGE)
#define MAPPED(n) mapped_smalls(0, AT(n), HUGE)
#define SPLIT(n, smalls) ASSERT_EQ(0, arena_continue_small(&self->a, (n) * HUGE, (smalls) * SMALL))

/* Which of the four are mapped in whole, as bits: with pte_kb() of 0 these are the huge ones. */
static int whole_bits(const struct arena *a)
{
	int i, bits = 0;

	for (i = 0; i < NR; i++)
		bits |= (mapped_smalls(0, a->guest + i * HUGE, HUGE) == (long)SMALLS) << i;
	return bits;
}

TEST_F(hgm, all_of_it)
{
	struct arena *a = &self->a;
	uint64_t pfn;

	SPLIT(0, 1);
	SPLIT(1, SMALLS);
	SPLIT(2, 100);
	ASSERT_EQ(0, arena_continue(a, 3 * HUGE + SMALL, HUGE - SMALL));
	pfn = pfn_of(AT(0));
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(0, pte_kb(a));
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(KB(2 * a->len), hugetlb_kb());
	EXPECT_EQ(pfn, pfn_of(AT(0)));
	EXPECT_EQ(0xf, whole_bits(a));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
	fill(a->guest, 0, a->len, 2);
	EXPECT_EQ(0, verify(a->source, 0, a->len, 2));
}

TEST_F(hgm, only_whole_pages_of_the_range)
{
	struct arena *a = &self->a;
	int i;

	for (i = 0; i < NR; i++)
		SPLIT(i, 3);
	/* No whole one. */
	EXPECT_EQ(0, collapse(AT(0) + SMALL, HUGE));
	EXPECT_EQ(0, collapse(AT(0), HUGE - SMALL));
	EXPECT_EQ(0, collapse(AT(0) + 5 * SMALL, SMALL));
	EXPECT_EQ(0, collapse(AT(0), 0));
	EXPECT_EQ(0, whole_bits(a));
	EXPECT_EQ(NR * 12, pte_kb(a));
	/* The second, and nothing of its neighbours. */
	EXPECT_EQ(0, collapse_settled(AT(1) - SMALL, HUGE + 2 * SMALL));
	EXPECT_EQ(1 << 1, whole_bits(a));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(3 * 12, pte_kb(a));
	EXPECT_EQ(-EINVAL, collapse(AT(2) + 1, HUGE));
	EXPECT_EQ(0, collapse_settled(AT(2), 2 * HUGE - SMALL));
	EXPECT_EQ(1 << 1 | 1 << 2, whole_bits(a));
	EXPECT_EQ(3, MAPPED(3));
}

TEST_F(hgm, already_huge)
{
	struct arena *a = &self->a;
	uint64_t pfn;

	ASSERT_EQ(0, arena_continue(a, 0, HUGE));
	pfn = pfn_of(AT(0));
	EXPECT_EQ(0, collapse(AT(0), HUGE));
	EXPECT_EQ(0, collapse(AT(0), HUGE));
	EXPECT_EQ(pfn, pfn_of(AT(0)));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(KB(HUGE) + KB(a->len), hugetlb_kb());
	EXPECT_EQ(2, mapcount_of(a->source));
}

/* Nothing is made up where nothing was. */
TEST_F(hgm, empty)
{
	struct arena *a = &self->a;
	struct touch t;

	EXPECT_EQ(0, collapse(a->guest, a->len));
	EXPECT_EQ(0, whole_bits(a));
	EXPECT_EQ(0, pmd_kb(a) + pte_kb(a));
	EXPECT_EQ(SIGBUS, touch_read(AT(0), &t));
	/* Split once, then without any leaf: whether or not a table is left, it stays empty. */
	SPLIT(0, 5);
	ASSERT_EQ(0, madvise(AT(0), HUGE, MADV_DONTNEED));
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(0, pmd_kb(a) + pte_kb(a));
	EXPECT_EQ(SIGBUS, touch_read(AT(0), &t));
	EXPECT_EQ(0, arena_continue(a, 0, HUGE));
	EXPECT_EQ(0, verify(AT(0), 0, HUGE, 1));
}

/* The page was taken out of the file below a table. */
TEST_F(hgm, empty_since_it_was_cut_off)
{
	struct arena *a = &self->a;

	SPLIT(0, 5);
	SPLIT(1, 5);
	ASSERT_EQ(0, fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE));
	EXPECT_EQ(0, collapse_settled(AT(0), 2 * HUGE));
	EXPECT_EQ(0, MAPPED(0));
	EXPECT_EQ((long)SMALLS, MAPPED(1));
	EXPECT_EQ(0, verify(AT(0), 0, HUGE, 0));
	EXPECT_EQ(0, verify(AT(1), HUGE, HUGE, 1));
}

/* As if what is missing had been continued: no fault is left to answer. */
TEST_F(hgm, holes_are_filled)
{
	struct arena *a = &self->a;
	struct touch t;

	ASSERT_EQ(0, arena_continue(a, 7 * SMALL, SMALL));
	EXPECT_EQ(SIGBUS, touch_read(AT(0), &t));
	EXPECT_EQ(0, collapse_settled(AT(0), HUGE));
	EXPECT_EQ(0, touch_read(AT(0), &t));
	EXPECT_EQ(0, verify(AT(0), 0, HUGE, 1));
	EXPECT_EQ(-EEXIST, arena_continue(a, 0, SMALL));
}

/* Small and huge in turns; what is freed must be free for the next table. */
TEST_F(hgm, again_and_again)
{
	struct arena *a = &self->a;
	long tables = 0;
	int i;

	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, arena_continue(a, i % 512 * SMALL, SMALL));
		ASSERT_EQ(0, arena_continue_small(a, HUGE + i * SMALL, 10 * SMALL));
		ASSERT_EQ(0, collapse_settled(AT(0), 2 * HUGE));
		ASSERT_EQ(2 * KB(HUGE), pmd_kb(a));
		ASSERT_EQ(2, mapcount_of(a->source));
		ASSERT_EQ(0, madvise(AT(0), 2 * HUGE, MADV_DONTNEED));
		if (i == 1)
			tables = tables_kb();
	}
	EXPECT_GE(tables + 4, tables_kb());
	EXPECT_EQ(KB(a->len), hugetlb_kb());
	EXPECT_EQ(0, verify(a->source, 0, a->len, 1));
}

/* What lies between is missing: the rule of madvise(). */
TEST_F(hgm, a_gap_is_enomem)
{
	struct arena *a = &self->a;
	int i;

	for (i = 0; i < NR; i++)
		SPLIT(i, 2);
	munmap(AT(1), HUGE);
	EXPECT_EQ(-ENOMEM, collapse(a->guest, a->len));
	EXPECT_EQ((long)SMALLS, MAPPED(0));
	/* As it was, for the teardown. */
	EXPECT_EQ(AT(1), mmap(AT(1), HUGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, a->fd, HUGE));
}

/* One VMA has HGM, its neighbour has not. */
TEST_F(hgm, a_neighbour_without_hgm_is_einval)
{
	struct arena *a = &self->a;

	SPLIT(0, 2);
	ASSERT_EQ(AT(1), mmap(AT(1), HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, a->fd, HUGE));
	EXPECT_FALSE(smaps_flag(0, AT(1), "hm"));
	EXPECT_EQ(-EINVAL, collapse_settled(AT(0), 2 * HUGE));
	EXPECT_EQ((long)SMALLS, MAPPED(0));
	EXPECT_EQ(-EINVAL, collapse(AT(1), HUGE));
}

/* By another process. */
TEST_F(hgm, process_madvise)
{
	struct arena *a = &self->a;
	struct iovec { void *base; size_t len; } iov = { a->guest, a->len };
	int fds[2], go[2], pidfd, status;
	pid_t pid;
	char c;

	SPLIT(0, 2);
	SPLIT(1, 2);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The child's own: its page tables are empty, so that small leaves need a table first. */
		int fd = uffd_open(HGM_FEATURES);

		/* So that it ends with its parent. */
		close(go[1]);
		if (fd < 0 || uffd_register(fd, a->guest, a->len, UFFDIO_REGISTER_MODE_MINOR) ||
		    uffd_continue(fd, a->guest, 4 * SMALL, NULL) || write(fds[1], "r", 1) != 1)
			_exit(1);
		/* It is looked at from outside until then. */
		if (read(go[0], &c, 1) != 1 || uffd_continue(fd, a->guest + 4 * SMALL, HUGE - 4 * SMALL, NULL) ||
		    write(fds[1], "f", 1) != 1)
			_exit(1);
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		_exit(verify(a->guest, 0, HUGE, 1) ? 1 : 0);
	}
	close(fds[1]);
	ASSERT_EQ(1, read(fds[0], &c, 1));
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	EXPECT_EQ(4, mapped_smalls(pid, a->guest, a->len));
	/* What is in the holes is for the owner to say, whose userfaultfd has not been asked yet. */
	EXPECT_EQ(-1, syscall(SYS_process_madvise, pidfd, &iov, 1UL, MADV_COLLAPSE, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(4, mapped_smalls(pid, a->guest, a->len));
	EXPECT_EQ(1, write(go[1], "h", 1));
	ASSERT_EQ(1, read(fds[0], &c, 1));
	EXPECT_EQ(KB(HUGE), smaps_kb(pid, a->guest, a->len, "HugetlbPteMapped"));
	EXPECT_EQ((long)a->len, syscall(SYS_process_madvise, pidfd, &iov, 1UL, MADV_COLLAPSE, 0));
	EXPECT_EQ((long)SMALLS, mapped_smalls(pid, a->guest, a->len));
	EXPECT_EQ(0, smaps_kb(pid, a->guest, a->len, "HugetlbPteMapped"));
	EXPECT_EQ(1, write(go[1], "g", 1));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* Ours are as they were. */
	EXPECT_EQ(2, MAPPED(0));
	EXPECT_EQ(2, MAPPED(1));
	close(pidfd);
	close(fds[0]);
	close(go[0]);
	close(go[1]);
}

/* R12: PAGEMAP_SCAN looks at each small page; what it may change is none of a table's business. */
TEST_F(hgm, pagemap_scan)
{
#ifdef PAGEMAP_SCAN
	struct arena *a = &self->a;
	struct page_region regions[8];
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)AT(0), .end = (uintptr_t)AT(2),
		.vec = (uintptr_t)regions, .vec_len = 8,
		.category_mask = PAGE_IS_PRESENT, .return_mask = PAGE_IS_PRESENT,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY), n;

	SPLIT(0, 3);
	ASSERT_EQ(0, arena_continue(a, 9 * SMALL, SMALL));
	ASSERT_EQ(0, arena_continue(a, HUGE, HUGE));
	n = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (n < 0 && errno == ENOTTY)
		SKIP(return, "no PAGEMAP_SCAN");
	ASSERT_EQ(3, n);
	EXPECT_EQ((uintptr_t)AT(0), regions[0].start);
	EXPECT_EQ((uintptr_t)AT(0) + 3 * SMALL, regions[0].end);
	EXPECT_EQ((uintptr_t)AT(0) + 9 * SMALL, regions[1].start);
	EXPECT_EQ((uintptr_t)AT(0) + 10 * SMALL, regions[1].end);
	EXPECT_EQ((uintptr_t)AT(1), regions[2].start);
	EXPECT_EQ((uintptr_t)AT(2), regions[2].end);
	close(fd);
	EXPECT_EQ(16, pte_kb(a));
#else
	SKIP(return, "headers without PAGEMAP_SCAN");
#endif
}

/* ---- readers beside it ---- */

struct readers {
	struct crew c;
	struct arena *a;
	long looks, collapsed, busy;
};

static void *look_at_smaps(void *arg)
{
	struct readers *r = arg;

	while (crew_on(&r->c)) {
		long pte = pte_kb(r->a), pmd = pmd_kb(r->a);

		if (pte < 0 || pmd < 0 || pte > KB(r->a->len) || pmd > KB(r->a->len) || pmd % KB(HUGE))
			crew_fail(&r->c, "smaps: %ld kB small, %ld kB huge", pte, pmd);
		if (read_all("/proc/self/numa_maps") < 0 || read_all("/proc/self/smaps_rollup") < 0)
			crew_fail(&r->c, "numa_maps or smaps_rollup cannot be read");
		count_up(r->looks);
	}
	return NULL;
}

static void *look_at_pagemap(void *arg)
{
	struct readers *r = arg;
	static unsigned char resident[SMALLS];

	while (crew_on(&r->c)) {
		/* R4: a table that is gone would show anything. */
		if (mapped_smalls(0, r->a->guest, r->a->len) < 0)
			crew_fail(&r->c, "pagemap shows another page");
		if (mincore(r->a->guest, HUGE, resident))
			crew_fail(&r->c, "mincore: %s", strerror(errno));
		count_up(r->looks);
	}
	return NULL;
}

static void *split_and_collapse(void *arg)
{
	struct readers *r = arg;
	struct arena *a = r->a;
	int err, i;

	while (crew_on(&r->c)) {
		size_t n = dice() % NR;

		for (i = 0; i < 8; i++)
			arena_continue(a, n * HUGE + dice() % SMALLS * SMALL, SMALL);
		err = collapse(a->guest, a->len);
		if (!err)
			count_up(r->collapsed);
		else if (err == -EAGAIN)
			count_up(r->busy);
		else
			crew_fail(&r->c, "collapse: %s", strerror(-err));
		if (madvise(a->guest + n * HUGE, HUGE, MADV_DONTNEED))
			crew_fail(&r->c, "MADV_DONTNEED: %s", strerror(errno));
	}
	return NULL;
}

TEST_F(hgm, readers_beside_it)
{
	struct readers r = { .a = &self->a };

	r.c.progress = &r.looks;
	crew_add(&r.c, look_at_smaps, &r);
	crew_add(&r.c, look_at_pagemap, &r);
	crew_add(&r.c, split_and_collapse, &r);
	crew_add(&r.c, split_and_collapse, &r);
	EXPECT_EQ(0, crew_run(&r.c, hgm_seconds() * 1000));
	EXPECT_LT(0, r.looks);
	EXPECT_LT(0, r.collapsed);
	EXPECT_EQ(0, verify(self->a.source, 0, self->a.len, 1));
	TH_LOG("%ld looks, %ld collapses, %ld busy", r.looks, r.collapsed, r.busy);
}

HGM_HARNESS_MAIN
