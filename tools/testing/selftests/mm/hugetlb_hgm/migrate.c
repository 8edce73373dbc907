// SPDX-License-Identifier: GPL-2.0
/* Pages move between nodes while they are mapped by small pages. */
#include <sys/ioctl.h>

#include "harness.h"

#define NR 3
#define MIN_FREE 6	/* huge pages of each node */

FIXTURE(hgm) {
	struct arena a;
	int there;		/* the node where the arena is not */
};

FIXTURE_SETUP(hgm)
{
	if (node_count() < 2)
		SKIP(return, "one node");
	if (node_free(0) < MIN_FREE || node_free(1) < MIN_FREE)
		SKIP(return, "not enough free huge pages on each node");
	arena_open(&self->a, NR);
	/* All on the first node. */
	must(node_bind(self->a.source, self->a.len, 0, 0), "mbind");
	fill(self->a.source, 0, self->a.len, 1);
	for (int i = 0; i < NR; i++)
		if (node_of(self->a.source + i * HUGE) != 0)
			die("page %d is on node %d", i, node_of(self->a.source + i * HUGE));
	self->there = 1;
	must(arena_hgm(&self->a, UFFD_FEATURE_SIGBUS, 0), "registration");
}

FIXTURE_TEARDOWN(hgm)
{
	if (!self->a.len)
		return;
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

#define ALL_LEAVES() mapped_smalls(0, self->a.guest, self->a.len)

/* R1: afterwards each small page is the one that it was, at the same place of the new page. */
TEST_F(hgm, there_and_back)
{
	struct arena *a = &self->a;
	long leaves;
	int round, i;

	ASSERT_EQ(0, arena_continue(a, 0, HUGE / 2));
	ASSERT_EQ(0, arena_continue(a, HUGE - SMALL, SMALL));
	for (i = 0; i < (int)SMALLS; i += 3)
		ASSERT_EQ(0, arena_continue(a, HUGE + i * SMALL, SMALL));
	ASSERT_EQ(0, arena_continue(a, 2 * HUGE, HUGE));
	leaves = ALL_LEAVES();
	for (round = 0; round < 6; round++) {
		int node = round & 1 ? 0 : 1;

		for (i = 0; i < 2; i++) {
			EXPECT_EQ(0, node_move(a->guest + i * HUGE, node, MOVE_ALL)) TH_LOG("page %d to node %d", i, node);
			EXPECT_EQ(node, node_of(a->guest + i * HUGE));
		}
		/* The huge one moves in any case. */
		EXPECT_EQ(0, node_move(a->guest + 2 * HUGE, node, MOVE_ALL));
		ASSERT_EQ(leaves, ALL_LEAVES());
		EXPECT_EQ(pfn_of(a->source), pfn_of(a->guest));
		EXPECT_EQ(pfn_of(a->source + HUGE + 6 * SMALL), pfn_of(a->guest + HUGE + 6 * SMALL));
		ASSERT_EQ(0, verify(a->guest, 0, HUGE / 2, 1));
		ASSERT_EQ(0, verify_small(a, SMALLS - 1, 1));
		for (i = 0; i < (int)SMALLS; i += 3)
			ASSERT_EQ(0, verify_small(a, SMALLS + i, 1));
		ASSERT_EQ(0, verify(a->guest + 2 * HUGE, 2 * HUGE, HUGE, 1));
		ASSERT_EQ(0, verify(a->source, 0, a->len, 1));
		/* A write goes to its own place. */
		a->guest[(SMALLS - 1) * SMALL] ^= 1;
		a->source[(SMALLS - 1) * SMALL] ^= 1;
	}
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	/* R16: the counts are by leaves still. */
	EXPECT_EQ((long)(1 + SMALLS / 2 + 1), mapcount_of(a->source));
	EXPECT_EQ(KB(a->len) + leaves * 4, hugetlb_kb());
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(2, mapcount_of(a->source));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
}

/* Two split mappings of the same page, each with other holes; and read-only leaves stay so. */
TEST_F(hgm, several_mappings)
{
	struct arena *a = &self->a;
	char *other = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	int fd = uffd_open(HGM_FEATURES | UFFD_FEATURE_SIGBUS);
	struct touch t;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, uffd_register(fd, other, a->len, UFFDIO_REGISTER_MODE_MINOR));
	ASSERT_EQ(0, arena_continue(a, 0, HUGE / 2));
	ASSERT_EQ(0, uffd_continue(fd, other + HUGE / 4, HUGE / 2, NULL));
	ASSERT_EQ(0, mprotect(other, a->len, PROT_READ));
	EXPECT_EQ(0, node_move(a->guest, self->there, MOVE_ALL));
	EXPECT_EQ((long)SMALLS / 2, mapped_smalls(0, a->guest, a->len));
	EXPECT_EQ((long)SMALLS / 2, mapped_smalls(0, other, a->len));
	EXPECT_EQ(0, pfn_of(a->guest + HUGE / 2));
	EXPECT_EQ(0, pfn_of(other));
	EXPECT_EQ(0, verify(a->guest, 0, HUGE / 2, 1));
	EXPECT_EQ(0, verify(other + HUGE / 4, HUGE / 4, HUGE / 2, 1));
	EXPECT_EQ(SIGSEGV, touch_write(other + HUGE / 4, 1, &t));
	EXPECT_EQ(SIGBUS, touch_read(other, &t));
	EXPECT_EQ(0, touch_write(a->guest + SMALL, (unsigned char)a->source[SMALL], &t));
	munmap(other, a->len);
	close(fd);
}

