// SPDX-License-Identifier: GPL-2.0
/* Page tables over a huge page in the cache: taken down everywhere, mapped by a PMD again. */
#include "filekinds.h"

#define NR 2

#define PROT (file_may_write(variant->kind) ? PROT_READ | PROT_WRITE : PROT_READ)

/* What mprotect() has divided stays so in System V memory, and is too small then. */
#define SKIP_SYSV() do {						\
	if (variant->kind == SYSV_SHM)					\
		SKIP(return, "its mappings are not merged");		\
} while (0)

#define HUGE_FILE() do {						\
	FILE_SETUP(NR);							\
	ASSERT_EQ(0, collapse_settled(MEM, F->len));			\
	EXPECT_CHANGE(NR, NR, NR);					\
} while (0)

TEST_F(kind, pte_mapped)
{
	SKIP_SYSV();
	HUGE_FILE();
	file_split_pmds(MEM, F->len, PROT);
	EXPECT_CHANGE(NR, 0, NR);
	EXPECT_EQ(F->len / page_size, count_pages(0, MEM, F->len, PAGE_PRESENT));
	EXPECT_EQ(0, collapse(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	/* Nothing was allocated or copied. */
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* Some of the PTEs are missing. */
TEST_F(kind, pte_mapped_in_part)
{
	SKIP_SYSV();
	HUGE_FILE();
	file_split_pmds(MEM, F->len, PROT);
	ASSERT_EQ(0, madvise(MEM + 5 * page_size, 300 * page_size, MADV_DONTNEED));
	EXPECT_EQ(0, collapse(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* Written through the small PTEs: what is dirty stays so. */
TEST_F(kind, pte_mapped_and_dirty)
{
	SKIP_SYSV();
	if (!file_may_write(variant->kind))
		SKIP(return, "nobody may write to it");
	HUGE_FILE();
	file_split_pmds(MEM, F->len, PROT);
	file_store(MEM, 0, F->len, 2);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 2));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_reread(F, 2));
}

/* No PMD and, later, not even a table. */
TEST_F(kind, pmd_cleared)
{
	HUGE_FILE();
	ASSERT_EQ(0, madvise(MEM, F->len, MADV_DONTNEED));
	EXPECT_CHANGE(NR, 0, NR);
	EXPECT_EQ(0, count_pages(0, MEM, F->len, PAGE_PRESENT));
	EXPECT_EQ(0, collapse(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

TEST_F(kind, partly_unmapped)
{
	if (variant->kind == SHARED_ANON || variant->kind == SYSV_SHM ||
	    variant->kind == MEMFD_FUTURE_SEALED)
		SKIP(return, "cannot be mapped again");
	HUGE_FILE();
	/* Too small now for a PMD of either file or memory. */
	ASSERT_EQ(0, munmap(MEM + pmd_size - page_size, page_size));
	EXPECT_CHANGE(NR, NR - 1, NR);
	EXPECT_EQ(-EINVAL, collapse(MEM, pmd_size - page_size));
	EXPECT_EQ(-EINVAL, collapse(MEM, pmd_size));
	EXPECT_EQ(0, file_verify(MEM, 0, pmd_size - page_size, 1));
	ASSERT_NE(MAP_FAILED, mmap(MEM + pmd_size - page_size, page_size, PROT,
				   MAP_SHARED | MAP_FIXED, F->fd, pmd_size - page_size));
	EXPECT_EQ(0, collapse(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* The daemon only takes the table down, which the next fault needs. */
TEST_F(kind, pte_mapped_khugepaged)
{
	SKIP_SYSV();
	HUGE_FILE();
	file_split_pmds(MEM, F->len, PROT);
	file_advise(F);
	khugepaged_fast();
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, NR, LONG_MS));
	khugepaged_idle();
	DAEMON_MAY_RETRY();
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* Every mapping loses its table, and finds the huge page at the next touch. */
TEST_F(kind, all_mappers)
{
	char *other[8], *shifted;
	int i;

	FILE_SETUP(NR);
	for (i = 0; i < 8; i++) {
		other[i] = file_map(F, PROT_READ, MAP_SHARED);
		file_touch(other[i], F->len);
	}
	/* One that no PMD can map. */
	shifted = mremap(other[7], F->len, F->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			 region_map(NR + 1) + page_size);
	ASSERT_NE(MAP_FAILED, shifted);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	for (i = 0; i < 7; i++) {
		EXPECT_EQ(0, count_pages(0, other[i], F->len, PAGE_PRESENT));
		EXPECT_EQ(0, file_wait_huge(other[i], F->len, NR, 0));
		EXPECT_EQ(0, file_verify_all(F, other[i], 1));
	}
	EXPECT_EQ(0, file_verify_all(F, shifted, 1));
	EXPECT_EQ(0, count_huge(0, shifted, F->len));
	EXPECT_CHANGE(NR, NR, NR);
}

/* A private mapping that was never written to is as good as a shared one. */
TEST_F(kind, private_clean)
{
	char *private;

	if (variant->kind == SHARED_ANON || variant->kind == SYSV_SHM)
		SKIP(return, "no private mappings");
	FILE_SETUP(NR);
	private = file_map(F, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	file_touch(private, F->len);
	EXPECT_EQ(0, collapse_settled(private, F->len));
	EXPECT_EQ(NR, count_huge(0, private, F->len));
	EXPECT_EQ(0, file_verify_all(F, private, 1));
	/* The first write makes a small copy, of that page only. */
	file_store(private + 9 * page_size, 9 * page_size, page_size, 7);
	EXPECT_EQ(0, file_verify(private + 9 * page_size, 9 * page_size, page_size, 7));
	EXPECT_EQ(0, file_verify(private + 10 * page_size, 10 * page_size, page_size, 1));
	EXPECT_EQ(NR - 1, count_huge(0, private, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_CHANGE(NR, NR, NR);
}

/* Classes 18, 22: copies are left alone, whoever collapses; the rest is not held up by them. */
TEST_F(kind, private_with_copies)
{
	char *private, *child_page;
	int status;
	pid_t child;

	if (variant->kind == SHARED_ANON || variant->kind == SYSV_SHM)
		SKIP(return, "no private mappings");
	FILE_SETUP(NR);
	private = file_map(F, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	file_touch(private, F->len);
	child_page = private + 100 * page_size;
	file_store(private + 9 * page_size, 9 * page_size, page_size, 7);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, count_huge(0, private, F->len));
	EXPECT_EQ(0, file_verify(private + 9 * page_size, 9 * page_size, page_size, 7));
	/* By itself: not where the copy is, and where there is none it is. */
	EXPECT_EQ(-EINVAL, collapse(private, pmd_size));
	EXPECT_EQ(0, count_huge(0, private, pmd_size));
	EXPECT_EQ(0, collapse_settled(private + pmd_size, pmd_size));
	EXPECT_EQ(1, count_huge(0, private + pmd_size, pmd_size));
	/* The same for a copy that a child has made of it. */
	child = fork();
	if (!child) {
		file_store(child_page, 100 * page_size, page_size, 8);
		_exit(collapse(private, pmd_size) != -EINVAL ||
		      file_verify(child_page, 100 * page_size, page_size, 8) ||
		      file_verify(private + 9 * page_size, 9 * page_size, page_size, 7));
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, file_verify(private, 0, 9 * page_size, 1));
	EXPECT_EQ(0, file_verify(private + 9 * page_size, 9 * page_size, page_size, 7));
	EXPECT_EQ(0, file_verify(private + 10 * page_size, 10 * page_size,
				 F->len - 10 * page_size, 1));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	/* The copy given up, nothing is in the way. */
	ASSERT_EQ(0, madvise(private, pmd_size, MADV_DONTNEED));
	EXPECT_EQ(0, collapse_settled(private, pmd_size));
	EXPECT_EQ(1, count_huge(0, private, pmd_size));
	EXPECT_EQ(0, file_verify_all(F, private, 1));
}

/* Guard regions keep their table, and stay. */
TEST_F(kind, guard_region)
{
	char *guarded;

	FILE_SETUP(NR);
	guarded = file_map(F, PROT_READ, MAP_SHARED);
	file_touch(guarded, F->len);
	if (madvise(guarded + 3 * page_size, page_size, 102 /* MADV_GUARD_INSTALL */))
		SKIP(return, "no guard regions in files");
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(-EFAULT, kernel_read(guarded + 3 * page_size));
	EXPECT_EQ(-EINVAL, collapse(guarded, pmd_size));
	EXPECT_EQ(-EFAULT, kernel_read(guarded + 3 * page_size));
	EXPECT_EQ(0, file_verify(guarded, 0, 3 * page_size, 1));
	EXPECT_EQ(0, file_verify(guarded + 4 * page_size, 4 * page_size,
				 F->len - 4 * page_size, 1));
	ASSERT_EQ(0, madvise(guarded + 3 * page_size, page_size, 103 /* MADV_GUARD_REMOVE */));
	EXPECT_EQ(0, file_verify_all(F, guarded, 1));
	EXPECT_EQ(0, collapse(guarded, pmd_size));
	EXPECT_EQ(1, count_huge(0, guarded, pmd_size));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* mlock() holds through the collapse: the huge page is locked as well. */
TEST_F(kind, mlocked)
{
	FILE_SETUP(NR);
	ASSERT_EQ(0, mlock(MEM, F->len));
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(F->len / 1024, smaps_kb(0, MEM, F->len, "Locked"));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	ASSERT_EQ(0, munlock(MEM, F->len));
	EXPECT_EQ(0, file_reread(F, 1));
}

COLLAPSE_HARNESS_MAIN
