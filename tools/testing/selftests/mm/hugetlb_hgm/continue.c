// SPDX-License-Identifier: GPL-2.0
/* UFFDIO_CONTINUE of less than a huge page: what is mapped, what is not, what is said of it. */
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "harness.h"

#define NR 2

FIXTURE(hgm) {
	struct arena a;
};

/* A fault that nobody answers is either a message or SIGBUS. */
FIXTURE_VARIANT(hgm) {
	uint64_t features;
};

FIXTURE_VARIANT_ADD(hgm, sigbus) { .features = UFFD_FEATURE_SIGBUS };
FIXTURE_VARIANT_ADD(hgm, message) { .features = 0 };

FIXTURE_SETUP(hgm)
{
	arena_open(&self->a, NR);
	must(arena_hgm(&self->a, variant->features, 0), "registration");
}

FIXTURE_TEARDOWN(hgm)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

#define MAPPED(n, len) mapped_smalls(0, self->a.guest + (n) * HUGE, len)

/* The byte at @off is not there: says so with its very address, and the thread sleeps until woken (R13). */
static int faults_at(struct arena *a, uint64_t features, size_t off)
{
	struct uffd_msg msg;
	struct waiter w;
	struct touch t;
	int err = 0;

	if (features & UFFD_FEATURE_SIGBUS) {
		if (touch_read(a->guest + off, &t) != SIGBUS || t.code != BUS_ADRERR || t.addr != a->guest + off)
			return wrong("signal %d, code %d, at %p instead of %p", t.signal, t.code, t.addr, a->guest + off);
		return 0;
	}
	waiter_start(&w, a->guest + off, false);
	if (uffd_message(a->uffd, &msg, LONG_MS))
		err = wrong("no message for byte %#zx", off);
	else if (msg.event != UFFD_EVENT_PAGEFAULT || msg.arg.pagefault.address != (uintptr_t)a->guest + off ||
		 !(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR))
		err = wrong("event %#x at %#llx instead of %p, flags %#llx", msg.event, (unsigned long long)msg.arg.pagefault.address,
			    a->guest + off, (unsigned long long)msg.arg.pagefault.flags);
	/* One message, then silence; and no loop through the fault handler. */
	if (!err && !uffd_message(a->uffd, &msg, QUIET_MS))
		err = wrong("a second message for one fault");
	if (!err && waiter_done(&w, 0))
		err = wrong("nobody answered, and the thread ran on");
	/* Whatever came of it, the thread is let go. */
	if (arena_continue(a, off & ~(SMALL - 1), SMALL))
		err = wrong("the small page at %#zx cannot be continued", off);
	waiter_end(&w);
	if (w.cpu_us > QUIET_MS * 1000 / 2)
		err = wrong("the thread that should have slept took %llu us", (unsigned long long)w.cpu_us);
	return err;
}

/* The test of the HGM proposal: ever smaller pieces, each looked at. The message variant maps the last one, too. */
TEST_F(hgm, half_by_half)
{
	struct arena *a = &self->a;
	bool sigbus = variant->features & UFFD_FEATURE_SIGBUS;
	size_t off = 0, len, last = a->len - SMALL, mapped = 0;
	uint32_t version = 1;

	for (len = a->len / 2; len >= SMALL; len /= 2) {
		fill(a->source + off, off, len, version);
		ASSERT_EQ(0, arena_continue(a, off, len));
		mapped += len;
		ASSERT_EQ((long)(mapped / SMALL), MAPPED(0, a->len));
		EXPECT_EQ(KB(HUGE), pmd_kb(a));
		EXPECT_EQ(KB(mapped - HUGE), pte_kb(a));
		EXPECT_EQ(0, verify(a->guest + off, off, len, version));
		EXPECT_EQ(pfn_of(a->source + off), pfn_of(a->guest + off));
		/* What comes right after is not there. */
		EXPECT_EQ(0, pfn_of(a->guest + off + len));
		off += len;
		version++;
	}
	ASSERT_EQ(last, off);
	EXPECT_EQ(0, faults_at(a, variant->features, last + 123));
	EXPECT_EQ(KB(HUGE) - (sigbus ? 4 : 0), pte_kb(a));
	/* By leaves, in both mappings. */
	EXPECT_EQ(KB(2 * a->len) - (sigbus ? 4 : 0), hugetlb_kb());

	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(0, pte_kb(a));
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(KB(2 * a->len), hugetlb_kb());
	EXPECT_EQ((long)(a->len / SMALL), MAPPED(0, a->len));
	for (off = 0, version = 1, len = a->len / 2; len >= SMALL; off += len, len /= 2)
		EXPECT_EQ(0, verify(a->guest + off, off, len, version++));
	EXPECT_EQ(0, verify(a->guest + last, last, SMALL, 0));
	/* Writes reach the file. */
	fill(a->guest + last, last, SMALL, 99);
	EXPECT_EQ(0, verify(a->source + last, last, SMALL, 99));
}