/* C6: a page that was isolated for its first small mapping is no failure at its second. */
TEST_F(hgm, mbind_moves_it)
{
	struct arena *a = &self->a;

	ASSERT_EQ(0, arena_continue_small(a, 0, 100 * SMALL));
	ASSERT_EQ(0, arena_continue(a, HUGE, HUGE));
	/* In the right place already. */
	EXPECT_EQ(0, node_bind(a->guest, 2 * HUGE, 0, STRICT));
	/* In the wrong one, and not to be moved. */
	EXPECT_EQ(-EIO, node_bind(a->guest, 2 * HUGE, self->there, STRICT));
	EXPECT_EQ(0, node_of(a->guest));
	EXPECT_EQ(0, node_bind(a->guest, 2 * HUGE, self->there, MOVE_ALL | STRICT));
	EXPECT_EQ(self->there, node_of(a->guest));
	EXPECT_EQ(self->there, node_of(a->guest + HUGE));
	EXPECT_EQ(100 + (long)SMALLS, ALL_LEAVES());
	EXPECT_EQ(0, verify(a->guest, 0, 100 * SMALL, 1));
	EXPECT_EQ(0, verify(a->guest + HUGE, HUGE, HUGE, 1));
	EXPECT_EQ(0, verify(a->source, 0, a->len, 1));
}

struct presser {
	char *at;		/* a small page that it writes to, without sleep */
	long written;
	bool stop;
};

