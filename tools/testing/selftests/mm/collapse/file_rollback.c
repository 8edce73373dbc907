// SPDX-License-Identifier: GPL-2.0
/*
 * A collapse of shared memory or a file that fails at one of its steps leaves
 * everything as it was: content, page cache, blocks, charge and memory.
 */
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/userfaultfd.h>

#include "filekinds.h"

#define NO_HOLES (ON_DISK || variant->kind == MEMFD_SEALED ||			\
		  variant->kind == MEMFD_FUTURE_SEALED || variant->kind == SYSV_SHM)
#define REPEAT	40	/* one leaked huge page each would be 80 MiB */
#define SLACK	(256 * page_size)

struct state {
	struct file_stat stat;
	struct stat st;
	struct statfs fs;
	struct memcg cg;
	long charge, free_kb;
};

static void state_enter(struct state *s)
{
	if (memcg_create(&s->cg, "collapse-file-rollback") || memcg_enter(&s->cg))
		die("no memory cgroup");
}

static void state_read(struct state *s, const struct filemap *f)
{
	file_stat_read(&s->stat);
	if (f->fd >= 0 && (fstat(f->fd, &s->st) || fstatfs(f->fd, &s->fs)))
		die("fstat: %s", strerror(errno));
	s->charge = memcg_num(&s->cg, "memory.current");
	s->free_kb = meminfo_kb("MemFree");
}

static int state_check(const struct state *before, const struct filemap *f)
{
	struct state now = *before;
	int bad = file_stat_check(&before->stat, &(struct file_stat){ }), n;

	for (n = 0; n < 30; n++) {
		state_read(&now, f);
		if (now.free_kb > before->free_kb - REPEAT * (long)pmd_size / 1024 * 7 / 8 &&
		    now.charge < before->charge + SLACK)
			break;
		knob_try("/proc/sys/vm/compact_memory", "1");
		sleep_ms(100);
	}
	if (n == 30)
		bad |= printf("# MemFree %ld -> %ld kB, charge %ld -> %ld\n", before->free_kb,
			      now.free_kb, before->charge, now.charge);
	if (f->fd >= 0 && now.st.st_blocks != before->st.st_blocks)
		bad |= printf("# st_blocks %ld -> %ld\n", (long)before->st.st_blocks,
			      (long)now.st.st_blocks);
	if (f->fd >= 0 && now.fs.f_bfree != before->fs.f_bfree)
		bad |= printf("# free blocks %ld -> %ld\n", (long)before->fs.f_bfree,
			      (long)now.fs.f_bfree);
	bad |= count_huge(0, f->mem, f->len) != 0;
	fflush(stdout);
	return bad;
}

/* Each attempt fails with @want after allocating @alloc_ huge pages. */
#define EXPECT_N_FAILURES(repeat, want, alloc_) do {				\
	long a_ = vmstat("thp_collapse_alloc");					\
	for (int n_ = 0; n_ < (repeat); n_++) {					\
		ASSERT_EQ(want, collapse(MEM, F->len)) TH_LOG("attempt %d", n_);	\
	}									\
	EXPECT_EQ(a_ + (alloc_) * (repeat), vmstat("thp_collapse_alloc"));	\
} while (0)

#define EXPECT_FAILURES(want, alloc_) EXPECT_N_FAILURES(REPEAT, want, alloc_)

#define EXPECT_SUCCESS() do {							\
	EXPECT_EQ(0, collapse_settled(MEM, F->len));				\
	EXPECT_EQ(F->nr_pmds, count_huge(0, MEM, F->len));			\
} while (0)

