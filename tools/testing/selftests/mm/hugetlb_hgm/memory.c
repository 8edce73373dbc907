// SPDX-License-Identifier: GPL-2.0
/*
 * There is no memory: each allocation fails in turn, until none is left to fail. What fails says so, leaves
 * nothing behind, and works the next time. What is to allocate nothing, does not.
 *
 * Needs FAULT_INJECTION and FAIL_PAGE_ALLOC, and a kernel that allocates for nobody else: kmemleak does, and ends
 * for good where it cannot.
 */
#include "harness.h"

#define KNOBS	"/sys/kernel/debug/"
#define MOST	100

FIXTURE(memory) {
	struct arena a;
	int fail;	/* fail-nth of this thread: the allocation that fails, counted down */
};

/* Also what may sleep, and single pages; and what was set before. */
static struct {
	const char *name, *value;
	char before[16];
} knobs[] = {
	{ "ignore-gfp-wait", "N" }, { "min-order", "0" }, { "verbose", "0" },
};

/* Leaves what was there in the place of what is written. */
static void exchange(const char *name, const char *value, char *before, size_t size)
{
	char path[128];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), KNOBS "fail_page_alloc/%s", name);
	fd = open(path, O_RDWR);
	must(fd < 0 ? -errno : 0, path);
	got = before ? read(fd, before, size - 1) : 0;
	must(got < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0, path);
	if (before)
		before[got] = 0;
	close(fd);
}

static void fail_widely(void)
{
	size_t i;

	for (i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++)
		exchange(knobs[i].name, knobs[i].value, knobs[i].before, sizeof(knobs[i].before));
}

static void fail_as_before(void)
{
	size_t i;

	for (i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++)
		exchange(knobs[i].name, knobs[i].before, NULL, 0);
}

static void fail_set(int fd, unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	must(pwrite(fd, text, strlen(text), 0) < 0 ? -errno : 0, "fail-nth");
}

/* 0: it has failed. */
static unsigned int fail_left(int fd)
{
	char text[16] = "";

	must(pread(fd, text, sizeof(text) - 1, 0) <= 0 ? -errno : 0, "fail-nth");
	return atoi(text);
}

FIXTURE_SETUP(memory)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", (int)syscall(SYS_gettid));
	self->fail = open(path, O_RDWR);
	if (self->fail < 0 || access(KNOBS "fail_page_alloc/min-order", W_OK))
		SKIP(return, "no fault injection");
	if (!access(KNOBS "kmemleak", F_OK))
		SKIP(return, "kmemleak allocates, too");
	fail_widely();
	arena_open(&self->a, 1);
	fill(self->a.source, 0, self->a.len, 1);
	must(arena_hgm(&self->a, UFFD_FEATURE_SIGBUS, 0), "registration");
}

FIXTURE_TEARDOWN(memory)
{
	if (!self->a.len)
		return;
	fail_set(self->fail, 0);
	close(self->fail);
	fail_as_before();
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

TEST_F(memory, continue_says_enomem)
{
	struct arena *a = &self->a;
	unsigned int n, left, failed = 0;
	/* Where there are no page tables yet. */
	char *place = mmap(NULL, 3UL << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long tables;
	int err;

	ASSERT_NE(MAP_FAILED, place);
	place = (char *)(((uintptr_t)place + (2UL << 30) - 1) & ~((1UL << 30) - 1));
	tables = tables_kb();
	for (n = 1, left = 0; !left && n < MOST; n++) {
		ASSERT_EQ(place, mmap(place, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, a->fd, 0));
		ASSERT_EQ(0, uffd_register(a->uffd, place, HUGE, UFFDIO_REGISTER_MODE_MINOR));
		fail_set(self->fail, n);
		err = uffd_continue(a->uffd, place + SMALL, SMALL, NULL);
		left = fail_left(self->fail);
		fail_set(self->fail, 0);
		if (left) {
			EXPECT_EQ(0, err);
		} else {
			failed++;
			ASSERT_EQ(-ENOMEM, err) TH_LOG("allocation %u failed", n);
			EXPECT_EQ(0, mapped_smalls(0, place, HUGE));
			ASSERT_EQ(0, uffd_continue(a->uffd, place + SMALL, SMALL, NULL));
		}
		EXPECT_EQ(0, verify(place + SMALL, SMALL, SMALL, 1));
		ASSERT_EQ(place, mmap(place, HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0));
	}
	/* The table for the leaves, at least. */
	EXPECT_LT(0, failed);
	EXPECT_LT(0, left);
	/* Those of the upper levels stay, as they do for any other memory. */
	EXPECT_GE(tables + 8, tables_kb());
}

/* Faults on small leaves, collapse and unmapping need no memory, so there is nothing that could fail. */
TEST_F(memory, the_rest_needs_none)
{
	struct arena *a = &self->a;
	struct touch t;

	ASSERT_EQ(0, arena_continue_small(a, 0, 4 * SMALL));
	fail_set(self->fail, 1);
	EXPECT_EQ(0, arena_continue(a, 8 * SMALL, 4 * SMALL));
	EXPECT_EQ(0, touch_write(a->guest + 9 * SMALL, 7, &t));
	EXPECT_EQ(SIGBUS, touch_read(a->guest + 20 * SMALL, &t));
	EXPECT_EQ(0, collapse(a->guest, HUGE));
	EXPECT_EQ(1, fail_left(self->fail));
	fail_set(self->fail, 0);
	EXPECT_EQ(KB(HUGE), pmd_kb(a));
	EXPECT_EQ(7, a->source[9 * SMALL]);
	EXPECT_EQ(0, verify(a->source, 0, 9 * SMALL, 1));
}

HGM_HARNESS_MAIN
