/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Library for tests of khugepaged and MADV_COLLAPSE.
 *
 * Conventions: functions that can fail return 0 (or a count) on success and
 * a negative errno on failure. die() is for broken set-up only, never for the
 * behaviour under test.
 */
#ifndef COLLAPSE_H
#define COLLAPSE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

/* ---- machine (region.c) ---- */

extern size_t page_size;	/* 4096 on x86-64 */
extern size_t pmd_size;		/* from hpage_pmd_size */
extern size_t pmd_pages;	/* pmd_size / page_size */

/* Reads the sizes, saves every knob and arranges for their restoration. */
void collapse_init(void);
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Set-up that works or ends the program: what gives a negative errno, and madvise(). */
void must(int err, const char *what);
void advise(void *start, size_t len, int advice);
uint64_t now_ms(void);
/* Says that something did not happen in time, which may be the machine's fault. Gives -ETIMEDOUT. */
int late(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sleep_ms(unsigned int ms);

/* ---- memory (region.c) ---- */

/*
 * @nr_pmds PMDs of anonymous private memory, PMD-aligned, alone in its VMA:
 * a PROT_NONE page on either side keeps it from merging with neighbours.
 */
char *region_map(size_t nr_pmds);
/* The same at a fixed, PMD-aligned address; dies if something is there. */
char *region_map_at(void *addr, size_t nr_pmds);
void region_unmap(char *start, size_t nr_pmds);

/*
 * Pattern: each 8-byte word holds its own address and a 24-bit version, so
 * that a stale, zero or foreign value is told apart. Version 0 is reserved
 * for "never written": the page must read as zero.
 */
uint64_t pattern_word(const void *addr, uint32_t version);
/* Writes whole pages and takes no huge page; the VMA's flags stay. */
void fill_small(char *start, size_t len, uint32_t version);
/* Writes whole pages, whatever they are mapped by. */
void fill(char *start, size_t len, uint32_t version);
/* Every byte; prints what is wrong with the first bad word. 0 or -EIO. */
int verify(const char *start, size_t len, uint32_t version);
/* As verify(), but the pattern belongs to address @home (after a move). */
int verify_home(const char *start, const char *home, size_t len, uint32_t version);
int verify_zero(const char *start, size_t len);
/* Three words per page only: first, middle and last. For hot loops. */
void stamp(char *page, uint32_t version);
int stamp_check(const char *page, uint32_t version);
/* Version of a stamped page, or -EIO with a message if it is torn. */
int64_t stamp_version(const char *page);

/* ---- what maps it (pages.c); @pid 0 means the caller ---- */

#define PAGE_PRESENT	(1u << 0)
#define PAGE_SWAPPED	(1u << 1)
#define PAGE_SOFT_DIRTY	(1u << 2)
#define PAGE_UFFD_WP	(1u << 3)
#define PAGE_GUARD	(1u << 4)
#define PAGE_EXCLUSIVE	(1u << 5)

struct page_info {
	unsigned int flags;	/* PAGE_* */
	uint64_t pfn;		/* 0 unless present */
};

int page_info(pid_t pid, const void *addr, struct page_info *info);
size_t count_pages(pid_t pid, const void *start, size_t len, unsigned int flag);
uint64_t page_kpf(uint64_t pfn);		/* /proc/kpageflags */
/* Pages whose folio is a THP, however it is mapped. */
size_t count_thp_pages(pid_t pid, const void *start, size_t len);
/* PMDs of the range that are mapped by a huge PMD. */
size_t count_huge(pid_t pid, const void *start, size_t len);
/* A field of smaps in kB, summed over the VMAs that touch the range. */
long smaps_kb(pid_t pid, const void *start, size_t len, const char *field);
bool smaps_flag(const void *addr, const char *two_letters);
/* The kernel writes to or reads from @addr on our behalf: 0 or -errno. */
int kernel_write(char *addr, uint64_t word);
int kernel_read(const char *addr);
bool range_mapped(const void *start, size_t len);

/* ---- the two doors (door.c) ---- */

int collapse(void *start, size_t len);		/* 0 or -errno */
/* Retries EAGAIN for up to five seconds (LRU caches, transient pins). */
int collapse_settled(void *start, size_t len);
extern unsigned long collapse_retries;		/* of all calls so far */
/* No page of the range is young any more, and no TLB says otherwise: 0 or -errno. It must be writable. */
int forget_references(char *start, size_t len);
/* Back to small pages, content kept; the VMA stays as it is. */
int split_range(char *start);
ssize_t collapse_process(int pidfd, void *start, size_t len);
int pidfd_open_(pid_t pid);

pid_t kernel_thread_pid(const char *name);	/* 0 if there is no thread */
pid_t khugepaged_pid(void);
/* Waits until the thread exists (or not); 0 or -ETIMEDOUT. */
int khugepaged_wait_thread(bool there, unsigned int ms);
/* Lets the daemon run at full speed, or stop scanning for a day. */
void khugepaged_fast(void);
void khugepaged_idle(void);
/* Waits until the thread sleeps and stays asleep: 0 or a negative errno. */
int khugepaged_wait_asleep(unsigned int ms);
/*
 * Wakes an idle daemon for exactly one do_scan(): a whole pass if
 * pages_to_scan allows for it. A wake-up while it is still busy would be lost.
 */
int khugepaged_wake(unsigned int ms);
/* Waits for @n further complete passes: 0 or -ETIMEDOUT. */
int khugepaged_passes(unsigned int n, unsigned int ms);
/* Makes at least @n passes, then goes back to sleep: 0 or a negative errno. */
int khugepaged_run(unsigned int n, unsigned int ms);
/* Waits until @nr PMDs of the range are huge: 0 or -ETIMEDOUT. */
int khugepaged_wait_huge(const void *start, size_t len, size_t nr, unsigned int ms);

/* ---- knobs (knob.c); a relative path is below transparent_hugepage/ ---- */

int knob_read(const char *path, char *buf, size_t len);	/* without newline */
long knob_num(const char *path);			/* dies if unreadable */
int knob_try(const char *path, const char *val);	/* 0 or -errno */
void knob_set(const char *path, const char *val);	/* dies on failure */
void knob_set_num(const char *path, unsigned long val);
bool knob_there(const char *path);
/* The word in brackets: "always [madvise] never" gives "madvise". */
int knob_choice(const char *path, char *buf, size_t len);
const char *thp_size_dir(void);			/* "hugepages-2048kB" */
void knobs_save(void);				/* restores at exit and on signals */
void knobs_restore(void);
/*
 * Base line of all tests: enabled=madvise, PMD size inherits, all other sizes
 * never, shmem never, khugepaged's defaults, the daemon asleep.
 */
void knobs_baseline(void);

/* ---- counters (stat.c) ---- */

/* Within this, what was given up is gone from counters and caches, on however slow a machine. */
#define SETTLE_MS	30000

long vmstat(const char *name);			/* -1 if there is none */
long mthp_stat(const char *name);		/* of the PMD size */
long meminfo_kb(const char *name);
long free_kb(void);
long proc_status_kb(pid_t pid, const char *name);
long pages_collapsed(void);
long full_scans(void);

/* Counters that every collapse, successful or not, must leave balanced. */
struct balance {
	long isolated_anon, isolated_file, anon_thp;
};
void balance_read(struct balance *b);
/* Lets the per-CPU parts settle, prints what differs; 0 or -EIO. */
int balance_check(const struct balance *before, long anon_thp_pmds_delta);

/* Counters of the page cache, in pages; those of huge pages in PMDs. */
struct file_stat {
	long pages, shmem;
	long shmem_thp, file_thp, shmem_mapped, file_mapped;
	long isolated_anon, isolated_file;
};
void file_stat_read(struct file_stat *s);
/* As balance_check(): what is not in @delta must be as before; what was -1 may be anything. */
int file_stat_check(const struct file_stat *before, const struct file_stat *delta);

/* ---- folios below the size of a PMD (sizes.c); sizes are orders ---- */

unsigned int pmd_order(void);
bool size_there(unsigned int order);
/* A slow kernel, of which few kinds of files are asked, is spared every other order. */
unsigned int next_order(unsigned int order);
void size_enable(unsigned int order, const char *how);
/* @orders: bit n stands for order n. */
void sizes_enable(unsigned int orders, const char *how);
/* The same for shared memory that has no name. */
void shmem_sizes_enable(unsigned int orders, const char *how);
long size_stat(unsigned int order, const char *name);	/* -1 if there is none */
/* The pages from @start on are a folio of exactly this order, mapped in whole and in order. */
bool is_folio(const char *start, unsigned int order);
size_t count_folios(const char *start, size_t len, unsigned int order);
/* Waits until there are @nr of them: 0 or -ETIMEDOUT. */
int wait_folios(const char *start, size_t len, unsigned int order, size_t nr, unsigned int ms);
/* Faults in what is empty as such folios; the knob is "never" afterwards. */
void fault_folios(char *start, size_t len, unsigned int order);

/* ---- shared memory and files (filemap.c) ---- */

enum file_kind {
	MEMFD, MEMFD_SEALED, MEMFD_FUTURE_SEALED, TMPFS_FILE, SHARED_ANON, SYSV_SHM,
	EXT4_FILE, XFS_FILE, NR_FILE_KINDS,
	PRIVATE_ANON = NR_FILE_KINDS	/* no file, but filled and verified as one */
};

struct filemap {
	enum file_kind kind;
	int fd;			/* -1 for shared anonymous and System V memory */
	int shmid;
	size_t nr_pmds, len;
	char *mem;		/* all of it, shared, at a PMD boundary; or NULL */
};

/* Mount options of the tmpfs that the next TMPFS_FILE gets for itself. */
extern const char *file_tmpfs_options;
/* Why there can be no file of this kind here; NULL if there can. */
const char *file_kind_missing(enum file_kind kind);
bool file_on_disk(enum file_kind kind);
bool file_may_write(enum file_kind kind);	/* through f->mem */

/* An empty file of this length; mapped only if nothing else can refer to it. */
void file_create(struct filemap *f, enum file_kind kind, size_t nr_pmds);
/*
 * The pattern by one write(), or stores where there is no descriptor. Its
 * address is the place in the file, wherever that is mapped.
 */
void file_write(struct filemap *f, size_t off, size_t len, uint32_t version);
/* The same by stores; @mem shows the file from byte @off on. */
void file_store(char *mem, size_t off, size_t len, uint32_t version);
/* Every @step'th page of the whole file, each a page of its own in the cache. */
void file_fill(struct filemap *f, size_t step, uint32_t version);
/* Now clean, sealed if it is of such a kind, mapped at f->mem and touched. */
void file_settle(struct filemap *f);
/* All three: a file of small pages, each with a PTE of its own. */
void file_setup(struct filemap *f, enum file_kind kind, size_t nr_pmds, uint32_t version);
/* Another mapping of all of it; region_unmap() takes it away. */
char *file_map(const struct filemap *f, int prot, int flags);
void file_unmap(struct filemap *f);
void file_close(struct filemap *f);
void file_touch(const char *mem, size_t len);
/* As verify(); @mem shows the file from byte @off on. */
int file_verify(const char *mem, size_t off, size_t len, uint32_t version);
/* file_verify() of a mapping of the whole file, all of one version. */
int file_verify_all(const struct filemap *f, const char *mem, uint32_t version);
/*
 * Writes back, unmaps f->mem and empties the page cache: 0 or -EBUSY. Then
 * what is read comes from the disk. Shared memory stays as it is.
 */
int file_drop(struct filemap *f);
/* file_drop(), then each byte by read(): 0 or a negative errno. */
int file_reread(struct filemap *f, uint32_t version);
/* FilePmdMapped and ShmemPmdMapped of the range. */
long file_huge_kb(pid_t pid, const void *mem, size_t len);
/* Maps huge pages of a file by PTEs; @prot is what the mapping has. */
void file_split_pmds(char *mem, size_t len, int prot);
/* Makes khugepaged look at f->mem; the knobs stay so until the baseline. */
void file_advise(struct filemap *f);
/* Faults the range in again and again until @nr of its PMDs are huge. */
int file_wait_huge(const char *mem, size_t len, size_t nr, unsigned int ms);

/* ---- swap (swap.c) ---- */

bool swap_active(void);
/* A zram device of @mib MiB unless swap is on already; 0 or -errno. */
int swap_setup(unsigned int mib);
void swap_teardown(void);			/* only what swap_setup() made */
const char *swap_device(void);			/* device in use, or NULL */
int swap_off(const char *dev);
int swap_on(const char *dev);
/* Pages out and waits until every page of the range is a swap entry. */
int page_out(char *start, size_t len);
/* The same for what leaves no swap entry: shared memory, and what MADV_FREE has given up. */
int page_out_gone(char *start, size_t len);

/* ---- wider windows for races (widen.c); they last as long as the descriptors, that is the process ---- */

/* Holds up one passage in @one_in (a power of two) of a kernel function for @us: a descriptor, or -errno. */
int widen_one(const char *function, unsigned int us, unsigned int one_in);
/* The same at all places where a race with a collapse can be lost: how many, or -errno. */
int widen(unsigned int us);

/* ---- memory cgroups, version 2 (memcg.c) ---- */

struct memcg {
	char path[128];
};
int memcg_create(struct memcg *cg, const char *name);
int memcg_enter(const struct memcg *cg);	/* moves the calling process */
int memcg_leave(void);				/* back to the root group */
int memcg_set(const struct memcg *cg, const char *file, const char *val);
int memcg_set_num(const struct memcg *cg, const char *file, long val);
long memcg_num(const struct memcg *cg, const char *file);
long memcg_event(const struct memcg *cg, const char *file, const char *name);
/* Statistics are brought up to date when much has changed, else every two seconds: waits for @want a little longer. */
long memcg_event_soon(const struct memcg *cg, const char *file, const char *name, long want);
/*
 * The calling process enters the group and fills a PMD of memory there, which
 * is advised for the daemon; then the group may grow by @slack and not swap.
 */
char *memcg_cramp(const struct memcg *cg, size_t slack);
/*
 * A child that is in a group with little room must not allocate while the daemon
 * may have taken it all: it stops (child_pause()) while the parent, who is
 * elsewhere, lets the daemon make @n passes.
 */
void child_pause(void);
int khugepaged_run_beside(pid_t child, unsigned int n, unsigned int ms);
void memcg_destroy(struct memcg *cg);

/* ---- injected failures (inject.c) ---- */

/* Whether the kernel can; says in TAP that the program is skipped if not. */
bool inject_there(void);
/* The step fails @times times (-1: always), from its call number @nth (from 0) on. */
void inject_arm(unsigned int step, unsigned int nth, int times);
void inject_disarm(void);
bool inject_spent(void);	/* the one failure has happened */

/* ---- pins (pin.c) ---- */

struct pin {
	int fd[2];
};
int pin_vmsplice(struct pin *pin, void *addr);	/* a GUP reference */
int pin_uring(struct pin *pin, void *addr, size_t len);	/* FOLL_PIN, long term */
void pin_release(struct pin *pin);

/* ---- userfaultfd (uffd.c) ---- */

int uffd_open(unsigned int features);
int uffd_register_range(int fd, void *start, size_t len, unsigned long mode);
int uffd_wp(int fd, void *start, size_t len, bool protect);
int uffd_copy_page(int fd, void *dst, const void *src, size_t len, unsigned long mode);

/* A thread that fills missing pages from @page, lifts write protection, counts. */
struct uffd_watch {
	int fd, stop[2];
	pthread_t thread;
	char *page;
	unsigned long missing, wp;
	uintptr_t last;
};
int uffd_watch_start(struct uffd_watch *w, unsigned int features);
void uffd_watch_stop(struct uffd_watch *w);

/* ---- shortage of huge pages (starve.c) ---- */

/* From here no huge page can be allocated, by anybody: 0 or -errno. */
int huge_starve(void);
void huge_feed(void);

/* ---- trace events (trace.c) ---- */

int trace_start(const char *events);	/* "huge_memory" or "huge_memory/mm_..." */
void trace_stop(void);
/* The buffer as text, NUL-terminated; caller frees. */
char *trace_take(void);
/* Lines that contain @what. */
int trace_count(const char *text, const char *what);

/* Normalised huge_memory events of the calling process (normal.c). */
void normal_learn_mm(void);		/* once, before anything else */
/* Which pfn is which page of the range, before and after the action. */
void normal_before(const char *start, size_t len);
void normal_after(const char *start, size_t len);
void normal_print(char *text);		/* what trace_take() gave; it is cut up */

/* ---- traced workloads (workload.c) ---- */

#define WORKLOAD_COUNTERS 13

struct workload_counters {
	long v[WORKLOAD_COUNTERS];
};
/* What a step holds on to until workload_undo(). */
extern struct workload {
	struct memcg cg;	/* the program is in it */
	struct pin pin;
	int uffd;		/* -1 if there is none */
	pid_t child;		/* 0 if there is none */
	bool starved;
} work;

/*
 * No address space randomisation, a base line, swap, a memory cgroup, and no
 * write-back that nobody asked for. What is printed up to workload_end() counts.
 */
void workload_start(int argc, char **argv, const char *name);
void workload_end(const char *name);
void workload_watch(char *start, size_t len, unsigned int features, unsigned long mode);
void workload_limit(void);		/* no room for a huge page in the group */
/*
 * No huge page to be had, after @full made what is to be collapsed. Memory that
 * is used up for real must not add to the VMAs to scan.
 */
void workload_starve(void (*full)(void));
void workload_undo(void);
void workload_counters_read(struct workload_counters *c);
/* Those that moved, on one line. */
void workload_counters_print(const struct workload_counters *before,
			     const struct workload_counters *after);
/*
 * Base line, and khugepaged's limits unless -1. Writing most of these knobs
 * wakes the daemon, so this comes before there is any memory to scan, and ends
 * with a whole pass: the next one starts at the head of the list.
 */
void workload_limits(int none, int swap, int shared);

/* ---- gauges (gauge.c) ---- */

enum gauge_unit { INSN, PAGE_ALLOC, SLAB_ALLOC, MMAP_WRITE, IPI_TLB, IPI_CALL, TLB_FLUSH, NR_GAUGES };
extern const char *gauge_name[NR_GAUGES];

struct gauge {
	pid_t task;
	bool events;
	double v[NR_GAUGES];
};

/*
 * INSN is the CPU time of @task in ns, or the time passed for task 0, the
 * caller. Allocations and flushes are counted on request only: it costs time.
 */
void gauge_start(struct gauge *g, pid_t task, bool events);
void gauge_stop(struct gauge *g);
/* True if the clock advances by one nanosecond per instruction. */
bool clock_counts_instructions(void);

/* ---- states of memory (state.c); set-up only, they die on failure ---- */

/*
 * As region_map(), but the VMA was faulted in before: it has an anon_vma,
 * without which there is nothing to collapse, and still no page table.
 */
char *region_map_used(size_t nr_pmds);
/* Makes the daemon know this process, and lets it go back to sleep. */
void khugepaged_register(unsigned int ms);
/* stamp() on every @step'th page, each a small one. */
void stamp_small(char *start, size_t len, size_t step, uint32_t version);
void make_huge(char *start, size_t len);
/* Leaves whole THPs behind that are mapped by PTEs. */
void split_pmds(char *start, size_t len);
/* A child that keeps a copy-on-write share of all memory; see child_end(). */
pid_t share_with_child(void);
/* huge_starve() by a child, so that what it maps is not in this mm. */
pid_t starve_in_child(void);
/*
 * Swaps out page @page of each PMD; a child then has it mapped again, and
 * pinned if asked, and nothing else of the range. Here it stays a swap entry:
 * a scan cannot know, only isolation (after swap-in) can.
 */
pid_t share_swapped(char *start, size_t nr_pmds, size_t page, bool pinned);
void child_end(pid_t pid);

#endif /* COLLAPSE_H */
