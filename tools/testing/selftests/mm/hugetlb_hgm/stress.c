// SPDX-License-Identifier: GPL-2.0
/*
 * All of it at once on one file, for HGM_SECONDS. Who changes what is in the file holds a lock of the huge page, and
 * for one small page of that; so each byte is known at any time. What only changes mappings takes no lock at all.
 */
#include "harness.h"

#define NR 6
#define PAGES (NR * SMALLS)

enum did { TOUCH, WRITE, GUP, CONTINUE, COLLAPSE, ZAP, CUT, MOVE, REMAP, FORK, LOOK, NR_DID };
static const char *const did_name[NR_DID] = {
	"touches", "writes", "pins", "continues", "collapses", "zaps", "cuts", "moves", "remaps", "children", "looks",
};

FIXTURE(stress) {
	struct arena a;
	struct crew c;
	struct server s;
	pthread_rwlock_t huge[NR];
	unsigned char busy[PAGES];
	uint32_t version[PAGES];
	long did[NR_DID];
};

FIXTURE_SETUP(stress)
{
	pthread_rwlockattr_t attr;
	int i;

	arena_open(&self->a, NR);
	must(arena_hgm(&self->a, 0, 0), "registration");
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (i = 0; i < NR; i++)
		pthread_rwlock_init(&self->huge[i], &attr);
	self->s.a = &self->a;
	self->c.progress = &self->did[TOUCH];
}

FIXTURE_TEARDOWN(stress)
{
	arena_close(&self->a);
	EXPECT_EQ(0, arena_check(&self->a));
}

#define DONE(what) count_up(self->did[what])

/* A small page for this thread alone. */
static size_t take(FIXTURE_DATA(stress) *self)
{
	for (;;) {
		size_t n = dice() % PAGES;

		pthread_rwlock_rdlock(&self->huge[n / SMALLS]);
		if (!__atomic_exchange_n(&self->busy[n], 1, __ATOMIC_ACQUIRE))
			return n;
		pthread_rwlock_unlock(&self->huge[n / SMALLS]);
	}
}

static void give(FIXTURE_DATA(stress) *self, size_t n)
{
	__atomic_store_n(&self->busy[n], 0, __ATOMIC_RELEASE);
	pthread_rwlock_unlock(&self->huge[n / SMALLS]);
}

static void check(FIXTURE_DATA(stress) *self, const char *mem, size_t n, const char *where)
{
	if (is_version(mem, n * SMALL, self->version[n]))
		return;
	verify(mem, n * SMALL, SMALL, self->version[n]);
	crew_fail(&self->c, "small page %zu is wrong in %s", n, where);
}

static void *toucher(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;

	while (crew_on(&self->c)) {
		size_t n = take(self);
		bool guest = dice() % 4;
		char *mem = (guest ? self->a.guest : self->a.source) + n * SMALL;

		check(self, mem, n, guest ? "the guest" : "the source");
		if (dice() % 3 == 0) {
			fill(mem, n * SMALL, SMALL, ++self->version[n]);
			DONE(WRITE);
		}
		give(self, n);
		DONE(TOUCH);
	}
	return NULL;
}

static void *pinner(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;
	char buf[SMALL];
	int fds[2];

	if (pipe(fds))
		die("pipe");
	while (crew_on(&self->c)) {
		size_t n = take(self);
		struct iovec { void *base; size_t len; } iov = { self->a.guest + n * SMALL, SMALL };

		if (syscall(__NR_vmsplice, fds[1], &iov, 1UL, 0) != (long)SMALL)
			crew_fail(&self->c, "vmsplice: %s", strerror(errno));
		/* It stays pinned for a while, whatever becomes of the mapping. */
		if (dice() % 4 == 0)
			sched_yield();
		if (read(fds[0], buf, SMALL) != (ssize_t)SMALL)
			crew_fail(&self->c, "the pipe is empty");
		check(self, buf, n, "a pipe");
		give(self, n);
		DONE(GUP);
	}
	close(fds[0]);
	close(fds[1]);
	return NULL;
}

