// SPDX-License-Identifier: GPL-2.0
/* userfaultfd on shared memory: live migration, holes that are waited for, protected pages. */
#include <poll.h>
#include <sys/ioctl.h>
#include <linux/userfaultfd.h>

#include "harness.h"

#define NR 2
#define PAGES (NR * pmd_pages)

FIXTURE(uffd) {
	struct filemap f;	/* ->mem is nobody's business, "watched" is registered */
	char *watched;
	int fd, stop[2];
	pthread_t thread;
	unsigned long minor, missing, wp, rwp;
};

FIXTURE_VARIANT(uffd) {
	enum file_kind kind;
};

FIXTURE_VARIANT_ADD(uffd, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(uffd, tmpfs) { .kind = TMPFS_FILE };
FIXTURE_VARIANT_ADD(uffd, shared_anon) { .kind = SHARED_ANON };

FIXTURE_SETUP(uffd)
{
	knobs_baseline();
	file_create(&self->f, variant->kind, NR);
	if (!self->f.mem)
		self->f.mem = file_map(&self->f, PROT_READ | PROT_WRITE, MAP_SHARED);
	self->watched = file_map(&self->f, PROT_READ | PROT_WRITE, MAP_SHARED);
	self->fd = -1;
}

FIXTURE_TEARDOWN(uffd)
{
}

/* ---- the one who waits ---- */

static int continue_page(int fd, char *at, size_t len)
{
	struct uffdio_continue c = { .range = { (uintptr_t)at, len } };

	return ioctl(fd, UFFDIO_CONTINUE, &c) ? -errno : 0;
}

static int rwprotect(int fd, char *at, size_t len, bool on)
{
	struct uffdio_rwprotect p = {
		.range = { (uintptr_t)at, len },
		.mode = on ? UFFDIO_RWPROTECT_MODE_RWP : 0,
	};

	return ioctl(fd, UFFDIO_RWPROTECT, &p) ? -errno : 0;
}

/*
 * Minor: the page arrives through the other mapping only now. Missing: it is
 * given its pattern. Protected: let go. Each event is counted.
 */
static void resolve(FIXTURE_DATA(uffd) *self, const struct uffd_msg *msg)
{
	char *at = (char *)(uintptr_t)(msg->arg.pagefault.address / page_size * page_size);
	unsigned long long flags = msg->arg.pagefault.flags;
	size_t off = at - self->watched;
	char buf[page_size];
	int err;

	if (flags & UFFD_PAGEFAULT_FLAG_MINOR) {
		__atomic_add_fetch(&self->minor, 1, __ATOMIC_SEQ_CST);
		file_store(self->f.mem + off, off, page_size, 1);
	} else if (flags & UFFD_PAGEFAULT_FLAG_WP) {
		__atomic_add_fetch(&self->wp, 1, __ATOMIC_SEQ_CST);
	} else if (flags & UFFD_PAGEFAULT_FLAG_RWP) {
		__atomic_add_fetch(&self->rwp, 1, __ATOMIC_SEQ_CST);
	} else {
		__atomic_add_fetch(&self->missing, 1, __ATOMIC_SEQ_CST);
		file_store(buf, off, page_size, 1);
	}
	do {
		if (flags & UFFD_PAGEFAULT_FLAG_MINOR)
			err = continue_page(self->fd, at, page_size);
		else if (flags & UFFD_PAGEFAULT_FLAG_WP)
			err = uffd_wp(self->fd, at, page_size, false);
		else if (flags & UFFD_PAGEFAULT_FLAG_RWP)
			err = rwprotect(self->fd, at, page_size, false);
		else
			err = uffd_copy_page(self->fd, at, buf, page_size, 0);
	} while (err == -EAGAIN);
	if (err)
		die("an event at page %zu cannot be answered: %s", off / page_size, strerror(-err));
}

static void *watch(void *arg)
{
	FIXTURE_DATA(uffd) *self = arg;
	struct pollfd fds[2] = {
		{ .fd = self->fd, .events = POLLIN }, { .fd = self->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		if (fds[1].revents)
			break;
		while (read(self->fd, &msg, sizeof(msg)) == sizeof(msg))
			resolve(self, &msg);
	}
	return NULL;
}

static int watch_start(FIXTURE_DATA(uffd) *self, unsigned int features, unsigned long mode, size_t pmd, size_t nr)
{
	int err;

	self->fd = uffd_open(features);
	if (self->fd < 0)
		return self->fd;
	err = uffd_register_range(self->fd, self->watched + pmd * pmd_size, nr * pmd_size, mode);
	if (err)
		return err;
	if (pipe(self->stop))
		return -errno;
	return -pthread_create(&self->thread, NULL, watch, self);
}

static void watch_stop(FIXTURE_DATA(uffd) *self)
{
	if (write(self->stop[1], "x", 1) != 1)
		die("cannot stop the thread");
	pthread_join(self->thread, NULL);
	close(self->fd);
}

#define HUGE(mem) count_huge(0, mem, NR * pmd_size)
#define VERIFY(mem, v) file_verify(mem, 0, NR * pmd_size, v)

/* ---- live migration ---- */

/* Page by page over the "network", with a guest that already runs; then huge at once. */
TEST_F(uffd, migration)
{
	size_t n;

	/* There, but not yet right: version 9 would be a fault that was missed. */
	for (n = 0; n < PAGES; n++)
		file_store(self->f.mem + n * page_size, n * page_size, page_size, 9);
	ASSERT_EQ(0, watch_start(self, UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR, 0, NR));
	/* Half on demand, in no order; half by the one who copies. */
	for (n = 0; n < PAGES / 2; n++) {
		size_t page = n * 167 % PAGES;

		ASSERT_EQ(0, file_verify(self->watched + page * page_size, page * page_size,
					 page_size, 1));
	}
	EXPECT_EQ(PAGES / 2, self->minor);
	for (n = PAGES / 2; n < PAGES; n++) {
		size_t page = n * 167 % PAGES;

		file_store(self->f.mem + page * page_size, page * page_size, page_size, 1);
		ASSERT_EQ(0, continue_page(self->fd, self->watched + page * page_size, page_size));
	}
	EXPECT_EQ(PAGES, count_pages(0, self->watched, NR * pmd_size, PAGE_PRESENT));
	EXPECT_EQ(0, HUGE(self->watched));
	EXPECT_EQ(0, collapse_settled(self->watched, NR * pmd_size));
	EXPECT_EQ(NR, HUGE(self->watched));
	EXPECT_EQ(0, VERIFY(self->watched, 1));
	EXPECT_EQ(0, VERIFY(self->f.mem, 1));
	/* It was all there: nobody was asked again. */
	EXPECT_EQ(PAGES / 2, self->minor);
	watch_stop(self);
	EXPECT_EQ(NR, HUGE(self->watched));
	EXPECT_EQ(0, VERIFY(self->watched, 1));
}

/* Collapsed by the other side half way: what was not continued may ask again, and gets it right. */
TEST_F(uffd, migration_and_peer)
{
	size_t n;

	for (n = 0; n < PAGES; n++)
		file_store(self->f.mem + n * page_size, n * page_size, page_size, 9);
	ASSERT_EQ(0, watch_start(self, UFFD_FEATURE_MINOR_SHMEM, UFFDIO_REGISTER_MODE_MINOR, 0, NR));
	for (n = 0; n < PAGES; n += 2)
		ASSERT_EQ(0, file_verify(self->watched + n * page_size, n * page_size, page_size, 1));
	EXPECT_EQ(PAGES / 2, self->minor);
	EXPECT_EQ(0, collapse_settled(self->f.mem, NR * pmd_size));
	EXPECT_EQ(NR, HUGE(self->f.mem));
	/* Every page that was not continued still raises its event. */
	for (n = 1; n < PAGES; n += 2)
		ASSERT_EQ(0, file_verify(self->watched + n * page_size, n * page_size, page_size, 1));
	EXPECT_LE(PAGES, self->minor);
	EXPECT_EQ(0, VERIFY(self->watched, 1));
	EXPECT_EQ(NR, HUGE(self->f.mem));
	watch_stop(self);
	EXPECT_EQ(0, collapse_settled(self->watched, NR * pmd_size));
	EXPECT_EQ(0, VERIFY(self->watched, 1));
}

/* ---- holes (class 31) ---- */

TEST_F(uffd, missing)
{
	long alloc;
	size_t n, holes = 0;

	for (n = 0; n < PAGES; n++)
		if (n % 8 == 3)
			holes++;
		else
			file_store(self->f.mem + n * page_size, n * page_size, page_size, 1);
	ASSERT_EQ(0, watch_start(self, UFFD_FEATURE_MISSING_SHMEM, UFFDIO_REGISTER_MODE_MISSING, 0, NR));
	alloc = vmstat("thp_collapse_alloc");
	/* Neither the registered mapping nor a peer may fill a hole. */
	EXPECT_EQ(-EBUSY, collapse(self->f.mem, NR * pmd_size));
	EXPECT_EQ(-EBUSY, collapse(self->watched, NR * pmd_size));
	EXPECT_EQ(alloc + 2, vmstat("thp_collapse_alloc"));
	EXPECT_EQ(0, HUGE(self->f.mem));
	EXPECT_EQ(0, HUGE(self->watched));
	/* Every hole is one event, and only a hole is. */
	EXPECT_EQ(0, self->missing);
	EXPECT_EQ(0, VERIFY(self->watched, 1));
	EXPECT_EQ(holes, self->missing);
	/* There is none left. */
	EXPECT_EQ(0, collapse_settled(self->f.mem, NR * pmd_size));
	EXPECT_EQ(0, collapse_settled(self->watched, NR * pmd_size));
	EXPECT_EQ(NR, HUGE(self->watched));
	EXPECT_EQ(0, VERIFY(self->watched, 1));
	EXPECT_EQ(holes, self->missing);
	watch_stop(self);
}

/* Registered in another process, which has not even touched it. */
TEST_F(uffd, missing_in_a_child)
{
	int to[2], from[2], status;
	pid_t child;
	char c;

	file_store(self->f.mem, 0, pmd_size - page_size, 1);
	ASSERT_EQ(0, pipe(to) | pipe(from));
	child = fork();
	if (!child) {
		bool ok = !watch_start(self, UFFD_FEATURE_MISSING_SHMEM,
				       UFFDIO_REGISTER_MODE_MISSING, 0, 1);

		ok &= write(from[1], "r", 1) == 1 && read(to[0], &c, 1) == 1;
		ok &= !file_verify(self->watched, 0, pmd_size, 1) && self->missing == 1;
		_exit(!ok);
	}
	ASSERT_EQ(1, read(from[0], &c, 1));
	EXPECT_EQ(-EBUSY, collapse(self->f.mem, pmd_size));
	EXPECT_EQ(0, count_huge(0, self->f.mem, pmd_size));
	ASSERT_EQ(1, write(to[1], "g", 1));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, collapse_settled(self->f.mem, pmd_size));
	EXPECT_EQ(0, file_verify(self->f.mem, 0, pmd_size, 1));
}

/* ---- protection (class 28) ---- */

/* Protected pages and protected holes still trap when the file has huge pages. */
TEST_F(uffd, write_protected)
{
	size_t n, some[] = { 0, 3, 7, 100, 101, pmd_pages - 1 };
	unsigned int i;

	for (n = 0; n < PAGES; n++)
		if (n % 4 != 3)
			file_store(self->f.mem + n * page_size, n * page_size, page_size, 1);
	file_touch(self->watched, page_size);
	ASSERT_EQ(0, watch_start(self, UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
				 UFFDIO_REGISTER_MODE_WP, 0, NR));
	ASSERT_EQ(0, uffd_wp(self->fd, self->watched, pmd_size, true));
	EXPECT_EQ(0, collapse_settled(self->f.mem, NR * pmd_size));
	EXPECT_EQ(NR, HUGE(self->f.mem));
	/* Its own mapping never gets a PMD: there would be no place for the marks. */
	EXPECT_EQ(-EINVAL, collapse(self->watched, pmd_size));
	EXPECT_EQ(0, HUGE(self->watched));
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		char *at = self->watched + some[i] * page_size;

		EXPECT_EQ(i, self->wp);
		*(volatile uint64_t *)at = 77;
		EXPECT_EQ(i + 1, self->wp) TH_LOG("page %zu was not protected", some[i]);
		EXPECT_EQ(77, *(volatile uint64_t *)(self->f.mem + some[i] * page_size));
	}
	/* The second PMD was never protected. */
	file_store(self->watched + pmd_size, pmd_size, pmd_size, 1);
	EXPECT_EQ(i, self->wp);
	watch_stop(self);
	EXPECT_EQ(0, collapse_settled(self->watched, NR * pmd_size));
	EXPECT_EQ(NR, HUGE(self->watched));
	EXPECT_EQ(0, file_verify(self->watched + pmd_size, pmd_size, pmd_size, 1));
}