/* Only what was continued: every third small page, from the end, each with its own bytes. */
TEST_F(hgm, one_by_one)
{
	struct arena *a = &self->a;
	unsigned char resident[SMALLS];
	uint64_t e[SMALLS], base;
	long n = 0;
	int i;

	fill(a->source, 0, a->len, 1);
	base = pfn_of(a->source);
	for (i = SMALLS - 1; i >= 0; i -= 3) {
		ASSERT_EQ(0, arena_continue(a, i * SMALL, SMALL));
		n++;
	}
	EXPECT_EQ(n, MAPPED(0, HUGE));
	EXPECT_EQ(0, MAPPED(1, HUGE));
	EXPECT_EQ(n * 4, pte_kb(a));
	EXPECT_EQ(0, pmd_kb(a));
	EXPECT_EQ(n * 4 + KB(a->len), hugetlb_kb());
	pagemap(0, a->guest, SMALLS, e);
	ASSERT_EQ(0, mincore(a->guest, HUGE, resident));
	for (i = 0; i < (int)SMALLS; i++) {
		bool there = i % 3 == (int)(SMALLS - 1) % 3;

		ASSERT_EQ(there, !!(e[i] & PM_PRESENT)) TH_LOG("small page %d", i);
		ASSERT_EQ(there, resident[i] & 1) TH_LOG("small page %d", i);
		if (!there)
			continue;
		ASSERT_EQ(base + i, PM_PFN(e[i])) TH_LOG("small page %d", i);
		ASSERT_EQ(0, verify_small(a, i, 1));
		a->guest[i * SMALL + i] ^= 1;
	}
	/* Each write reached its own place. */
	for (i = 0; i < (int)SMALLS; i++) {
		if (i % 3 == (int)(SMALLS - 1) % 3)
			a->source[i * SMALL + i] ^= 1;
	}
	EXPECT_EQ(0, verify(a->source, 0, a->len, 1));
	EXPECT_EQ(0, faults_at(a, variant->features, (SMALLS - 2) * SMALL));
	EXPECT_EQ(0, faults_at(a, variant->features, HUGE + 5));
}

/* R12: an entry that stands for a table is not one that can be filled. */
TEST_F(hgm, what_is_there_is_eexist)
{
	struct arena *a = &self->a;
	int64_t mapped;

	fill(a->source, 0, a->len, 1);
	ASSERT_EQ(0, arena_continue(a, 0, SMALL));
	ASSERT_EQ(0, arena_continue(a, HUGE, HUGE));
	EXPECT_EQ(-EEXIST, uffd_continue(a->uffd, a->guest, SMALL, &mapped));
	EXPECT_EQ(-EEXIST, mapped);
	/* A huge page is not split, neither in whole nor in part. */
	EXPECT_EQ(-EEXIST, uffd_continue(a->uffd, a->guest + HUGE, SMALL, &mapped));
	EXPECT_EQ(-EEXIST, uffd_continue(a->uffd, a->guest + HUGE + 7 * SMALL, SMALL, &mapped));
	EXPECT_EQ(-EEXIST, uffd_continue(a->uffd, a->guest + HUGE, HUGE, &mapped));
	/* And a split one is not replaced. */
	EXPECT_EQ(-EEXIST, uffd_continue(a->uffd, a->guest, HUGE, &mapped));
	EXPECT_EQ(-EEXIST, mapped);
	EXPECT_EQ(4, pte_kb(a));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(1, MAPPED(0, HUGE));
	EXPECT_EQ(0, verify_small(a, 0, 1));
}