static void *continuer(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;
	int err;

	while (crew_on(&self->c)) {
		size_t n = dice() % PAGES, len = 1UL << dice() % 10;

		if (n + len > PAGES)
			continue;
		err = arena_continue(&self->a, n * SMALL, len * SMALL);
		if (err && err != -EEXIST && err != -EFAULT && err != -EAGAIN)
			crew_fail(&self->c, "CONTINUE: %s", strerror(-err));
		DONE(CONTINUE);
		sched_yield();
	}
	return NULL;
}

static void *collapser(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;
	int err;

	while (crew_on(&self->c)) {
		size_t n = dice() % NR, len = 1 + dice() % (NR - n);

		err = collapse(self->a.guest + n * HUGE, len * HUGE);
		if (err && err != -EAGAIN)
			crew_fail(&self->c, "collapse: %s", strerror(-err));
		DONE(COLLAPSE);
		sleep_ms(dice() % 3);
	}
	return NULL;
}

static void *zapper(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;

	while (crew_on(&self->c)) {
		if (madvise(self->a.guest + dice() % NR * HUGE, HUGE, MADV_DONTNEED))
			crew_fail(&self->c, "MADV_DONTNEED: %s", strerror(errno));
		DONE(ZAP);
		sleep_ms(dice() % 4);
	}
	return NULL;
}

static void *cutter(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;

	while (crew_on(&self->c)) {
		size_t n = dice() % NR;
		int err;

		pthread_rwlock_wrlock(&self->huge[n]);
		if (n == NR - 1 && dice() % 2)
			err = ftruncate(self->a.fd, n * HUGE) || ftruncate(self->a.fd, self->a.len);
		else if (dice() % 2)
			err = madvise(self->a.source + n * HUGE, HUGE, MADV_REMOVE);
		else
			err = fallocate(self->a.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, n * HUGE, HUGE);
		if (err)
			crew_fail(&self->c, "cut: %s", strerror(errno));
		memset(&self->version[n * SMALLS], 0, SMALLS * sizeof(self->version[0]));
		pthread_rwlock_unlock(&self->huge[n]);
		DONE(CUT);
		sleep_ms(dice() % 10);
	}
	return NULL;
}

static void *mover(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;

	while (crew_on(&self->c)) {
		void *addr = self->a.guest + dice() % PAGES * SMALL;
		int node = dice() % 2, status = -1;

		if (syscall(__NR_move_pages, 0, 1UL, &addr, &node, &status, MOVE_ALL) >= 0 && status == node)
			DONE(MOVE);
		sched_yield();
	}
	return NULL;
}

/* Some small pages of a mapping that nobody watches. */
static void look_through(FIXTURE_DATA(stress) *self, char *mem, const char *where)
{
	int i;

	for (i = 0; i < 8; i++) {
		size_t n = take(self);

		check(self, mem + n * SMALL, n, where);
		give(self, n);
	}
}

/* A mapping and a userfaultfd of its own, which come and go. */
static void *remapper(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;
	struct arena *a = &self->a;

	while (crew_on(&self->c)) {
		char *mem = arena_map(a, PROT_READ | PROT_WRITE, MAP_SHARED), *place, *moved;
		int fd = uffd_open(HGM_FEATURES), i, err;

		if (fd < 0 || uffd_register(fd, mem, a->len, UFFDIO_REGISTER_MODE_MINOR)) {
			crew_fail(&self->c, "a second registration fails");
			break;
		}
		for (i = 0; i < 16; i++)
			uffd_continue(fd, mem + dice() % PAGES * SMALL, SMALL, NULL);
		/* The kernel chooses the place: huge pages are aligned by that. */
		place = arena_map(a, PROT_NONE, MAP_SHARED);
		moved = mremap(mem, a->len, a->len, MREMAP_MAYMOVE | MREMAP_FIXED, place);
		if (moved != place) {
			crew_fail(&self->c, "mremap: %s", strerror(errno));
			break;
		}
		look_through(self, moved, "a mapping that moved");
		err = mprotect(moved, a->len, PROT_NONE) | mprotect(moved, a->len, PROT_READ);
		look_through(self, moved, "a mapping that was protected");
		if (err || mprotect(moved, a->len, PROT_READ | PROT_WRITE))
			crew_fail(&self->c, "mprotect: %s", strerror(errno));
		if (dice() % 2) {
			err = collapse(moved, a->len);
			if (err && err != -EAGAIN)
				crew_fail(&self->c, "collapse of a mapping that moved: %s", strerror(-err));
			look_through(self, moved, "a mapping that was collapsed");
		}
		/* Now and then the descriptor goes first. */
		if (dice() % 2)
			close(fd), fd = -1;
		munmap(moved, a->len);
		if (fd >= 0)
			close(fd);
		DONE(REMAP);
	}
	return NULL;
}

