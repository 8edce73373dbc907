// SPDX-License-Identifier: GPL-2.0
/* MADV_COLLAPSE of shared memory and files: which errno for which reason. */
#include <signal.h>
#include <linux/userfaultfd.h>

#include "filekinds.h"

#define NR 2
#define PAGES (F->len / page_size)
#define NO_DESCRIPTOR (variant->kind == SHARED_ANON || variant->kind == SYSV_SHM)

/* A refused collapse changes nothing that can be seen. */
#define EXPECT_REFUSED(errno_, start_, len_) do {			\
	EXPECT_EQ(-(errno_), collapse(start_, len_));			\
	EXPECT_EQ(0, count_huge(0, MEM, F->len));			\
} while (0)

#define EXPECT_ACCEPTED() do {						\
	EXPECT_EQ(0, collapse_settled(MEM, F->len));			\
	EXPECT_EQ(F->nr_pmds, count_huge(0, MEM, F->len));		\
} while (0)

/* Nothing is there: in shared memory that is final. */
TEST_F(kind, only_holes)
{
	if (ON_DISK)
		SKIP(return, "a hole on a disk is read as zeros");
	file_create(F, variant->kind, NR);
	if (!F->mem)
		F->mem = file_map(F, PROT_READ, MAP_SHARED);
	FILE_LOOK();
	EXPECT_REFUSED(EINVAL, MEM, F->len);
	EXPECT_CHANGE(0, 0, 1);
	/* One page is enough. */
	file_write(F, F->len - page_size, page_size, 1);
	EXPECT_EQ(0, collapse_settled(MEM + pmd_size, pmd_size));
	EXPECT_EQ(-EINVAL, collapse(MEM, pmd_size));
	EXPECT_EQ(0, verify_zero(MEM + pmd_size, pmd_size - page_size));
}

TEST_F(kind, truncated)
{
	if (NO_DESCRIPTOR || variant->kind == MEMFD_SEALED || variant->kind == MEMFD_FUTURE_SEALED)
		SKIP(return, "cannot be truncated");
	FILE_SETUP(NR);
	/* One page stays: read-ahead goes beyond the end of an empty file on a disk. */
	ASSERT_EQ(0, ftruncate(F->fd, ON_DISK ? page_size : 0));
	EXPECT_REFUSED(EINVAL, MEM, F->len);
	ASSERT_EQ(0, ftruncate(F->fd, 0));
	/* Longer again, and empty; a disk's file has zeros. */
	ASSERT_EQ(0, ftruncate(F->fd, F->len));
	EXPECT_EQ(ON_DISK ? 0 : -EINVAL, collapse_settled(MEM, F->len));
	EXPECT_EQ(0, verify_zero(MEM, F->len));
}

/* The last PMD has an end of file in it, or lies behind it. */
TEST_F(kind, beyond_the_end)
{
	size_t cut = pmd_size + 100 * page_size;

	if (NO_DESCRIPTOR || variant->kind == MEMFD_SEALED || variant->kind == MEMFD_FUTURE_SEALED)
		SKIP(return, "cannot be truncated");
	FILE_SETUP(3);
	ASSERT_EQ(0, ftruncate(F->fd, cut));
	EXPECT_EQ(0, collapse_settled(MEM, pmd_size));
	EXPECT_EQ(-EINVAL, collapse(MEM + 2 * pmd_size, pmd_size));
	/* Shared memory is filled up with zeros, a disk cannot give more than there is. */
	EXPECT_EQ(ON_DISK ? -EINVAL : 0, collapse_settled(MEM + pmd_size, pmd_size));
	EXPECT_EQ(0, file_verify(MEM, 0, cut, 1));
	EXPECT_EQ(0, file_verify(MEM, 0, pmd_size, 1));
	/* What is behind the end is not there for any mapping. */
	EXPECT_EQ(-EFAULT, kernel_read(MEM + 2 * pmd_size));
}