/*
 * Pages that may not even be read. There are no marks without a page, so what
 * a collapse unmaps is let go, but no PMD comes in the place of the table.
 */
TEST_F(uffd, access_protected)
{
	size_t some[] = { 1, 2, 200, pmd_pages - 2 };
	unsigned int i;
	int err;

	file_store(self->f.mem, 0, NR * pmd_size, 1);
	err = watch_start(self, UFFD_FEATURE_RWP, UFFDIO_REGISTER_MODE_RWP, 0, NR);
	if (err)
		SKIP(return, "no access protection (%s): build with USERFAULTFD_RWP", strerror(-err));
	EXPECT_EQ(0, collapse_settled(self->f.mem, NR * pmd_size));
	EXPECT_EQ(NR, HUGE(self->f.mem));
	/* In a huge page, mapped by PTEs: neither collapse takes the marks away. */
	file_touch(self->watched, pmd_size);
	file_split_pmds(self->watched, pmd_size, PROT_READ | PROT_WRITE);
	ASSERT_EQ(0, rwprotect(self->fd, self->watched, pmd_size, true));
	EXPECT_EQ(0, collapse_settled(self->f.mem, NR * pmd_size));
	EXPECT_EQ(-EINVAL, collapse(self->watched, pmd_size));
	EXPECT_EQ(0, HUGE(self->watched));
	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		size_t off = some[i] * page_size;

		EXPECT_EQ(i, self->rwp);
		EXPECT_EQ(0, file_verify(self->watched + off, off, page_size, 1));
		EXPECT_EQ(i + 1, self->rwp) TH_LOG("page %zu was not protected", some[i]);
	}
	watch_stop(self);
	EXPECT_EQ(0, collapse_settled(self->watched, NR * pmd_size));
	EXPECT_EQ(0, VERIFY(self->watched, 1));
}

COLLAPSE_HARNESS_MAIN