static void *press(void *arg)
{
	struct presser *p = arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(1, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	while (!__atomic_load_n(&p->stop, __ATOMIC_SEQ_CST)) {
		*(volatile long *)p->at = p->written + 1;
		__atomic_store_n(&p->written, p->written + 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* R3: who has the old place in its TLB must not go on writing there. */
TEST_F(hgm, move_reaches_every_processor)
{
	struct arena *a = &self->a;
	struct presser p = { .at = a->guest + 100 * SMALL };
	pthread_t thread;
	long before;
	int round;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor");
	ASSERT_EQ(0, arena_continue_small(a, 0, 200 * SMALL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, press, &p));
	for (round = 0; round < 6; round++) {
		before = __atomic_load_n(&p.written, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&p.written, __ATOMIC_SEQ_CST) == before)
			sched_yield();
		EXPECT_EQ(0, node_move(a->guest, round & 1 ? 0 : self->there, MOVE_ALL));
		/* What is written from now on is seen by the other mapping. */
		before = __atomic_load_n(&p.written, __ATOMIC_SEQ_CST) + 1;
		while (__atomic_load_n(&p.written, __ATOMIC_SEQ_CST) <= before)
			sched_yield();
		EXPECT_LE(before, *(volatile long *)(a->source + 100 * SMALL));
	}
	__atomic_store_n(&p.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	EXPECT_EQ(p.written, *(volatile long *)(a->source + 100 * SMALL));
	if (p.written != *(volatile long *)(a->source + 100 * SMALL))
		wrong("writes went to the page of before the migration");
}

/* I8: one process and one mapping, however many leaves: it is not shared. */
TEST_F(hgm, leaves_do_not_make_it_shared)
{
	struct arena *a = &self->a;
	uint64_t e;

	munmap(a->source, a->len);
	a->source = NULL;
	ASSERT_EQ(0, arena_continue_small(a, 0, 100 * SMALL));
	EXPECT_EQ(400, smaps_kb(0, a->guest, a->len, "Private_Hugetlb"));
	EXPECT_EQ(0, smaps_kb(0, a->guest, a->len, "Shared_Hugetlb"));
	pagemap(0, a->guest, 1, &e);
	EXPECT_TRUE(e & PM_EXCLUSIVE);
	EXPECT_EQ(0, node_move(a->guest, self->there, MOVE_OWN));
	EXPECT_EQ(0, verify(a->guest, 0, 100 * SMALL, 1));
	/* A second mapping of it: now it is. */
	a->source = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_EQ(0, verify(a->source, 0, HUGE, 1));
	EXPECT_EQ(400, smaps_kb(0, a->guest, a->len, "Shared_Hugetlb"));
}

/* numa_maps says how many huge pages there are: a split one is one. */
TEST_F(hgm, numa_maps_counts_pages)
{
	struct arena *a = &self->a;
	char line[1024], want[32];
	bool found = false;
	FILE *f;

	ASSERT_EQ(0, arena_continue_small(a, 0, 100 * SMALL));
	ASSERT_EQ(0, arena_continue(a, HUGE, HUGE));
	snprintf(want, sizeof(want), "%lx ", (unsigned long)a->guest);
	f = fopen("/proc/self/numa_maps", "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, want, strlen(want)))
			continue;
		found = true;
		if (!strstr(line, " N0=2 "))
			wrong("numa_maps: %s", line);
		EXPECT_NE(NULL, strstr(line, " N0=2 "));
	}
	fclose(f);
	EXPECT_TRUE(found);
}

TEST_F(hgm, soft_offline)
{
	struct arena *a = &self->a;
	long total = self->a.before.total;
	uint64_t pfn;
	struct pool now;
	FILE *f;
	int err;

	if (access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK))
		SKIP(return, "the page would be lost");
	ASSERT_EQ(0, arena_continue_small(a, 0, 100 * SMALL));
	pfn = pfn_of(a->guest + 7 * SMALL);
	err = madvise(a->guest + 7 * SMALL, SMALL, MADV_SOFT_OFFLINE) ? -errno : 0;
	EXPECT_EQ(0, err);
	EXPECT_NE(pfn, pfn_of(a->guest + 7 * SMALL));
	EXPECT_EQ(100, ALL_LEAVES());
	EXPECT_EQ(0, verify(a->guest, 0, 100 * SMALL, 1));
	EXPECT_EQ(0, verify(a->source, 0, a->len, 1));
	/* One huge page is no more, for the sake of one small one. */
	pool_read(&now);
	EXPECT_EQ(total - !err, now.total);
	if (!err) {
		f = fopen("/sys/kernel/debug/hwpoison/unpoison-pfn", "w");
		ASSERT_NE(NULL, f);
		fprintf(f, "%#llx\n", (unsigned long long)pfn);
		fclose(f);
		pool_resize(total);
	}
}

HGM_HARNESS_MAIN
