// SPDX-License-Identifier: GPL-2.0
/*
 * What user space is promised: feature bit, registration, errors of requests that are wrong by themselves.
 * What does not need HGM is tested on every kernel: it must stay as it was.
 */
#include <sys/ioctl.h>

#include "harness.h"

/* Fixture "any": no HGM needed; "hgm": the guest mapping has it. */
FIXTURE(any) {
	struct arena a;
};

FIXTURE_SETUP(any)
{
	arena_open(&self->a, 2);
}

FIXTURE_TEARDOWN(any)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

FIXTURE(hgm) {
	struct arena a;
};

FIXTURE_SETUP(hgm)
{
	if (hgm_missing())
		SKIP(return, "%s", hgm_missing());
	arena_open(&self->a, 2);
	fill(self->a.source, 0, self->a.len, 1);
	must(arena_hgm(&self->a, UFFD_FEATURE_SIGBUS, 0), "registration");
}

FIXTURE_TEARDOWN(hgm)
{
	if (!self->a.len)
		return;
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

static int api(uint64_t features, struct uffdio_api *api)
{
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK), err;

	*api = (struct uffdio_api) { .api = UFFD_API, .features = features, .ioctls = ~0ULL };
	err = ioctl(fd, UFFDIO_API, api) ? -errno : 0;
	close(fd);
	return err;
}

/* ---- every kernel ---- */

TEST_F(any, hgm_without_exact_address_is_einval)
{
	struct uffdio_api a;

	/* The requested features decide, not those that are reported. */
	EXPECT_EQ(-EINVAL, api(UFFD_FEATURE_MINOR_HUGETLBFS_HGM, &a));
	EXPECT_EQ(0, a.api | a.features | a.ioctls);
	EXPECT_EQ(-EINVAL, api(UFFD_FEATURE_MINOR_HUGETLBFS_HGM | UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_SIGBUS, &a));
	EXPECT_EQ(0, a.api | a.features | a.ioctls);
	/* The same without the bit is right. */
	EXPECT_EQ(0, api(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_SIGBUS, &a));
	EXPECT_EQ(uffd_features(), a.features);
}

TEST_F(any, the_bit_is_taken_only_where_it_is_reported)
{
	bool there = uffd_features() & UFFD_FEATURE_MINOR_HUGETLBFS_HGM;
	struct uffdio_api a;

	EXPECT_EQ(there ? 0 : -EINVAL, api(HGM_FEATURES, &a));
	EXPECT_EQ(there, !!(a.features & UFFD_FEATURE_MINOR_HUGETLBFS_HGM));
	EXPECT_EQ(there ? UFFD_API : 0, a.api);
}

TEST_F(any, small_continue_without_hgm_is_einval)
{
	struct arena *a = &self->a;

	fill(a->source, 0, HUGE, 1);
	a->uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_SIGBUS);
	ASSERT_LE(0, a->uffd);
	ASSERT_EQ(0, uffd_register(a->uffd, a->guest, a->len, UFFDIO_REGISTER_MODE_MINOR));
	EXPECT_EQ(-EINVAL, arena_continue(a, 0, SMALL));
	EXPECT_EQ(-EINVAL, arena_continue(a, SMALL, HUGE));
	EXPECT_EQ(-EINVAL, arena_continue(a, 0, HUGE + SMALL));
	EXPECT_FALSE(smaps_flag(0, a->guest, "hm"));
	EXPECT_EQ(0, mapped_smalls(0, a->guest, a->len));
	/* A whole one is continued as ever, and a hole of the file is EFAULT. */
	EXPECT_EQ(0, arena_continue(a, 0, HUGE));
	EXPECT_EQ(-EEXIST, arena_continue(a, 0, HUGE));
	EXPECT_EQ(-EFAULT, arena_continue(a, HUGE, HUGE));
	EXPECT_EQ(0, verify(a->guest, 0, HUGE, 1));
}

