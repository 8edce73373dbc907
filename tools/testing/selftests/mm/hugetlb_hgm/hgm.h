/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Library for tests of HugeTLB high-granularity mapping (HGM).
 *
 * Conventions: functions that can fail return 0 (or a count) on success and
 * a negative errno on failure. die() is for broken set-up only, never for the
 * behaviour under test. What must never happen is said in a line "# wrong: ".
 */
#ifndef HGM_H
#define HGM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <linux/userfaultfd.h>

/* What the installed headers may not have yet. */
#ifndef UFFD_FEATURE_MINOR_HUGETLBFS
#define UFFD_FEATURE_MINOR_HUGETLBFS		(1 << 9)
#endif
#ifndef UFFD_FEATURE_EXACT_ADDRESS
#define UFFD_FEATURE_EXACT_ADDRESS		(1 << 11)
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM		(1 << 12)
#endif
#ifndef UFFD_FEATURE_MINOR_HUGETLBFS_HGM
#define UFFD_FEATURE_MINOR_HUGETLBFS_HGM	(1 << 19)
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB	0x0004U
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB	(21U << 26)
#endif
#ifndef EHWPOISON
#define EHWPOISON	133
#endif

#define SMALL	4096UL
#define HUGE	(2UL << 20)
#define SMALLS	(HUGE / SMALL)		/* small pages of a huge one */
#define KB(bytes)	((long)((bytes) / 1024))

#define HGM_FEATURES	(UFFD_FEATURE_MINOR_HUGETLBFS_HGM | UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_MINOR_HUGETLBFS)

/* ---- machine (machine.c) ---- */

/* Why nothing can be tested here, or NULL. The first is what every kernel must have, the second adds HGM itself. */
const char *hugetlb_missing(void);
const char *hgm_missing(void);
uint64_t uffd_features(void);		/* what UFFDIO_API reports; 0 if there is no userfaultfd */
unsigned int hgm_seconds(void);		/* how long a race lasts: HGM_SECONDS, 5 by default */
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void must(int err, const char *what);
/* Prints "# wrong: " and the rest; gives -EIO. */
int wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint64_t now_ms(void);
void sleep_ms(unsigned int ms);
/* The value behind @name in such a file as /proc/meminfo; -1 if there is none. */
long field_of(const char *path, const char *name);
/* Per thread, the same sequence in each run. */
uint32_t dice(void);

/* ---- counters (pool.c) ---- */

struct pool {
	long total, free, rsvd, surplus;
};
void pool_read(struct pool *p);
/* Waits a little for the counters to come back, says what differs; 0 or -EIO. */
int pool_check(const struct pool *before);
/* The pool is so large again, after what took pages away for good. */
void pool_resize(long total);
long hugetlb_kb(void);			/* HugetlbPages of this process */
long tables_kb(void);			/* VmPTE of this process */

/* ---- the memory under test (arena.c) ---- */

struct arena {
	struct pool before;
	int fd, uffd;		/* -1: none */
	size_t nr, len;		/* huge pages, bytes */
	char *source;		/* the writer's mapping, never registered */
	char *guest;		/* the one that HGM is about */
};

void arena_open(struct arena *a, size_t nr);
/* Another mapping of all of it. */
char *arena_map(const struct arena *a, int prot, int flags);
/* The guest mapping gets HGM, and these features and modes as well: 0 or a negative errno. */
int arena_hgm(struct arena *a, uint64_t features, uint64_t modes);
void arena_close(struct arena *a);
/* After arena_close(): everything was given back; 0 or -EIO. */
int arena_check(const struct arena *a);

/*
 * Pattern: each 8-byte word follows from its place in the file and a version,
 * so that stale, zero and foreign data are told apart. Version 0 is zeroes.
 * @mem shows the file from byte @off on.
 */
void fill(char *mem, size_t off, size_t len, uint32_t version);
int verify(const char *mem, size_t off, size_t len, uint32_t version);	/* 0 or -EIO */
/* One 4K of it, for races: says nothing and tells whether it is right. */
bool is_version(const char *mem, size_t off, uint32_t version);
/* The guest shows version @version in small page @n of the arena. */
static inline int verify_small(const struct arena *a, size_t n, uint32_t version)
{
	return verify(a->guest + n * SMALL, n * SMALL, SMALL, version);
}

/* ---- userfaultfd (uffd.c) ---- */

int uffd_open(uint64_t features);
int uffd_register(int fd, void *start, size_t len, uint64_t modes);
int uffd_unregister(int fd, void *start, size_t len);
int uffd_wake(int fd, void *start, size_t len);
/* @mapped, if not NULL, gets what the kernel left there. */
int uffd_continue(int fd, void *start, size_t len, int64_t *mapped);
int uffd_copy(int fd, void *dst, const void *src, size_t len);
/* The next message within so many milliseconds: 0 or -ETIMEDOUT. */
int uffd_message(int fd, struct uffd_msg *msg, int ms);
/* UFFDIO_CONTINUE of the guest mapping at this offset. */
int arena_continue(const struct arena *a, size_t off, size_t len);
/* The same in steps of 4K. */
int arena_continue_small(const struct arena *a, size_t off, size_t len);
int collapse(void *start, size_t len);
/* EAGAIN is tried again for up to ten seconds. */
int collapse_settled(void *start, size_t len);

