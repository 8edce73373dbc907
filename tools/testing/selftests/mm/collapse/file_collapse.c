// SPDX-License-Identifier: GPL-2.0
/* Shared memory and files of every kind, through every door: huge at once, content, counters. */
#include "filekinds.h"

#define NR 3

/* What any successful collapse of the whole file leaves behind. */
#define EXPECT_COLLAPSED() do {							\
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));				\
	EXPECT_EQ(F->len / 1024, file_huge_kb(0, MEM, F->len));			\
	EXPECT_EQ(F->len / page_size, count_thp_pages(0, MEM, F->len));		\
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));				\
} while (0)

TEST_F(kind, madvise)
{
	long collapsed = pages_collapsed(), mapped = vmstat("thp_file_mapped");

	FILE_SETUP(NR);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	/* No fault has been taken yet. */
	EXPECT_COLLAPSED();
	EXPECT_EQ(mapped + NR, vmstat("thp_file_mapped"));
	EXPECT_EQ(collapsed, pages_collapsed());
	EXPECT_CHANGE(NR, NR, NR);
	/* Again: nothing to do. */
	EXPECT_EQ(0, collapse(MEM, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_reread(F, 1));
	file_close(F);
}

TEST_F(kind, counters_return)
{
	struct file_stat start;

	file_stat_read(&start);
	file_setup(F, variant->kind, NR, 1);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	file_close(F);
	/* A disk's bitmaps and inodes are in the page cache too, and stay. */
	if (ON_DISK)
		start.pages = -1;
	EXPECT_EQ(0, file_stat_check(&start, &(struct file_stat){ }));
}

TEST_F(kind, khugepaged)
{
	long collapsed;

	FILE_SETUP(NR);
	collapsed = pages_collapsed();
	file_advise(F);
	khugepaged_fast();
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, NR, LONG_MS));
	EXPECT_EQ(0, khugepaged_passes(1, LONG_MS));
	khugepaged_idle();
	DAEMON_MAY_RETRY();
	EXPECT_COLLAPSED();
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_LE(collapsed + NR, pages_collapsed());
	EXPECT_EQ(0, file_reread(F, 1));
}

TEST_F(kind, process_madvise)
{
	int go[2], ready[2], fd, status;
	pid_t child;
	char c;

	FILE_SETUP(NR);
	ASSERT_EQ(0, pipe(go) | pipe(ready));
	child = fork();
	if (!child) {
		close(go[1]);
		/* A fork does not copy these tables. */
		file_touch(MEM, F->len);
		if (write(ready[1], "r", 1) != 1)
			_exit(2);
		while (read(go[0], &c, 1) > 0)
			;
		_exit(file_verify_all(F, MEM, 1) || count_huge(0, MEM, F->len) != NR);
	}
	close(go[0]);
	fd = pidfd_open_(child);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(F->len, collapse_process(fd, MEM, F->len));
	EXPECT_EQ(NR, count_huge(child, MEM, F->len));
	EXPECT_EQ(F->len / 1024, file_huge_kb(child, MEM, F->len));
	/* Here the tables are gone, and a touch brings the huge page. */
	EXPECT_EQ(0, count_pages(0, MEM, F->len, PAGE_PRESENT));
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, NR, 0));
	EXPECT_COLLAPSED();
	EXPECT_CHANGE(NR, NR, NR);
	close(go[1]);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_reread(F, 1));
}

