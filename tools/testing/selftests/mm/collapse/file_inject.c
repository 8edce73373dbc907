// SPDX-License-Identifier: GPL-2.0
/*
 * Failure injected at each step of a collapse of shared memory or a file, at
 * different pages. Needs the attribute directory fail_collapse in debugfs:
 * KHUGEPAGED_RUST_FAULT_INJECTION.
 */
#include <sys/stat.h>

#include "filekinds.h"

#define REPEAT	40	/* one leaked huge page each would be 80 MiB */

enum step {
	ALLOCATE = 1, CHARGE = 2, SWAP_IN = 3, LOCK = 4, PIN = 5, LRU = 6, COPY = 7, READ_IN = 9,
	RELEASE = 10, RESERVE = 11, INSTALL = 12
};

struct state {
	struct file_stat stat;
	struct stat st;
	long free_kb;
};

static void state_read(struct state *s, const struct filemap *f)
{
	file_stat_read(&s->stat);
	if (f->fd >= 0 && fstat(f->fd, &s->st))
		die("fstat: %s", strerror(errno));
	s->free_kb = free_kb();
}

static int state_check(const struct state *before, const struct filemap *f)
{
	int bad = file_stat_check(&before->stat, &(struct file_stat){ });
	struct state now;

	state_read(&now, f);
	if (f->fd >= 0 && now.st.st_blocks != before->st.st_blocks)
		bad |= printf("# st_blocks %ld -> %ld\n", (long)before->st.st_blocks,
			      (long)now.st.st_blocks);
	bad |= count_huge(0, f->mem, f->len) != 0;
	fflush(stdout);
	return bad;
}

/* Fails once at the @nth time the step is taken, and then always; at last all goes well. */
#define EXPECT_STEP(step_, per_page_, err_) do {				\
	const size_t at_[] = { 0, 1, 2, pmd_pages / 2, pmd_pages - 2, pmd_pages - 1 };	\
	size_t n_ = (per_page_) ? sizeof(at_) / sizeof(at_[0]) : 1;		\
	struct state s_;							\
										\
	state_read(&s_, F);							\
	for (size_t i_ = 0; i_ < n_; i_++) {					\
		inject_arm(step_, at_[i_], 1);					\
		EXPECT_EQ(err_, collapse(MEM, F->len)) TH_LOG("at page %zu", at_[i_]);	\
		EXPECT_TRUE(inject_spent()) TH_LOG("the step was not reached");	\
		inject_disarm();						\
		EXPECT_EQ(0, state_check(&s_, F));				\
	}									\
	inject_arm(step_, 0, -1);						\
	for (int i_ = 0; i_ < REPEAT; i_++)					\
		EXPECT_EQ(err_, collapse(MEM, F->len));				\
	inject_disarm();							\
	EXPECT_EQ(0, state_check(&s_, F));					\
	EXPECT_LT(s_.free_kb - REPEAT * (long)pmd_size / 1024 / 4, free_kb());	\
	EXPECT_EQ(0, collapse_settled(MEM, F->len));				\
	EXPECT_EQ(1, count_huge(0, MEM, F->len));				\
} while (0)

#define STEP(name_, step_, per_page_, err_)					\
TEST_F(kind, name_)								\
{										\
	inject_disarm();							\
	FILE_SETUP(1);								\
	EXPECT_STEP(step_, per_page_, err_);					\
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));				\
}

STEP(allocate, ALLOCATE, false, -ENOMEM)
STEP(charge, CHARGE, false, -EBUSY)
STEP(lock, LOCK, true, -EAGAIN)
STEP(pin, PIN, true, -EAGAIN)
STEP(lru, LRU, true, -EAGAIN)
STEP(release, RELEASE, true, -EAGAIN)
STEP(copy, COPY, true, -EINVAL)
STEP(install, INSTALL, false, -EINVAL)

/* Shared memory in swap has to come back. */
TEST_F(kind, swap_in)
{
	inject_disarm();
	if (ON_DISK)
		SKIP(return, "shared memory only");
	FILE_SETUP(1);
	ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
	ASSERT_EQ(0, page_out_gone(MEM, 8 * page_size));
	file_stat_read(&self->before);
	inject_arm(SWAP_IN, 0, 1);
	EXPECT_EQ(-EINVAL, collapse(MEM, F->len));
	EXPECT_TRUE(inject_spent());
	inject_disarm();
	EXPECT_EQ(0, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* What is not in the page cache has to be read. */
TEST_F(kind, read_in)
{
	inject_disarm();
	if (!ON_DISK)
		SKIP(return, "files on a disk only");
	FILE_SETUP(1);
	ASSERT_EQ(0, file_drop(F));
	F->mem = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
	inject_arm(READ_IN, 0, -1);
	EXPECT_EQ(-EINVAL, collapse(MEM, F->len));
	inject_disarm();
	EXPECT_EQ(0, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/* Holes take room, which is given back; the last steps come after that. */
TEST_F(kind, holes)
{
	const enum step steps[] = { RESERVE, COPY, INSTALL };
	size_t i, n;

	inject_disarm();
	if (ON_DISK || variant->kind == MEMFD_SEALED || variant->kind == MEMFD_FUTURE_SEALED)
		SKIP(return, "nobody can make holes in it");
	FILE_SETUP(1);
	for (n = 1; n < pmd_pages; n += 2)
		ASSERT_EQ(0, madvise(MEM + n * page_size, page_size, MADV_REMOVE));
	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct state s;
		int k;

		state_read(&s, F);
		for (k = 0; k < REPEAT; k++) {
			inject_arm(steps[i], 0, 1);
			EXPECT_EQ(-EINVAL, collapse(MEM, F->len));
			EXPECT_TRUE(inject_spent());
		}
		inject_disarm();
		EXPECT_EQ(0, state_check(&s, F)) TH_LOG("step %d", steps[i]);
		EXPECT_LT(s.free_kb - REPEAT * (long)pmd_size / 1024 / 4, free_kb());
	}
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	for (n = 0; n < pmd_pages; n++) {
		const char *page = MEM + n * page_size;

		ASSERT_EQ(0, n % 2 ? verify_zero(page, page_size) :
			     file_verify(page, n * page_size, page_size, 1));
	}
}

int main(int argc, char **argv)
{
	if (!inject_there())
		return KSFT_SKIP;
	return harness_run_swapping(argc, argv, 64);
}