TEST_F(hgm, what_was_done_is_said)
{
	struct arena *a = &self->a;
	int64_t mapped;

	fill(a->source, 0, a->len, 1);
	/* Up to the one that is there. */
	ASSERT_EQ(0, arena_continue(a, 100 * SMALL, SMALL));
	EXPECT_EQ(-EAGAIN, uffd_continue(a->uffd, a->guest, HUGE, &mapped));
	EXPECT_EQ((int64_t)(100 * SMALL), mapped);
	EXPECT_EQ(101, MAPPED(0, HUGE));
	/* From there on; beyond the end of the huge page, too. */
	EXPECT_EQ(0, uffd_continue(a->uffd, a->guest + 101 * SMALL, HUGE - 101 * SMALL + SMALL, &mapped));
	EXPECT_EQ((int64_t)(HUGE - 100 * SMALL), mapped);
	EXPECT_EQ((long)SMALLS, MAPPED(0, HUGE));
	EXPECT_EQ(1, MAPPED(1, HUGE));
	EXPECT_EQ(KB(HUGE) + 4, pte_kb(a));
	EXPECT_EQ(0, verify(a->guest, 0, HUGE + SMALL, 1));
	EXPECT_EQ(-EEXIST, uffd_continue(a->uffd, a->guest + HUGE, 2 * SMALL, &mapped));
}

/* Leaves as large as fit: an aligned huge page in the middle of a request is one. */
TEST_F(hgm, as_large_as_fits)
{
	struct arena *a = &self->a;
	int64_t mapped;

	fill(a->source, 0, a->len, 1);
	EXPECT_EQ(0, uffd_continue(a->uffd, a->guest + HUGE - SMALL, HUGE + SMALL, &mapped));
	EXPECT_EQ((int64_t)(HUGE + SMALL), mapped);
	EXPECT_EQ(4, pte_kb(a));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(0, verify(a->guest + HUGE - SMALL, HUGE - SMALL, HUGE + SMALL, 1));
}

TEST_F(hgm, a_hole_of_the_file_is_efault)
{
	struct arena *a = &self->a;
	long tables = tables_kb();
	int64_t mapped;

	fill(a->source, 0, HUGE, 1);
	EXPECT_EQ(-EFAULT, uffd_continue(a->uffd, a->guest + HUGE, SMALL, &mapped));
	EXPECT_EQ(-EFAULT, mapped);
	EXPECT_EQ(-EFAULT, uffd_continue(a->uffd, a->guest + HUGE + 5 * SMALL, 2 * SMALL, &mapped));
	/* The end of what is there, then the hole. */
	EXPECT_EQ(-EAGAIN, uffd_continue(a->uffd, a->guest + HUGE - 4 * SMALL, 8 * SMALL, &mapped));
	EXPECT_EQ((int64_t)(4 * SMALL), mapped);
	EXPECT_EQ(4, MAPPED(0, HUGE));
	/* No page was made up: nothing is in the file but what was written. */
	EXPECT_EQ(0, MAPPED(1, HUGE));
	EXPECT_EQ(KB(HUGE) + 16, hugetlb_kb());
	EXPECT_GE(tables + 16, tables_kb());
	/* Once there is something, it is mapped, in whole even (I5: whatever was allocated before is in nobody's way). */
	fill(a->source + HUGE, HUGE, HUGE, 2);
	EXPECT_EQ(0, arena_continue(a, HUGE, HUGE));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(0, verify(a->guest + HUGE, HUGE, HUGE, 2));
}