/* Class 24: a reference from outside, found by the scan. */
TEST_F(kind, pinned)
{
	const size_t at[] = { 0, 1, pmd_pages / 2, pmd_pages - 1 };
	struct pin pin;
	size_t i;

	FILE_SETUP(NR);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pin_vmsplice(&pin, MEM + pmd_size + at[i] * page_size));
		EXPECT_EQ(-EAGAIN, collapse(MEM + pmd_size, pmd_size));
		EXPECT_EQ(0, count_huge(0, MEM, F->len));
		pin_release(&pin);
	}
	EXPECT_CHANGE(0, 0, 0);
	/* The rest of the range is done all the same. */
	ASSERT_EQ(0, pin_vmsplice(&pin, MEM));
	EXPECT_EQ(-EAGAIN, collapse(MEM, F->len));
	EXPECT_EQ(0, count_huge(0, MEM, pmd_size));
	EXPECT_EQ(1, count_huge(0, MEM + pmd_size, pmd_size));
	pin_release(&pin);
	EXPECT_ACCEPTED();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_CHANGE(NR, NR, NR);
}

TEST_F(kind, nohugepage)
{
	FILE_SETUP(NR);
	ASSERT_EQ(0, madvise(MEM, F->len, MADV_NOHUGEPAGE));
	EXPECT_REFUSED(EINVAL, MEM, F->len);
	EXPECT_REFUSED(EINVAL, MEM, page_size);
	EXPECT_CHANGE(0, 0, 0);
	ASSERT_EQ(0, madvise(MEM, F->len, MADV_HUGEPAGE));
	EXPECT_ACCEPTED();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* Address and offset must agree on where a huge page begins. */
TEST_F(kind, unaligned_offset)
{
	char *mem;

	if (NO_DESCRIPTOR)
		SKIP(return, "no descriptor");
	FILE_SETUP(3);
	mem = region_map(3);
	mem = mmap(mem, F->len - page_size, PROT_READ, MAP_SHARED | MAP_FIXED, F->fd, page_size);
	ASSERT_NE(MAP_FAILED, mem);
	file_touch(mem, F->len - page_size);
	EXPECT_EQ(-EINVAL, collapse(mem, 2 * pmd_size));
	EXPECT_EQ(0, file_verify(mem, page_size, F->len - page_size, 1));
	EXPECT_CHANGE(0, 0, 0);
}

TEST_F(kind, no_full_pmd)
{
	FILE_SETUP(NR);
	EXPECT_REFUSED(0, MEM, page_size);
	EXPECT_REFUSED(0, MEM + page_size, 2 * pmd_size - 2 * page_size);
	EXPECT_REFUSED(EINVAL, MEM + 1, pmd_size);
	EXPECT_CHANGE(0, 0, 0);
}

/* Not a regular file: device memory and the like. */
TEST_F(kind, not_a_file)
{
	int fd = open("/dev/zero", O_RDWR);
	char *mem = region_map(1);

	if (variant->kind != MEMFD)
		SKIP(return, "once is enough");
	ASSERT_LE(0, fd);
	/* Class 2: private /dev/zero is anonymous memory with a file. */
	ASSERT_EQ(mem, mmap(mem, pmd_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0));
	fill_small(mem, pmd_size, 1);
	EXPECT_EQ(0, collapse_settled(mem, pmd_size));
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
	/* Shared /dev/zero is shared anonymous memory. */
	mem = region_map(1);
	ASSERT_EQ(mem, mmap(mem, pmd_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0));
	fill_small(mem, pmd_size, 1);
	EXPECT_EQ(0, collapse_settled(mem, pmd_size));
	EXPECT_EQ(1, count_huge(0, mem, pmd_size));
	EXPECT_EQ(0, verify(mem, pmd_size, 1));
	close(fd);
}

/* Written to all the time: it succeeds, or asks to try again, and loses nothing. */
TEST_F(kind, dirty_all_the_time)
{
	int i, ok = 0, again = 0, other = 0, status;
	pid_t child;

	if (variant->kind == MEMFD_SEALED || variant->kind == MEMFD_FUTURE_SEALED || NO_DESCRIPTOR)
		SKIP(return, "not written to through a descriptor");
	FILE_SETUP(1);
	fflush(NULL);
	child = fork();
	if (!child) {
		for (;;)
			file_write(F, (rand() % PAGES) * page_size, page_size, 1);
	}
	for (i = 0; i < 40; i++) {
		int err = collapse(MEM, F->len);

		ok += !err;
		again += err == -EAGAIN;
		other += err && err != -EAGAIN;
		ASSERT_EQ(0, file_verify_all(F, MEM, 1));
	}
	TH_LOG("%d succeeded, %d EAGAIN", ok, again);
	EXPECT_EQ(0, other);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	EXPECT_ACCEPTED();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_EQ(0, file_reread(F, 1));
}

TEST_F(kind, charge_limit)
{
	struct memcg cg;

	ASSERT_EQ(0, memcg_create(&cg, "collapse-file-errno"));
	ASSERT_EQ(0, memcg_enter(&cg));
	memcg_set(&cg, "memory.swap.max", "0");
	FILE_SETUP(NR);
	/* What a disk's file has is clean and could go: keep it. */
	ASSERT_EQ(0, mlock(MEM, F->len));
	ASSERT_EQ(0, memcg_set_num(&cg, "memory.max", memcg_num(&cg, "memory.current") + (1 << 20)));
	EXPECT_REFUSED(EBUSY, MEM, F->len);
	/* The first ends the loop. */
	EXPECT_CHANGE(0, 0, 1);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	ASSERT_EQ(0, memcg_set(&cg, "memory.max", "max"));
	EXPECT_ACCEPTED();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	memcg_leave();
	file_close(F);
	memcg_destroy(&cg);
}

TEST_F(kind, allocation)
{
	long failed;

	FILE_SETUP(NR);
	/* The pages are not to be reclaimed to make room. */
	ASSERT_EQ(0, mlock(MEM, F->len));
	ASSERT_EQ(0, huge_starve());
	FILE_LOOK();
	failed = vmstat("thp_collapse_alloc_failed");
	EXPECT_REFUSED(ENOMEM, MEM, F->len);
	EXPECT_EQ(failed + 1, vmstat("thp_collapse_alloc_failed"));
	EXPECT_EQ(self->alloc, vmstat("thp_collapse_alloc"));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	huge_feed();
	EXPECT_ACCEPTED();
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

static void expected_sigbus(int sig)
{
}

/* Class 46: found in the copy; only who touches it is told. */
TEST_F(kind, poisoned)
{
	long corrupted = meminfo_kb("HardwareCorrupted");
	struct page_info info;
	int i, status;
	pid_t child;

	if (corrupted < 0)
		SKIP(return, "no memory failure handling: build with MEMORY_FAILURE");
	if (variant->kind == MEMFD_SEALED)
		SKIP(return, "as a memfd");
	FILE_SETUP(1);
	page_info(0, MEM + 200 * page_size, &info);
	signal(SIGBUS, expected_sigbus);
	ASSERT_EQ(0, madvise(MEM + 200 * page_size, page_size, MADV_HWPOISON));
	ASSERT_EQ(corrupted + (long)page_size / 1024, meminfo_kb("HardwareCorrupted"));
	if (ON_DISK) {
		/* A clean page is simply read again. */
		EXPECT_ACCEPTED();
		EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	} else {
		for (i = 0; i < 10; i++) {
			int err = collapse(MEM, F->len);

			EXPECT_TRUE(err == -EINVAL || err == -EAGAIN)
				TH_LOG("%s", strerror(-err));
		}
		EXPECT_EQ(0, count_huge(0, MEM, F->len));
		EXPECT_EQ(0, file_verify(MEM, 0, 200 * page_size, 1));
		EXPECT_EQ(0, file_verify(MEM + 201 * page_size, 201 * page_size,
					 F->len - 201 * page_size, 1));
		signal(SIGBUS, SIG_DFL);
		child = fork();
		if (!child) {
			(void)*(volatile char *)(MEM + 200 * page_size);
			_exit(0);
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	}
	file_close(F);
	{
		char buf[32];

		snprintf(buf, sizeof(buf), "%llu", (unsigned long long)info.pfn);
		knob_try("/sys/kernel/debug/hwpoison/unpoison-pfn", buf);
	}
}

COLLAPSE_HARNESS_MAIN