TEST_F(any, collapse_without_hgm_is_einval)
{
	struct arena *a = &self->a;
	char *private = arena_map(a, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	fill(a->guest, 0, a->len, 1);
	EXPECT_EQ(-EINVAL, collapse(a->guest, a->len));
	EXPECT_EQ(-EINVAL, collapse(a->guest, HUGE));
	EXPECT_EQ(-EINVAL, collapse(private, a->len));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
	munmap(private, a->len);
}

TEST_F(any, smaps_is_as_it_was)
{
	struct arena *a = &self->a;

	fill(a->guest, 0, a->len, 1);
	/* Neither flag nor counters where there is no HGM. */
	EXPECT_FALSE(smaps_flag(0, a->guest, "hm"));
	EXPECT_EQ(-1, pte_kb(a));
	EXPECT_EQ(-1, pmd_kb(a));
	EXPECT_EQ(-1, smaps_kb(0, a->guest, a->len, "HugetlbPudMapped"));
	EXPECT_EQ(KB(a->len), smaps_kb(0, a->guest, a->len, "Shared_Hugetlb") + smaps_kb(0, a->guest, a->len, "Private_Hugetlb"));
	EXPECT_EQ(KB(HUGE), smaps_kb(0, a->guest, a->len, "KernelPageSize"));
}

/* ---- registration ---- */

TEST_F(hgm, flag_is_set_here_and_nowhere_else)
{
	struct arena *a = &self->a;

	EXPECT_TRUE(smaps_flag(0, a->guest, "hm"));
	EXPECT_TRUE(smaps_flag(0, a->guest, "ui"));
	EXPECT_FALSE(smaps_flag(0, a->source, "hm"));
	EXPECT_FALSE(smaps_flag(0, &errno, "hm"));
	/* The counters are there, and nothing is mapped yet. */
	EXPECT_EQ(0, pte_kb(a));
	EXPECT_EQ(0, pmd_kb(a));
	EXPECT_EQ(KB(HUGE), smaps_kb(0, a->guest, a->len, "KernelPageSize"));
	EXPECT_EQ(KB(HUGE), smaps_kb(0, a->guest, a->len, "MMUPageSize"));
}

TEST_F(hgm, flag_outlives_unregister_and_mprotect)
{
	struct arena *a = &self->a;

	ASSERT_EQ(0, arena_continue(a, 0, SMALL));
	ASSERT_EQ(0, uffd_unregister(a->uffd, a->guest, a->len));
	EXPECT_TRUE(smaps_flag(0, a->guest, "hm"));
	EXPECT_FALSE(smaps_flag(0, a->guest, "ui"));
	/* The VMA becomes two. */
	ASSERT_EQ(0, mprotect(a->guest + HUGE, HUGE, PROT_READ));
	EXPECT_TRUE(smaps_flag(0, a->guest, "hm"));
	EXPECT_TRUE(smaps_flag(0, a->guest + HUGE, "hm"));
	close(a->uffd);
	a->uffd = -1;
	EXPECT_TRUE(smaps_flag(0, a->guest, "hm"));
	EXPECT_EQ(1, mapped_smalls(0, a->guest, a->len));
}

static char *free_place(size_t len)
{
	char *at = mmap(NULL, len + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	munmap(at, len + HUGE);
	return (char *)(((uintptr_t)at + HUGE - 1) & ~(HUGE - 1));
}

TEST_F(hgm, flag_moves_with_mremap)
{
	struct arena *a = &self->a;
	char *place = free_place(a->len);

	ASSERT_EQ(0, arena_continue(a, 0, SMALL));
	ASSERT_EQ(place, mremap(a->guest, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	a->guest = place;
	EXPECT_TRUE(smaps_flag(0, place, "hm"));
	EXPECT_EQ(1, mapped_smalls(0, place, a->len));
}

static int flag_in_child(void *arg)
{
	struct arena *a = arg;

	return smaps_flag(0, a->guest, "hm") && !smaps_flag(0, a->source, "hm") ? 0 : 1;
}

TEST_F(hgm, flag_is_inherited)
{
	EXPECT_EQ(0, in_child(flag_in_child, &self->a));
}

/* Private memory behind shared memory: the first must not be registered when the second is refused. */
TEST_F(hgm, private_is_einval_for_the_whole_call)
{
	struct arena *a = &self->a;
	char *place = free_place(2 * HUGE);
	int fd = uffd_open(HGM_FEATURES);

	ASSERT_LE(0, fd);
	ASSERT_EQ(place, mmap(place, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, a->fd, 0));
	ASSERT_EQ(place + HUGE, mmap(place + HUGE, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, a->fd, HUGE));
	EXPECT_EQ(-EINVAL, uffd_register(fd, place + HUGE, HUGE, UFFDIO_REGISTER_MODE_MINOR));
	EXPECT_EQ(-EINVAL, uffd_register(fd, place, 2 * HUGE, UFFDIO_REGISTER_MODE_MINOR));
	EXPECT_FALSE(smaps_flag(0, place, "hm"));
	EXPECT_FALSE(smaps_flag(0, place, "ui"));
	EXPECT_FALSE(smaps_flag(0, place + HUGE, "ui"));
	/* By itself the first is right; the other is, without MINOR. */
	EXPECT_EQ(0, uffd_register(fd, place, HUGE, UFFDIO_REGISTER_MODE_MINOR));
	EXPECT_TRUE(smaps_flag(0, place, "hm"));
	EXPECT_EQ(0, uffd_register(fd, place + HUGE, HUGE, UFFDIO_REGISTER_MODE_MISSING));
	EXPECT_FALSE(smaps_flag(0, place + HUGE, "hm"));
	close(fd);
	munmap(place, 2 * HUGE);
}

TEST_F(hgm, without_minor_there_is_no_hgm)
{
	struct arena *a = &self->a;
	char *other = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	int fd = uffd_open(HGM_FEATURES);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, uffd_register(fd, other, a->len, UFFDIO_REGISTER_MODE_MISSING));
	EXPECT_FALSE(smaps_flag(0, other, "hm"));
	EXPECT_EQ(-EINVAL, uffd_continue(fd, other, SMALL, NULL));
	EXPECT_EQ(-EINVAL, collapse(other, a->len));
	/* Later it may come, and the old modes stay possible. */
	EXPECT_EQ(0, uffd_register(fd, other, a->len, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR));
	EXPECT_TRUE(smaps_flag(0, other, "hm"));
	EXPECT_EQ(0, uffd_continue(fd, other, SMALL, NULL));
	EXPECT_EQ(1, mapped_smalls(0, other, a->len));
	close(fd);
	munmap(other, a->len);
}

/* R15: as long as small pages cannot be protected, nobody must get to believe that they are. */
TEST_F(hgm, protection_together_with_hgm_is_einval)
{
	struct arena *a = &self->a;
	char *other = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	int fd = uffd_open(HGM_FEATURES | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);

	if (fd < 0) {
		munmap(other, a->len);
		SKIP(return, "no write protection of hugetlbfs");
	}
	EXPECT_EQ(-EINVAL, uffd_register(fd, other, a->len, UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP));
	EXPECT_FALSE(smaps_flag(0, other, "hm"));
	EXPECT_FALSE(smaps_flag(0, other, "uw"));
	/* Without HGM it is allowed. */
	EXPECT_EQ(0, uffd_register(fd, other, a->len, UFFDIO_REGISTER_MODE_WP));
	EXPECT_EQ(0, uffd_unregister(fd, other, a->len));
	/* The flag that stayed behind counts as well. */
	ASSERT_EQ(0, uffd_unregister(a->uffd, a->guest, a->len));
	EXPECT_EQ(-EINVAL, uffd_register(fd, a->guest, a->len, UFFDIO_REGISTER_MODE_WP));
	EXPECT_FALSE(smaps_flag(0, a->guest, "uw"));
	close(fd);
	fd = uffd_open(UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	EXPECT_EQ(-EINVAL, uffd_register(fd, a->guest, a->len, UFFDIO_REGISTER_MODE_WP));
	EXPECT_EQ(0, uffd_register(fd, a->guest, a->len, UFFDIO_REGISTER_MODE_MISSING));
	close(fd);
	munmap(other, a->len);
}

/* ---- requests ---- */

TEST_F(hgm, ranges_that_are_none)
{
	struct arena *a = &self->a;
	int64_t mapped;

	EXPECT_EQ(-EINVAL, arena_continue(a, 1, SMALL));
	EXPECT_EQ(-EINVAL, arena_continue(a, SMALL / 2, SMALL));
	EXPECT_EQ(-EINVAL, arena_continue(a, 0, SMALL + 1));
	EXPECT_EQ(-EINVAL, arena_continue(a, 0, 0));
	EXPECT_EQ(-EINVAL, uffd_continue(a->uffd, a->guest, -(uintptr_t)a->guest, &mapped));
	EXPECT_EQ(-EINVAL, uffd_continue(a->uffd, a->guest, -SMALL, &mapped));
	/* Memory that is not registered. */
	EXPECT_EQ(-ENOENT, uffd_continue(a->uffd, a->source, SMALL, &mapped));
	EXPECT_EQ(-ENOENT, uffd_continue(a->uffd, free_place(HUGE), SMALL, &mapped));
	EXPECT_EQ(0, mapped_smalls(0, a->guest, a->len));
}

/* Who did not ask for HGM does not get it, whatever the VMA is. */
TEST_F(hgm, another_context_has_huge_pages_only)
{
	struct arena *a = &self->a;

	ASSERT_EQ(0, arena_continue(a, 0, SMALL));
	close(a->uffd);
	a->uffd = uffd_open(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_EXACT_ADDRESS);
	ASSERT_LE(0, a->uffd);
	ASSERT_EQ(0, uffd_register(a->uffd, a->guest, a->len, UFFDIO_REGISTER_MODE_MINOR));
	EXPECT_TRUE(smaps_flag(0, a->guest, "hm"));
	EXPECT_EQ(-EINVAL, arena_continue(a, SMALL, SMALL));
	EXPECT_EQ(-EINVAL, arena_continue(a, HUGE, HUGE / 2));
	EXPECT_EQ(0, arena_continue(a, HUGE, HUGE));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(0, verify(a->guest, 0, a->len, 1));
}

TEST_F(hgm, other_requests_stay_huge)
{
	struct arena *a = &self->a;
	struct uffdio_zeropage zero = { .range = { (uintptr_t)a->guest, SMALL } };
	static char page[SMALL] __attribute__((aligned(4096)));

	EXPECT_EQ(-EINVAL, uffd_copy(a->uffd, a->guest, page, SMALL));
	EXPECT_EQ(-1, ioctl(a->uffd, UFFDIO_ZEROPAGE, &zero));
	EXPECT_EQ(EINVAL, errno);
#ifdef UFFDIO_POISON
	struct uffdio_poison poison = { .range = { (uintptr_t)a->guest, SMALL } };

	EXPECT_EQ(-1, ioctl(a->uffd, UFFDIO_POISON, &poison));
	EXPECT_EQ(EINVAL, errno);
#endif
	/* The page is in the file already. */
	EXPECT_EQ(-EEXIST, uffd_copy(a->uffd, a->guest, a->source + HUGE, HUGE));
	EXPECT_EQ(0, mapped_smalls(0, a->guest, a->len));
}

/* R17: whatever would end within a huge page is refused, or rounded as ever. */
TEST_F(hgm, a_huge_page_is_in_one_vma)
{
	struct arena *a = &self->a;
	char *place = free_place(HUGE);

	ASSERT_EQ(0, arena_continue_small(a, 0, 8 * SMALL));
	EXPECT_EQ(-1, munmap(a->guest, SMALL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, munmap(a->guest + HUGE - SMALL, SMALL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, mprotect(a->guest, 4 * SMALL, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(a->guest + SMALL, SMALL, MADV_DONTNEED));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, madvise(a->guest, SMALL, MADV_DONTNEED));
	EXPECT_EQ(-1, ftruncate(a->fd, SMALL));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mremap(a->guest + SMALL, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	EXPECT_EQ(-EINVAL, uffd_register(a->uffd, a->guest, SMALL, UFFDIO_REGISTER_MODE_MINOR));
	EXPECT_EQ(8, mapped_smalls(0, a->guest, a->len));
	EXPECT_EQ(0, verify(a->guest, 0, 8 * SMALL, 1));
}

int main(int argc, char **argv)
{
	int skip;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getenv("HGM_EXPECTED") && atoi(getenv("HGM_EXPECTED")))
		skip = hgm_skip(hgm_missing());
	else
		skip = hgm_skip(hugetlb_missing());
	if (skip)
		return skip;
	touch_init();
	return test_harness_run(argc, argv);
}