TEST_F(kind, allocation)
{
	struct state s;

	state_enter(&s);
	FILE_SETUP(1);
	ASSERT_EQ(0, mlock(MEM, F->len));
	state_read(&s, F);
	ASSERT_EQ(0, huge_starve());
	/* Memory that is really used up may be swapped out to make room. */
	EXPECT_N_FAILURES(knob_there("/sys/kernel/debug/fail_page_alloc") ? REPEAT : 1, -ENOMEM, 0);
	huge_feed();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_EQ(0, state_check(&s, F));
	EXPECT_SUCCESS();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

TEST_F(kind, charge)
{
	struct state s;

	state_enter(&s);
	memcg_set(&s.cg, "memory.swap.max", "0");
	FILE_SETUP(1);
	ASSERT_EQ(0, mlock(MEM, F->len));
	state_read(&s, F);
	ASSERT_EQ(0, memcg_set_num(&s.cg, "memory.max", s.charge + SLACK));
	EXPECT_FAILURES(-EBUSY, 1);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_EQ(0, state_check(&s, F));
	ASSERT_EQ(0, memcg_set(&s.cg, "memory.max", "max"));
	EXPECT_SUCCESS();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/*
 * The last step that can fail: all is copied, the holes are marked, and then
 * somebody turns out to wait for them (classes 31, 37).
 */
TEST_F(kind, waited_for_hole)
{
	char *watched;
	struct state s;
	size_t n;
	int fd;

	if (NO_HOLES)
		SKIP(return, "no userfaultfd for holes in it");
	state_enter(&s);
	file_create(F, variant->kind, 1);
	file_fill(F, 2, 1);
	file_settle(F);
	/* What was touched is there: empty it again between the pages. */
	for (n = 1; n < pmd_pages; n += 2)
		ASSERT_EQ(0, madvise(MEM + n * page_size, page_size, MADV_REMOVE));
	watched = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
	fd = uffd_open(UFFD_FEATURE_MISSING_SHMEM);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, uffd_register_range(fd, watched, F->len, UFFDIO_REGISTER_MODE_MISSING));
	FILE_LOOK();
	state_read(&s, F);
	EXPECT_FAILURES(-EBUSY, 1);
	EXPECT_EQ(0, state_check(&s, F));
	close(fd);
	for (n = 0; n < pmd_pages; n += 2)
		ASSERT_EQ(0, file_verify(MEM + n * page_size, n * page_size, page_size, 1));
	EXPECT_SUCCESS();
	for (n = 0; n < pmd_pages; n++)
		ASSERT_EQ(0, file_verify(MEM + n * page_size, n * page_size, page_size, n % 2 == 0));
}

/* Class 37: there is no room on the tmpfs for what the holes would take. */
TEST_F(kind, no_blocks_for_holes)
{
	struct state s;
	char opts[64];

	if (variant->kind != TMPFS_FILE)
		SKIP(return, "only a tmpfs has a size");
	state_enter(&s);
	snprintf(opts, sizeof(opts), "huge=never,size=%zu", pmd_size / 2);
	file_tmpfs_options = opts;
	file_create(F, variant->kind, 1);
	file_fill(F, 4, 1);
	MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
	state_read(&s, F);
	EXPECT_EQ(pmd_pages / 4, s.st.st_blocks * 512 / page_size);
	EXPECT_FAILURES(-EINVAL, 1);
	EXPECT_EQ(0, state_check(&s, F));
	/* What was there can be written to, and what fits in too. */
	file_fill(F, 4, 2);
	file_write(F, page_size, page_size, 2);
	for (size_t n = 0; n < pmd_pages; n += 4)
		ASSERT_EQ(0, file_verify(MEM + n * page_size, n * page_size, page_size, 2));
	file_close(F);
	/* A tmpfs that miscounts says so in the log when it goes. */
}

/* Some of the pages are dirty: found with those before it already taken (the daemon writes nothing back). */
TEST_F(kind, dirty)
{
	const size_t at[] = { 0, 1, pmd_pages / 2, pmd_pages - 1 };
	struct state s;
	int tries = 0;
	size_t i = 0;

	if (!ON_DISK)
		SKIP(return, "files on a disk only");
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	state_enter(&s);
	while (i < 4) {
		long alloc;

		FILE_SETUP(1);
		alloc = vmstat("thp_collapse_alloc");
		file_write(F, at[i] * page_size, page_size, 1);
		state_read(&s, F);
		/* This wakes the daemon: from here on it may look. */
		file_advise(F);
		khugepaged_fast();
		EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
		khugepaged_idle();
		khugepaged_wait_asleep(LONG_MS);
		EXPECT_LT(alloc, vmstat("thp_collapse_alloc")) TH_LOG("the failure was not in the collapse");
		file_touch(MEM, F->len);
		EXPECT_EQ(0, file_verify_all(F, MEM, 1));
		/* A file system may write when it likes; then the daemon may collapse. */
		if (count_huge(0, MEM, F->len)) {
			ASSERT_GT(8, tries++) TH_LOG("does not stay dirty");
		} else {
			EXPECT_EQ(0, state_check(&s, F));
			i++;
		}
		if (i < 4)
			file_close(F);
		else
			ASSERT_EQ(0, fsync(F->fd));
	}
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "500");
	EXPECT_SUCCESS();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_EQ(0, file_reread(F, 1));
}

/*
 * Class 39: the tree's nodes for a range that had none. In a file that goes
 * away after a failure they must go as well.
 */