/* A fault in a hole of the file is none for minor mode: it takes a page, whose leaf has the size of the hole. */
TEST_F(hgm, faults_fill_what_is_empty)
{
	struct arena *a = &self->a;

	a->guest[HUGE + 17] = 1;
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(0, pte_kb(a));
	/* Not registered any more: the rest of a split page comes by itself, a small page at a time. */
	fill(a->source, 0, HUGE, 1);
	ASSERT_EQ(0, arena_continue(a, 3 * SMALL, SMALL));
	ASSERT_EQ(0, uffd_unregister(a->uffd, a->guest, a->len));
	EXPECT_EQ(0, verify_small(a, 10, 1));
	a->guest[11 * SMALL] = a->source[11 * SMALL];
	EXPECT_EQ(3, MAPPED(0, HUGE));
	EXPECT_EQ(12, pte_kb(a));
	EXPECT_EQ(0, verify(a->guest, 0, HUGE, 1));
	EXPECT_EQ(KB(HUGE), pte_kb(a));
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
}

/* R16: one reference and one count for each leaf. */
TEST_F(hgm, each_leaf_counts_once)
{
	struct arena *a = &self->a;

	fill(a->source, 0, HUGE, 1);
	EXPECT_EQ(1, mapcount_of(a->source));
	ASSERT_EQ(0, arena_continue(a, HUGE / 2, HUGE / 2));
	EXPECT_EQ((long)(1 + SMALLS / 2), mapcount_of(a->source));
	ASSERT_EQ(0, collapse_settled(a->guest, HUGE));
	EXPECT_EQ(2, mapcount_of(a->source));
	ASSERT_EQ(0, madvise(a->guest, HUGE, MADV_DONTNEED));
	EXPECT_EQ(1, mapcount_of(a->source));
	ASSERT_EQ(0, arena_continue_small(a, 0, 5 * SMALL));
	EXPECT_EQ(6, mapcount_of(a->source));
	ASSERT_EQ(0, madvise(a->guest, HUGE, MADV_DONTNEED));
	EXPECT_EQ(1, mapcount_of(a->source));
	EXPECT_EQ(KB(HUGE), hugetlb_kb());
	/* Unmapped here, the page is the file's still. */
	munmap(a->source, a->len);
	a->source = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED);
	EXPECT_EQ(0, verify(a->source, 0, HUGE, 1));
}

/* The kernel's own accesses stop at the same places. */
TEST_F(hgm, system_calls_see_the_same_holes)
{
	struct arena *a = &self->a;
	static char buf[2 * SMALL];
	struct iovec to = { buf, 2 * SMALL }, from[2] = { { a->guest, SMALL }, { a->guest + SMALL, SMALL } };
	int fds[2];

	if (!(variant->features & UFFD_FEATURE_SIGBUS))
		SKIP(return, "needs faults that fail");
	fill(a->source, 0, HUGE, 1);
	ASSERT_EQ(0, arena_continue(a, 0, SMALL));
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ((ssize_t)SMALL, write(fds[1], a->guest, SMALL));
	EXPECT_EQ((ssize_t)SMALL, read(fds[0], buf, SMALL));
	EXPECT_EQ(0, verify(buf, 0, SMALL, 1));
	EXPECT_EQ(-1, write(fds[1], a->guest + SMALL, SMALL));
	EXPECT_EQ(EFAULT, errno);
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ((ssize_t)SMALL, process_vm_readv(getpid(), &to, 1, from, 2, 0));
	EXPECT_EQ(0, verify(buf, 0, SMALL, 1));
	close(fds[0]);
	close(fds[1]);
}

HGM_HARNESS_MAIN