/* One page of memory for both, before and after, and no copy on write. */
TEST_F(kind, stays_shared)
{
	int to[2], from[2], status;
	pid_t child;
	char c = 0;

	FILE_SETUP(NR);
	ASSERT_EQ(0, pipe(to) | pipe(from));
	child = fork();
	if (!child) {
		struct page_info mine, other;
		bool ok = true;
		size_t i;

		file_touch(MEM, F->len);
		ok &= write(from[1], "r", 1) == 1 && read(to[0], &c, 1) == 1;
		file_touch(MEM, F->len);
		for (i = 0; i < F->len / page_size; i += 97) {
			page_info(0, MEM + i * page_size, &mine);
			page_info(getppid(), MEM + i * page_size, &other);
			ok &= mine.pfn && mine.pfn == other.pfn;
		}
		ok &= count_huge(0, MEM, F->len) == NR && !file_verify_all(F, MEM, 1);
		if (file_may_write(variant->kind))
			for (i = 0; i < F->len; i += page_size)
				*(volatile uint64_t *)(MEM + i) = i + 77;
		_exit(!ok);
	}
	ASSERT_EQ(1, read(from[0], &c, 1));
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_COLLAPSED();
	ASSERT_EQ(1, write(to[1], "g", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	if (file_may_write(variant->kind))
		for (size_t i = 0; i < F->len; i += page_size)
			ASSERT_EQ(i + 77, *(volatile uint64_t *)(MEM + i));
	EXPECT_CHANGE(NR, NR, NR);
}

/* Written through the huge page, seen by read() and, later, on the disk. */
TEST_F(kind, written_after)
{
	if (variant->kind == MEMFD_SEALED)
		SKIP(return, "nobody may write to it");
	FILE_SETUP(NR);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	file_store(MEM, 0, F->len, 2);
	if (variant->kind == MEMFD_FUTURE_SEALED) {
		/* This mapping may be written to, the descriptor may not. */
		EXPECT_EQ(-1, pwrite(F->fd, "x", 1, 0));
		EXPECT_EQ(EPERM, errno);
	} else {
		file_write(F, pmd_size, pmd_size, 3);
		EXPECT_EQ(0, file_verify(MEM + pmd_size, pmd_size, pmd_size, 3));
		file_write(F, pmd_size, pmd_size, 2);
	}
	EXPECT_EQ(0, file_verify_all(F, MEM, 2));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_reread(F, 2));
}

/* A read-only mapping of a sealed file stays one (class 59). */
TEST_F(kind, seal_holds)
{
	char *other;
	int fd;

	if (variant->kind != MEMFD_SEALED)
		SKIP(return, "not a sealed file");
	FILE_SETUP(1);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(-EFAULT, kernel_write(MEM, 1));
	EXPECT_EQ(-1, mprotect(MEM, F->len, PROT_READ | PROT_WRITE));
	/* Not even by force. */
	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_NE(1, pwrite(fd, "x", 1, (uintptr_t)MEM));
	close(fd);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	/* A private copy may be written to, by force too, and stays private. */
	other = file_map(F, PROT_READ, MAP_PRIVATE);
	file_touch(other, F->len);
	fd = open("/proc/self/mem", O_RDWR);
	EXPECT_EQ(1, pwrite(fd, "x", 1, (uintptr_t)other));
	close(fd);
	EXPECT_EQ('x', *(volatile char *)other);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_EQ(0, file_verify(other + page_size, page_size, F->len - page_size, 1));
}

/* Class 23: only what was asked for, whatever lies behind it. */
TEST_F(kind, part_of_the_range)
{
	FILE_SETUP(NR);
	EXPECT_EQ(0, collapse_settled(MEM + page_size, 2 * pmd_size));
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM + pmd_size, pmd_size));
	EXPECT_EQ(0, count_huge(0, MEM + 2 * pmd_size, pmd_size));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_CHANGE(1, 1, 1);
}

/* MADV_COLLAPSE asks neither sysfs nor the mount. */
TEST_F(kind, ignores_knobs)
{
	char path[64];

	file_tmpfs_options = "huge=never";
	FILE_SETUP(NR);
	knob_set("enabled", "never");
	snprintf(path, sizeof(path), "%s/shmem_enabled", thp_size_dir());
	knob_set(path, "never");
	snprintf(path, sizeof(path), "%s/enabled", thp_size_dir());
	knob_set(path, "never");
	knob_set("defrag", "never");
	knob_set("khugepaged/max_ptes_none", "0");
	knob_set("khugepaged/max_ptes_swap", "0");
	knob_set("khugepaged/max_ptes_shared", "0");
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_COLLAPSED();
	EXPECT_CHANGE(NR, NR, NR);
}

/* Only "deny", which is for emergencies, is obeyed, and by shared memory. */
TEST_F(kind, deny)
{
	FILE_SETUP(1);
	knob_set("shmem_enabled", "deny");
	EXPECT_EQ(ON_DISK ? 0 : -EINVAL, collapse_settled(MEM, F->len));
	knob_set("shmem_enabled", "never");
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(1, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* The daemon does ask: without leave it does nothing. */
TEST_F(kind, khugepaged_needs_leave)
{
	file_tmpfs_options = "huge=never";
	FILE_SETUP(1);
	/* With nothing to scan it would not run at all. */
	ASSERT_EQ(0, madvise(region_map_used(1), pmd_size, MADV_HUGEPAGE));
	/* "enabled" leaves a disk's file to advice, the mount says never. */
	if (!ON_DISK)
		ASSERT_EQ(0, madvise(MEM, F->len, MADV_HUGEPAGE));
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
	khugepaged_idle();
	file_touch(MEM, F->len);
	EXPECT_EQ(0, count_huge(0, MEM, F->len));
	EXPECT_CHANGE(0, 0, 0);
}

TEST_F(kind, charge)
{
	const char *thp = ON_DISK ? "file_thp" : "shmem_thp";
	const char *all = ON_DISK ? "file" : "shmem";
	long before, current;
	struct memcg cg;

	ASSERT_EQ(0, memcg_create(&cg, "collapse-file"));
	ASSERT_EQ(0, memcg_enter(&cg));
	file_setup(F, variant->kind, NR, 1);
	knob_try("/proc/sys/vm/stat_refresh", "1");
	before = memcg_event(&cg, "memory.stat", all);
	current = memcg_num(&cg, "memory.current");
	EXPECT_EQ(0, memcg_event(&cg, "memory.stat", thp));
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(F->len, memcg_event_soon(&cg, "memory.stat", thp, F->len));
	EXPECT_GE(512 << 10, labs(memcg_event(&cg, "memory.stat", all) - before));
	EXPECT_GE(1 << 20, labs(memcg_num(&cg, "memory.current") - current));
	EXPECT_EQ(NR, memcg_event(&cg, "memory.stat", "thp_collapse_alloc"));
	file_close(F);
	EXPECT_EQ(0, memcg_event_soon(&cg, "memory.stat", thp, 0));
	EXPECT_GT(1 << 20, memcg_event(&cg, "memory.stat", all));
	memcg_leave();
	memcg_destroy(&cg);
}

COLLAPSE_HARNESS_MAIN
