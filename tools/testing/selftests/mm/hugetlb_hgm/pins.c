// SPDX-License-Identifier: GPL-2.0
/* References from outside: vmsplice, process_vm_readv(), io_uring; held across a collapse and a zap. */
#include <sys/uio.h>
#include <linux/io_uring.h>

#include "harness.h"

#define NR 2

FIXTURE(hgm) {
	struct arena a;
	int pipe[2];
};

FIXTURE_SETUP(hgm)
{
	arena_open(&self->a, NR);
	must(arena_hgm(&self->a, UFFD_FEATURE_SIGBUS, 0), "registration");
	fill(self->a.source, 0, self->a.len, 1);
	must(pipe(self->pipe), "pipe");
}

FIXTURE_TEARDOWN(hgm)
{
	close(self->pipe[0]);
	close(self->pipe[1]);
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

#define FIRST 37	/* small pages that are mapped: this one and the next seven */
#define COUNT 8

/* The pipe shows these small pages, as they are now. */
static int drain(int fd, size_t small, size_t n, uint32_t version)
{
	static char buf[SMALL];
	int err = 0;

	for (; n; n--, small++) {
		if (read(fd, buf, SMALL) != (ssize_t)SMALL)
			return wrong("the pipe has no small page %zu", small);
		if (verify(buf, small * SMALL, SMALL, version))
			err = -EIO;
	}
	return err;
}

/* A pin keeps its very page: what is written later through another mapping is seen through it. */
TEST_F(hgm, vmsplice_across_collapse)
{
	struct arena *a = &self->a;
	struct iovec iov = { a->guest + FIRST * SMALL, COUNT * SMALL };
	uint64_t pfn;

	ASSERT_EQ(0, arena_continue_small(a, FIRST * SMALL, COUNT * SMALL));
	pfn = pfn_of(iov.iov_base);
	ASSERT_EQ((ssize_t)iov.iov_len, vmsplice(self->pipe[1], &iov, 1, 0));
	ASSERT_EQ(0, collapse_settled(a->guest, HUGE));
	EXPECT_EQ(pfn, pfn_of(iov.iov_base));
	fill(a->guest + FIRST * SMALL, FIRST * SMALL, COUNT * SMALL, 2);
	EXPECT_EQ(0, drain(self->pipe[0], FIRST, COUNT, 2));
	EXPECT_EQ(0, verify(a->source + FIRST * SMALL, FIRST * SMALL, COUNT * SMALL, 2));
}

/* A pin outlives the file's page; R7, R16: it must not be handed to somebody else before. */
TEST_F(hgm, vmsplice_across_punch)
{
	struct arena *a = &self->a;
	struct iovec iov = { a->guest + FIRST * SMALL, COUNT * SMALL };
	struct pool now;

	ASSERT_EQ(0, arena_continue_small(a, FIRST * SMALL, COUNT * SMALL));
	ASSERT_EQ((ssize_t)iov.iov_len, vmsplice(self->pipe[1], &iov, 1, 0));
	ASSERT_EQ(0, madvise(a->source, HUGE, MADV_REMOVE));
	EXPECT_EQ(0, mapped_smalls(0, a->guest, HUGE));
	pool_read(&now);
	/* One is still filled, one is pinned. */
	EXPECT_EQ(self->a.before.free - 2, now.free);
	/* The file gets new pages, which have nothing to do with the old. */
	fill(a->source, 0, HUGE, 3);
	EXPECT_EQ(0, drain(self->pipe[0], FIRST, COUNT, 1));
}

/* What is not there ends a GUP; what is there does not. */
TEST_F(hgm, vmsplice_stops_at_a_hole)
{
	struct arena *a = &self->a;
	struct iovec iov = { a->guest, 4 * SMALL };

	ASSERT_EQ(0, arena_continue_small(a, 0, 2 * SMALL));
	EXPECT_EQ((ssize_t)(2 * SMALL), vmsplice(self->pipe[1], &iov, 1, 0));
	EXPECT_EQ(2, mapped_smalls(0, a->guest, HUGE));
	EXPECT_EQ(0, drain(self->pipe[0], 0, 2, 1));
	iov.iov_base = a->guest + 2 * SMALL;
	EXPECT_EQ(-1, vmsplice(self->pipe[1], &iov, 1, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(hgm, process_vm_readv_and_writev)
{
	struct arena *a = &self->a;
	static char buf[COUNT * SMALL];
	struct iovec local = { buf, sizeof(buf) }, remote = { a->guest + FIRST * SMALL, sizeof(buf) };
	int round;

	ASSERT_EQ(0, arena_continue_small(a, FIRST * SMALL, COUNT * SMALL));
	for (round = 0; round < 2; round++) {
		memset(buf, 0, sizeof(buf));
		EXPECT_EQ((ssize_t)sizeof(buf), process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
		EXPECT_EQ(0, verify(buf, FIRST * SMALL, sizeof(buf), 1 + round));
		fill(buf, FIRST * SMALL, sizeof(buf), 2 + round);
		EXPECT_EQ((ssize_t)sizeof(buf), process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
		EXPECT_EQ(0, verify(a->source + FIRST * SMALL, FIRST * SMALL, sizeof(buf), 2 + round));
		/* The neighbours are as they were. */
		EXPECT_EQ(0, verify(a->source, 0, FIRST * SMALL, 1));
		EXPECT_EQ(0, verify(a->source + (FIRST + COUNT) * SMALL, (FIRST + COUNT) * SMALL, SMALL, 1));
		ASSERT_EQ(0, collapse_settled(a->guest, HUGE));
	}
}

/* ---- a long-term pin through which the kernel writes ---- */

struct ring {
	int fd;
	char *mem;
	size_t len;
	struct io_uring_params p;
	struct io_uring_sqe *sqes;
};

static int ring_open(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->fd = syscall(__NR_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		return -errno;
	if (!(r->p.features & IORING_FEAT_SINGLE_MMAP))
		return -EOPNOTSUPP;
	r->len = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	r->mem = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       r->fd, IORING_OFF_SQES);
	return r->mem == MAP_FAILED || r->sqes == MAP_FAILED ? -ENOMEM : 0;
}

/* Reads from a file into the registered buffer: bytes or a negative errno. */
static int ring_read(struct ring *r, int fd, void *to, size_t len, off_t off)
{
	unsigned int *tail = (unsigned int *)(r->mem + r->p.sq_off.tail);
	unsigned int *head = (unsigned int *)(r->mem + r->p.cq_off.head);
	unsigned int mask = *(unsigned int *)(r->mem + r->p.sq_off.ring_mask), at = *tail & mask;
	unsigned int *array = (unsigned int *)(r->mem + r->p.sq_off.array);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(r->mem + r->p.cq_off.cqes);
	unsigned int cq_mask = *(unsigned int *)(r->mem + r->p.cq_off.ring_mask);
	int res;

	r->sqes[at] = (struct io_uring_sqe) {
		.opcode = IORING_OP_READ_FIXED, .fd = fd, .addr = (uintptr_t)to, .len = len, .off = off,
	};
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	res = cqes[*head & cq_mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

TEST_F(hgm, io_uring_across_collapse)
{
	struct arena *a = &self->a;
	char *at = a->guest + FIRST * SMALL;
	struct iovec iov = { at, COUNT * SMALL };
	static char buf[COUNT * SMALL];
	struct ring r;
	int fd, round;

	if (ring_open(&r))
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, arena_continue_small(a, FIRST * SMALL, COUNT * SMALL));
	if (syscall(__NR_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &iov, 1)) {
		close(r.fd);
		SKIP(return, "no long-term pin: %s", strerror(errno));
	}
	fd = memfd_create("data", MFD_CLOEXEC);
	ASSERT_LE(0, fd);
	for (round = 0; round < 3; round++) {
		fill(buf, FIRST * SMALL, sizeof(buf), 10 + round);
		ASSERT_EQ((ssize_t)sizeof(buf), pwrite(fd, buf, sizeof(buf), 0));
		/* Into small pages, into a huge one, and after the mapping went away and came back. */
		EXPECT_EQ((int)sizeof(buf), ring_read(&r, fd, at, sizeof(buf), 0));
		EXPECT_EQ(0, verify(a->source + FIRST * SMALL, FIRST * SMALL, sizeof(buf), 10 + round));
		EXPECT_EQ(0, verify(at, FIRST * SMALL, sizeof(buf), 10 + round));
		if (round == 0) {
			ASSERT_EQ(0, collapse_settled(a->guest, HUGE));
		} else if (round == 1) {
			ASSERT_EQ(0, madvise(a->guest, HUGE, MADV_DONTNEED));
			ASSERT_EQ(0, arena_continue_small(a, FIRST * SMALL, COUNT * SMALL));
		}
	}
	EXPECT_EQ(0, verify(a->source, 0, FIRST * SMALL, 1));
	EXPECT_EQ(0, verify(a->source + (FIRST + COUNT) * SMALL, (FIRST + COUNT) * SMALL, HUGE - (FIRST + COUNT) * SMALL, 1));
	syscall(__NR_io_uring_register, r.fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
	munmap(r.mem, r.len);
	munmap(r.sqes, r.p.sq_entries * sizeof(struct io_uring_sqe));
	close(r.fd);
	close(fd);
}

/* ---- GUP without locks beside collapse and zap ---- */

struct gup {
	struct crew c;
	struct arena *a;
	long reads, faults;
};

static void *gup_thread(void *arg)
{
	struct gup *g = arg;
	char buf[SMALL];
	int fds[2];

	if (pipe(fds))
		die("pipe");
	while (crew_on(&g->c)) {
		size_t n = dice() % SMALLS;
		struct iovec iov = { g->a->guest + n * SMALL, SMALL };
		ssize_t got = vmsplice(fds[1], &iov, 1, 0);

		if (got < 0 && errno == EFAULT) {
			count_up(g->faults);
			continue;
		}
		if (got != (ssize_t)SMALL || read(fds[0], buf, SMALL) != (ssize_t)SMALL)
			crew_fail(&g->c, "vmsplice gave %zd", got);
		else if (!is_version(buf, n * SMALL, 1))
			crew_fail(&g->c, "GUP of small page %zu saw another page", n);
		count_up(g->reads);
	}
	close(fds[0]);
	close(fds[1]);
	return NULL;
}

static void *churn(void *arg)
{
	struct gup *g = arg;
	int err;

	while (crew_on(&g->c)) {
		arena_continue(g->a, dice() % SMALLS * SMALL, SMALL);
		arena_continue(g->a, dice() % 4 * HUGE / 4, HUGE / 4);
		if (dice() % 4 == 0) {
			err = collapse(g->a->guest, HUGE);
			if (err && err != -EAGAIN)
				crew_fail(&g->c, "collapse: %s", strerror(-err));
		}
		if (dice() % 4 == 0 && madvise(g->a->guest, HUGE, MADV_DONTNEED))
			crew_fail(&g->c, "MADV_DONTNEED: %s", strerror(errno));
	}
	return NULL;
}

/* R4: a table that is freed too early is found by those who walk it without locks. */
TEST_F(hgm, gup_against_collapse_and_zap)
{
	struct gup g = { .a = &self->a };

	g.c.progress = &g.reads;
	crew_add(&g.c, gup_thread, &g);
	crew_add(&g.c, gup_thread, &g);
	crew_add(&g.c, churn, &g);
	EXPECT_EQ(0, crew_run(&g.c, hgm_seconds() * 1000));
	EXPECT_LT(0, g.reads);
	EXPECT_LT(0, g.faults);
	EXPECT_EQ(0, verify(self->a.source, 0, self->a.len, 1));
}

HGM_HARNESS_MAIN
