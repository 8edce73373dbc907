// SPDX-License-Identifier: GPL-2.0
/*
 * R14: page tables that processes share. Mappings of a whole GiB of the same file use one table of PMDs, unless
 * something forbids it; a split page below such a table would be split for everybody, who knows nothing of it.
 */
#include "harness.h"

#define GIB	(1UL << 30)

FIXTURE(gib) {
	struct pool before;
	int fd, uffd, to_child[2], to_parent[2];
	char *source, *guest;	/* the guest's is a whole GiB at its boundary */
	pid_t child;
};

FIXTURE_SETUP(gib)
{
	char *at;

	pool_read(&self->before);
	self->fd = memfd_create("hgm", MFD_HUGETLB | MFD_HUGE_2MB);
	if (self->fd < 0 || ftruncate(self->fd, GIB))
		die("no file of 1 GiB");
	self->source = mmap(NULL, 3 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, self->fd, 0);
	at = mmap(NULL, 2 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (self->source == MAP_FAILED || at == MAP_FAILED)
		die("no mappings");
	munmap(at, 2 * GIB);
	at = (char *)(((uintptr_t)at + GIB - 1) & ~(GIB - 1));
	self->guest = mmap(at, GIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, self->fd, 0);
	if (self->guest != at)
		die("no mapping of 1 GiB: %s", strerror(errno));
	self->uffd = uffd_open(HGM_FEATURES | UFFD_FEATURE_SIGBUS);
	must(self->uffd, "userfaultfd");
	fill(self->source, 0, 3 * HUGE, 1);
	must(pipe(self->to_child), "pipe");
	must(pipe(self->to_parent), "pipe");
}

FIXTURE_TEARDOWN(gib)
{
	int status;

	if (self->child) {
		/* Its standard input has an end. */
		close(self->to_child[1]);
		waitpid(self->child, &status, 0);
		EXPECT_EQ(0, status);
	}
	close(self->uffd);
	munmap(self->guest, GIB);
	munmap(self->source, 3 * HUGE);
	close(self->fd);
	EXPECT_EQ(0, pool_check(&self->before));
	EXPECT_EQ(0, hugetlb_kb());
}

/* A child that touches what it is told to, and says so; ends with its pipe. */
static void start_child(FIXTURE_DATA(gib) *self)
{
	char n;

	fflush(stdout);
	self->child = fork();
	if (self->child < 0)
		die("no child");
	if (self->child)
		return;
	close(self->to_child[1]);
	close(self->uffd);
	while (read(self->to_child[0], &n, 1) == 1) {
		if (verify(self->guest + n * HUGE, n * HUGE, SMALL, 1) || write(self->to_parent[1], &n, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static void child_touch(FIXTURE_DATA(gib) *self, char huge)
{
	if (write(self->to_child[1], &huge, 1) != 1 || read(self->to_parent[0], &huge, 1) != 1)
		die("the child does not answer");
}

/* Two mappings with the flag, none of them watched any more: they look alike. */
TEST_F(gib, a_child_of_the_same_kind)
{
	ASSERT_EQ(0, uffd_register(self->uffd, self->guest, GIB, UFFDIO_REGISTER_MODE_MINOR));
	ASSERT_EQ(0, uffd_continue(self->uffd, self->guest, 8 * SMALL, NULL));
	ASSERT_EQ(0, uffd_unregister(self->uffd, self->guest, GIB));
	start_child(self);
	child_touch(self, 1);
	/* The child has touched this one alone; what the parent has split is none of its business. */
	EXPECT_EQ((long)SMALLS, mapped_smalls(self->child, self->guest + HUGE, HUGE));
	EXPECT_EQ(0, mapped_smalls(self->child, self->guest, HUGE));
	EXPECT_EQ(8, mapped_smalls(0, self->guest, HUGE));
	EXPECT_EQ(0, mapped_smalls(0, self->guest + HUGE, HUGE));
	/* And the other way round. */
	ASSERT_EQ(0, collapse_settled(self->guest, HUGE));
	EXPECT_EQ(0, mapped_smalls(self->child, self->guest, HUGE));
	ASSERT_EQ(0, madvise(self->guest, 3 * HUGE, MADV_DONTNEED));
	EXPECT_EQ((long)SMALLS, mapped_smalls(self->child, self->guest + HUGE, HUGE));
}

/* The table was shared before: with HGM it is shared no more, and the other process keeps what it has. */
TEST_F(gib, what_was_shared_before)
{
	start_child(self);
	child_touch(self, 0);
	/* The parent's first touch finds the child's table, where tables are shared. */
	(void)*(volatile char *)self->guest;
	child_touch(self, 1);
	if (!mapped_smalls(0, self->guest + HUGE, HUGE))
		TH_LOG("this kernel did not share the table");
	ASSERT_EQ(0, uffd_register(self->uffd, self->guest, GIB, UFFDIO_REGISTER_MODE_MINOR));
	ASSERT_EQ(0, uffd_continue(self->uffd, self->guest + 2 * HUGE, 8 * SMALL, NULL));
	EXPECT_EQ(8, mapped_smalls(0, self->guest + 2 * HUGE, HUGE));
	EXPECT_EQ((long)SMALLS, mapped_smalls(self->child, self->guest, HUGE));
	EXPECT_EQ((long)SMALLS, mapped_smalls(self->child, self->guest + HUGE, HUGE));
	EXPECT_EQ(0, mapped_smalls(self->child, self->guest + 2 * HUGE, HUGE));
	/* R2: zapping small mappings must not take the child's whole GiB away. */
	ASSERT_EQ(0, madvise(self->guest, 3 * HUGE, MADV_DONTNEED));
	EXPECT_EQ((long)SMALLS, mapped_smalls(self->child, self->guest, HUGE));
	child_touch(self, 2);
	child_touch(self, 0);
}

/* R2: what lies elsewhere in the same GiB outlives each act on small mappings. */
TEST_F(gib, the_neighbours_stay)
{
	ASSERT_EQ(0, uffd_register(self->uffd, self->guest, GIB, UFFDIO_REGISTER_MODE_MINOR));
	ASSERT_EQ(0, uffd_continue(self->uffd, self->guest + HUGE, HUGE, NULL));
	ASSERT_EQ(0, uffd_continue(self->uffd, self->guest, HUGE / 2, NULL));
	ASSERT_EQ(0, mprotect(self->guest, HUGE, PROT_READ));
	EXPECT_EQ((long)SMALLS, mapped_smalls(0, self->guest + HUGE, HUGE));
	ASSERT_EQ(0, mprotect(self->guest, HUGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, madvise(self->guest, HUGE, MADV_DONTNEED));
	EXPECT_EQ(0, mapped_smalls(0, self->guest, HUGE));
	EXPECT_EQ((long)SMALLS, mapped_smalls(0, self->guest + HUGE, HUGE));
	EXPECT_EQ(0, verify(self->guest + HUGE, HUGE, HUGE, 1));
}

HGM_HARNESS_MAIN