TEST_F(kind, nodes_of_the_tree)
{
	struct memcg cg;
	long before = 0, after;
	int i;

	if (NO_HOLES)
		SKIP(return, "no userfaultfd for holes in it");
	ASSERT_EQ(0, memcg_create(&cg, "collapse-file-nodes"));
	ASSERT_EQ(0, memcg_enter(&cg));
	for (i = -20; i < 200; i++) {
		int fd = uffd_open(UFFD_FEATURE_MISSING_SHMEM);

		if (!i) {
			sleep_ms(2500);
			before = memcg_event(&cg, "memory.stat", "slab_reclaimable");
		}
		file_create(F, variant->kind, 1);
		file_write(F, 0, page_size, 1);
		if (!MEM)
			MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, uffd_register_range(fd, MEM, F->len, UFFDIO_REGISTER_MODE_MISSING));
		ASSERT_EQ(-EBUSY, collapse(MEM, F->len));
		close(fd);
		file_close(F);
	}
	sleep_ms(2500);
	after = memcg_event(&cg, "memory.stat", "slab_reclaimable");
	TH_LOG("reclaimable slab: %ld -> %ld", before, after);
	/* One node of each of 200 files would be 112 KiB, all eight 900 KiB. */
	EXPECT_GT(before + (64 << 10), after);
	memcg_leave();
	memcg_destroy(&cg);
}

/* The same where a size limit ends it, before the holes are marked. */
TEST_F(kind, nodes_without_blocks)
{
	struct memcg cg;
	long before = 0, after;
	int i;

	if (variant->kind != TMPFS_FILE)
		SKIP(return, "only a tmpfs has a size");
	ASSERT_EQ(0, memcg_create(&cg, "collapse-file-nodes"));
	ASSERT_EQ(0, memcg_enter(&cg));
	file_tmpfs_options = "huge=never,size=1m";
	for (i = -20; i < 200; i++) {
		if (!i) {
			sleep_ms(2500);
			before = memcg_event(&cg, "memory.stat", "slab_reclaimable");
		}
		file_create(F, variant->kind, 1);
		file_write(F, 0, page_size, 1);
		MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
		ASSERT_EQ(-EINVAL, collapse(MEM, F->len));
		file_close(F);
	}
	sleep_ms(2500);
	after = memcg_event(&cg, "memory.stat", "slab_reclaimable");
	TH_LOG("reclaimable slab: %ld -> %ld", before, after);
	EXPECT_GT(before + (64 << 10), after);
	memcg_leave();
	memcg_destroy(&cg);
}

static void fail_slab(const char *probability)
{
	knob_set("/sys/kernel/debug/failslab/probability", "0");
	knob_set("/sys/kernel/debug/failslab/interval", "1");
	knob_set("/sys/kernel/debug/failslab/space", "0");
	knob_set("/sys/kernel/debug/failslab/verbose", "0");
	knob_set("/sys/kernel/debug/failslab/times", "-1");
	knob_set("/sys/kernel/debug/failslab/task-filter", "Y");
	knob_set("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	knob_set("/sys/kernel/debug/failslab/cache-filter", "Y");
	knob_set("/sys/kernel/slab/radix_tree_node/failslab", "1");
	knob_set("/proc/self/make-it-fail", "1");
	knob_set("/sys/kernel/debug/failslab/probability", probability);
}

/* Class 39: there is no memory for the nodes. */
TEST_F(kind, nodes_cannot_be_had)
{
	struct state s;

	if (ON_DISK || variant->kind == MEMFD_SEALED || variant->kind == MEMFD_FUTURE_SEALED)
		SKIP(return, "its nodes are there");
	if (!knob_there("/sys/kernel/debug/failslab/cache-filter") ||
	    !knob_there("/sys/kernel/slab/radix_tree_node/failslab"))
		SKIP(return, "no fault injection: build with FAILSLAB and SLUB_DEBUG");
	state_enter(&s);
	file_create(F, variant->kind, 1);
	file_write(F, 0, page_size, 1);
	if (!MEM)
		MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
	state_read(&s, F);
	fail_slab("100");
	EXPECT_FAILURES(-EINVAL, 1);
	fail_slab("0");
	EXPECT_EQ(0, state_check(&s, F));
	EXPECT_SUCCESS();
	EXPECT_EQ(0, file_verify(MEM, 0, page_size, 1));
	EXPECT_EQ(0, verify_zero(MEM + page_size, F->len - page_size));
}

COLLAPSE_HARNESS_MAIN