/* A thread that answers each minor fault of an arena with a CONTINUE of one small page. */
struct server {
	struct arena *a;
	/* Called before, for the small page of this number; may be NULL. */
	void (*arrive)(struct server *s, size_t small);
	void *private;
	pthread_t thread;
	int stop[2];
	long messages, exist, again, holes;
	bool failed;
};
void server_start(struct server *s);
int server_stop(struct server *s);	/* 0 or -EIO */

/* ---- accesses that may fail (touch.c) ---- */

struct touch {
	int signal, code;	/* 0: nothing happened */
	void *addr;
	unsigned char byte;
};
/* Must be called once, before any of these. */
void touch_init(void);
/* One byte is read or written; what came of it. */
int touch_read(const void *addr, struct touch *t);	/* 0 or the signal */
int touch_write(void *addr, unsigned char byte, struct touch *t);
/* SIGBUS with poison that nobody was touching for; counted since touch_init(). */
long touch_stray(void);

/* The same in a thread that may have to wait for it. */
struct waiter {
	pthread_t thread;
	char *addr;
	bool write, done;
	struct touch t;
	uint64_t cpu_us;	/* what it took in CPU time */
};
void waiter_start(struct waiter *w, char *addr, bool write);
bool waiter_done(struct waiter *w, unsigned int ms);
void waiter_end(struct waiter *w);	/* joins it; dies if it does not end */

/* ---- what maps it (look.c); @pid 0 means the caller ---- */

/* A field of smaps in kB, summed over the VMAs that touch the range; -1 if none has it. */
long smaps_kb(pid_t pid, const void *start, size_t len, const char *field);
bool smaps_flag(pid_t pid, const void *addr, const char *two_letters);
long pte_kb(const struct arena *a);	/* of the guest mapping: HugetlbPteMapped */
long pmd_kb(const struct arena *a);	/* HugetlbPmdMapped */

#define PM_PRESENT	(1ULL << 63)
#define PM_SWAP		(1ULL << 62)
#define PM_EXCLUSIVE	(1ULL << 56)
#define PM_PFN(e)	((e) & ((1ULL << 55) - 1))

/* @n entries of 4K each. */
void pagemap(pid_t pid, const void *start, size_t n, uint64_t *entries);
uint64_t pfn_of(const void *addr);	/* 0 unless present */
/* Small pages of the range that are mapped; each present one has its right pfn, or -EIO. */
long mapped_smalls(pid_t pid, const void *start, size_t len);
/* How often the folio at this address is mapped, by /proc/kpagecount. */
long mapcount_of(const void *addr);
/* Reads such a file of /proc/self to its end: its size or -errno. */
ssize_t read_all(const char *path);

/* ---- nodes (node.c) ---- */

int node_count(void);
/* Node on which the page at @addr is, or a negative errno. */
int node_of(const void *addr);
/* Moves one page, tries again while it is busy: 0 or the negative errno of its status. */
int node_move(void *addr, int node, int flags);
int node_bind(void *start, size_t len, int node, unsigned int flags);
long node_free(int node);		/* free huge pages there */

#define MOVE_OWN	(1 << 1)	/* MPOL_MF_MOVE */
#define MOVE_ALL	(1 << 2)	/* MPOL_MF_MOVE_ALL */
#define STRICT		(1 << 0)	/* MPOL_MF_STRICT */

/* ---- threads of a race (crew.c) ---- */

#define MAX_CREW 24

struct crew {
	pthread_t thread[MAX_CREW];
	int nr;
	bool stop, failed;
	long *progress;		/* if set, has to grow within each 30 s */
	void *private;
};
void crew_add(struct crew *c, void *(*fn)(void *), void *arg);
/* Says "# wrong: ..." and ends the race. */
void crew_fail(struct crew *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Lets it go on for so long, then joins them; 0 or -EIO. Dies if a thread hangs, with its kernel stack. */
int crew_run(struct crew *c, unsigned int ms);
#define crew_on(c)	(!__atomic_load_n(&(c)->stop, __ATOMIC_RELAXED))
#define count_up(n)	__atomic_add_fetch(&(n), 1, __ATOMIC_RELAXED)
#define count_of(n)	__atomic_load_n(&(n), __ATOMIC_RELAXED)

/* Runs @fn in a child; its exit status, or 256 + signal. */
int in_child(int (*fn)(void *), void *arg);

#endif /* HGM_H */