/* A child that looks at one huge page, which nobody changes meanwhile, and leaves everything behind. */
static void *forker(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;
	int status, i;
	pid_t pid;

	while (crew_on(&self->c)) {
		size_t n = dice() % NR;

		pthread_rwlock_wrlock(&self->huge[n]);
		pid = fork();
		if (!pid) {
			for (i = 0; i < 8; i++) {
				size_t small = n * SMALLS + dice() % SMALLS;

				if (!is_version(self->a.guest + small * SMALL, small * SMALL, self->version[small]))
					_exit(1);
			}
			i = collapse(self->a.guest, self->a.len);
			_exit(i && i != -EAGAIN ? 2 : 0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			crew_fail(&self->c, "a child: pid %d, status %#x", pid, status);
		pthread_rwlock_unlock(&self->huge[n]);
		DONE(FORK);
		sleep_ms(dice() % 20);
	}
	return NULL;
}

static void *reader(void *arg)
{
	FIXTURE_DATA(stress) *self = arg;

	while (crew_on(&self->c)) {
		if (read_all("/proc/self/smaps") <= 0 || read_all("/proc/self/numa_maps") < 0)
			crew_fail(&self->c, "smaps or numa_maps cannot be read");
		if (mapped_smalls(0, self->a.guest, self->a.len) < 0)
			crew_fail(&self->c, "pagemap shows another page");
		DONE(LOOK);
		sleep_ms(dice() % 3);
	}
	return NULL;
}

TEST_F_TIMEOUT(stress, everything, 100000)
{
	struct arena *a = &self->a;
	size_t n;
	int i;

	server_start(&self->s);
	for (i = 0; i < 3; i++)
		crew_add(&self->c, toucher, self);
	crew_add(&self->c, pinner, self);
	crew_add(&self->c, continuer, self);
	crew_add(&self->c, collapser, self);
	crew_add(&self->c, zapper, self);
	crew_add(&self->c, cutter, self);
	if (node_count() > 1)
		crew_add(&self->c, mover, self);
	crew_add(&self->c, remapper, self);
	crew_add(&self->c, forker, self);
	crew_add(&self->c, reader, self);
	EXPECT_EQ(0, crew_run(&self->c, hgm_seconds() * 1000));
	EXPECT_EQ(0, server_stop(&self->s));
	for (i = 0; i < NR_DID; i++) {
		printf("# %ld %s\n", self->did[i], did_name[i]);
		if (i == MOVE && node_count() < 2)
			continue;
		EXPECT_LT(0, self->did[i]) TH_LOG("no %s", did_name[i]);
	}
	EXPECT_LT(0, self->s.messages);
	/* Both mappings show what is in the file, to the last byte. */
	ASSERT_EQ(0, uffd_unregister(a->uffd, a->guest, a->len));
	for (n = 0; n < PAGES; n++) {
		ASSERT_EQ(0, verify(a->source + n * SMALL, n * SMALL, SMALL, self->version[n]));
		ASSERT_EQ(0, verify_small(a, n, self->version[n]));
	}
	EXPECT_EQ(0, collapse_settled(a->guest, a->len));
	EXPECT_EQ(KB(a->len), pmd_kb(a));
	EXPECT_EQ(KB(2 * a->len), hugetlb_kb());
}

HGM_HARNESS_MAIN
