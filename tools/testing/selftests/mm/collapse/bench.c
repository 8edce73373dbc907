// SPDX-License-Identifier: GPL-2.0
/*
 * bench: what one collapse costs, counted and not timed.
 *
 * CSV columns (--csv): row,unit,value
 *   row   "madv ..." through MADV_COLLAPSE, "daemon ..." through khugepaged,
 *         "pagemap ..." reading /proc/self/pagemap, which costs more where entries
 *         stand for blocks (contiguous PTEs of arm64)
 *   unit  insn         instructions per 2 MiB (1 CPU)
 *         page_alloc   page allocations per 2 MiB (1 CPU)
 *         slab_alloc   kmalloc and slab cache allocations per 2 MiB (1 CPU)
 *         mmap_write   times the mmap lock was taken for write per 2 MiB (1 CPU)
 *         regions      folios of the row's size afterwards per 2 MiB (1 CPU)
 *         ipi_tlb      TLB interrupts received per 2 MiB (2 CPUs or more)
 *         ipi_call     function call interrupts received per 2 MiB (2 CPUs or more)
 *         tlb_flush    flushes started per 2 MiB, local or remote (2 CPUs or more)
 *   value a decimal number; the smallest of the repetitions
 *
 * "insn" needs a guest whose clock counts instructions: QEMU's
 * "-accel tcg,thread=single -icount shift=0,sleep=off". The clock is checked
 * against a loop of known length; on any other clock the unit is "ns".
 *
 * With one CPU instructions and allocations are measured. With two and more,
 * better without -icount, interrupts and flushes are, while a sibling thread
 * keeps the second CPU in the same address space. Each repetition sets the memory up anew, outside what
 * is measured, and checks the outcome: a row that does not end as it should
 * is an error, not a number. What doing nothing costs is subtracted.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collapse.h"

#define MAX_PMDS	32
#define PASS_MS		120000

static char *range;
static size_t len, nr_pmds;
static int reps;
static struct pin pins[MAX_PMDS];
static size_t nr_pins;
static pid_t child;

#define MAX_MAPPERS	256

static struct filemap file;
static char *mapper[MAX_MAPPERS];
static size_t nr_mappers;

static char *page_at(size_t pmd, size_t page)
{
	return range + pmd * pmd_size + page * page_size;
}

/* ---- states of memory ---- */

static void set_empty(void) { }
static void set_full(void) { fill_small(range, len, 1); }
static void set_half(void) { stamp_small(range, len, 2, 1); }
static void set_one(void) { stamp_small(range, len, pmd_pages, 1); }

static void set_all_but_last(void)
{
	size_t i;

	fill_small(range, len, 1);
	for (i = 0; i < nr_pmds; i++)
		madvise(page_at(i, pmd_pages - 1), page_size, MADV_DONTNEED);
}

static void set_unreferenced(void)
{
	fill_small(range, len, 1);
	knob_set("/proc/self/clear_refs", "1");
}

static void set_forked(void)
{
	fill_small(range, len, 1);
	child = share_with_child();
}

static void set_huge(void)
{
	fill_small(range, len, 1);
	make_huge(range, len);
}

static void set_pte_thp(void)
{
	set_huge();
	split_pmds(range, len);
}

static void pin_each(size_t page)
{
	fill_small(range, len, 1);
	for (nr_pins = 0; nr_pins < nr_pmds; nr_pins++)
		if (pin_vmsplice(&pins[nr_pins], page_at(nr_pins, page)))
			die("vmsplice: %s", strerror(errno));
}

static void set_pinned(void) { pin_each(pmd_pages / 2); }
static void set_pinned_last(void) { pin_each(pmd_pages - 1); }

/* The table is taken down, 511 pages are isolated, and all of it is undone. */
static void set_pinned_swapped(void)
{
	fill_small(range, len, 1);
	child = share_swapped(range, nr_pmds, pmd_pages - 1, true);
}

/* What the daemon is to make small folios of: all of it, or all but the region of one pinned page. */
static unsigned int order;

static void set_regions(void)
{
	size_enable(order, "never");
	set_full();
	size_enable(order, "madvise");
}

static void set_regions_pinned(void)
{
	size_enable(order, "never");
	set_pinned();
	size_enable(order, "madvise");
}

static void set_regions_done(void)
{
	fault_folios(range, len, order);
	fill(range, len, 1);
	size_enable(order, "madvise");
}

static void set_regions_by_daemon(void)
{
	set_regions();
	if (madvise(range, len, MADV_HUGEPAGE) || khugepaged_wake(PASS_MS))
		die("the daemon does not run");
}

/* One page of each folio had other rights for a while. */
static void set_regions_broken(void)
{
	size_t off;

	set_regions_by_daemon();
	for (off = 5 * page_size; off < len; off += page_size << order)
		if (mprotect(range + off, page_size, PROT_READ) ||
		    mprotect(range + off, page_size, PROT_READ | PROT_WRITE))
			die("mprotect: %s", strerror(errno));
	fill(range, len, 1);
}

/* ---- states of a file; its pages are all mapped unless they are holes ---- */

static void set_file_full(void)
{
	file_fill(&file, 1, 1);
	file_settle(&file);
	range = file.mem;
}

static void set_file_half(void)
{
	file_fill(&file, 2, 1);
	range = file.mem = file_map(&file, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static void set_file_pte_thp(void)
{
	set_file_full();
	make_huge(range, len);
	file_split_pmds(range, len, PROT_READ | PROT_WRITE);
}

/* Each has a table with what one fault brings. */
static void set_file_mappers(size_t nr)
{
	size_t off;

	set_file_full();
	for (nr_mappers = 0; nr_mappers < nr; nr_mappers++) {
		mapper[nr_mappers] = file_map(&file, PROT_READ, MAP_SHARED);
		for (off = 0; off < len; off += pmd_size)
			file_touch(mapper[nr_mappers] + off, 1);
	}
}

static void set_file_1_mapper(void) { set_file_mappers(1); }
static void set_file_16_mappers(void) { set_file_mappers(16); }
static void set_file_256_mappers(void) { set_file_mappers(256); }

static void clear_state(void)
{
	while (nr_mappers)
		region_unmap(mapper[--nr_mappers], nr_pmds);
	while (nr_pins)
		pin_release(&pins[--nr_pins]);
	child_end(child);
	child = 0;
}

/* ---- rows ---- */

struct row {
	const char *name;
	void (*set)(void);
	bool daemon, swap;
	int want;			/* errno of MADV_COLLAPSE */
	bool huge;			/* all of it, or nothing, afterwards */
	unsigned int max_none;		/* khugepaged's limit */
	bool on_file;
	enum file_kind kind;
	size_t pmds;			/* 0: as many as the others */
	size_t folio;			/* the size to collapse to, in bytes; 0: a PMD's */
	bool pagemap;			/* nothing is collapsed */
};

#define FILE_ROW(kind_) .huge = true, .max_none = 511, .on_file = true, .kind = kind_

static const struct row rows[] = {
	{ "madv full",		   set_full,	       .huge = true },
	{ "madv half",		   set_half,	       .huge = true },
	{ "madv 1/512 present",	   set_one,	       .huge = true },
	{ "madv shared after fork", set_forked,	       .huge = true },
	{ "madv PTE-mapped THP",   set_pte_thp,	       .huge = true },
	{ "madv already huge",	   set_huge,	       .huge = true },
	{ "madv pin found by scan", set_pinned,	       .want = -EAGAIN },
	{ "madv pin found by isolation", set_pinned_swapped, .want = -EAGAIN, .swap = true },
	{ "madv scan only",	   set_pinned_last,    .want = -EAGAIN },
	{ "madv nothing mapped",   set_empty,	       .want = -EINVAL },
	{ "daemon full",	   set_full,	       true, .huge = true, .max_none = 511 },
	{ "daemon half",	   set_half,	       true, .huge = true, .max_none = 511 },
	{ "daemon 1/512 present",  set_one,	       true, .huge = true, .max_none = 511 },
	{ "daemon pin found by scan", set_pinned,      true, .max_none = 511 },
	{ "daemon scan, one hole too many", set_all_but_last, true, .max_none = 0 },
	{ "daemon scan, not referenced", set_unreferenced, true, .max_none = 511 },
	{ "daemon already huge",   set_huge,	       true, .huge = true, .max_none = 511 },
	{ "daemon nothing mapped", set_empty,	       true, .max_none = 511 },
	{ "daemon 16 KiB",	   set_regions,	       true, .max_none = 511, .folio = 16 << 10 },
	{ "daemon 64 KiB",	   set_regions,	       true, .max_none = 511, .folio = 64 << 10 },
	{ "daemon 1 MiB",	   set_regions,	       true, .max_none = 511, .folio = 1 << 20 },
	{ "daemon 64 KiB, one page pinned", set_regions_pinned, true, .max_none = 511, .folio = 64 << 10 },
	{ "daemon 64 KiB, nothing to do", set_regions_done, true, .max_none = 511, .folio = 64 << 10 },
	{ "pagemap of 64 KiB, by faults", set_regions_done, .folio = 64 << 10, .pagemap = true },
	{ "pagemap of 64 KiB, by daemon", set_regions_by_daemon, .folio = 64 << 10, .pagemap = true, .max_none = 511 },
	{ "pagemap of 64 KiB, blocks broken", set_regions_broken, .folio = 64 << 10, .pagemap = true, .max_none = 511 },
	{ "madv shmem full",	   set_file_full,      FILE_ROW(MEMFD) },
	{ "madv shmem half",	   set_file_half,      FILE_ROW(MEMFD) },
	{ "madv shmem PTE-mapped THP", set_file_pte_thp, FILE_ROW(MEMFD) },
	{ "madv shmem 1 more mapping", set_file_1_mapper, FILE_ROW(MEMFD), .pmds = 4 },
	{ "madv shmem 16 more mappings", set_file_16_mappers, FILE_ROW(MEMFD), .pmds = 4 },
	{ "madv shmem 256 more mappings", set_file_256_mappers, FILE_ROW(MEMFD), .pmds = 4 },
	{ "madv ext4 clean",	   set_file_full,      FILE_ROW(EXT4_FILE) },
	{ "madv xfs clean",	   set_file_full,      FILE_ROW(XFS_FILE) },
	{ "daemon shmem full",	   set_file_full,      true, FILE_ROW(MEMFD) },
	{ "daemon shmem half",	   set_file_half,      true, FILE_ROW(MEMFD) },
	{ "daemon shmem PTE-mapped THP", set_file_pte_thp, true, FILE_ROW(MEMFD) },
	{ "daemon ext4 clean",	   set_file_full,      true, FILE_ROW(EXT4_FILE) },
};
#define NR_ROWS (sizeof(rows) / sizeof(rows[0]))

/* ---- the second processor ---- */

static volatile bool busy_wanted, busy;

/*
 * While it is wanted: busy in this mm, but never in the way of RCU, nor of an
 * emulator that runs one CPU at a time and goes to the next one at a pause.
 */
static void *sibling(void *unused)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(1, &set);
	sched_setaffinity(0, sizeof(set), &set);
	for (;;) {
		busy = busy_wanted;
		if (!busy) {
			sleep_ms(1);
			continue;
		}
		sched_yield();
#ifdef __x86_64__
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#endif
	}
	return NULL;
}

static void keep_busy(bool on)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) == 1)
		return;
	busy_wanted = on;
	while (busy != on)
		sleep_ms(1);
}

/* ---- one measurement ---- */

static void wait_asleep(void)
{
	int err = khugepaged_wait_asleep(PASS_MS);

	if (err)
		die("khugepaged does not end its pass: %s", strerror(-err));
}

/* What happens between two readings; no row: as little as there can be. */
static int act(const struct row *row, bool daemon)
{
	if (daemon) {
		khugepaged_idle();		/* writing wakes it */
		wait_asleep();
	}
	if (row && row->pagemap)
		return count_pages(0, range, len, PAGE_PRESENT) != len / page_size;
	return row && !daemon ? collapse(range, len) : 0;
}

static int act_measured(const struct row *row, bool daemon, bool events, struct gauge *g)
{
	int err;

	if (daemon)
		wait_asleep();
	keep_busy(true);
	gauge_start(g, daemon ? khugepaged_pid() : 0, events);
	err = act(row, daemon);
	gauge_stop(g);
	keep_busy(false);
	return err;
}

/* Folios of the row's size, in all. */
static size_t nr_folios;

static void measure(const struct row *row, bool daemon, bool events, struct gauge *g)
{
	size_t huge;
	int err;

	if (!row) {
		act_measured(NULL, daemon, events, g);
		return;
	}
	knob_set_num("khugepaged/max_ptes_none", row->max_none);
	size_enable(pmd_order(), row->folio ? "never" : "inherit");
	order = row->folio ? __builtin_ctzl(row->folio / page_size) : 0;
	if (order)
		size_enable(order, "madvise");
	if (row->on_file) {
		file_create(&file, row->kind, nr_pmds);
		row->set();
		if (daemon)
			file_advise(&file);
	} else {
		range = region_map_used(nr_pmds);
		if (daemon && madvise(range, len, MADV_HUGEPAGE))
			die("MADV_HUGEPAGE: %s", strerror(errno));
		row->set();
	}
	/* Without this, what a fork() left shared would be copied on the way. */
	act_measured(NULL, false, events, g);
	err = act_measured(row, daemon, events, g);
	/* The daemon leaves it to a fault to map what it made of a file. */
	if (row->on_file && daemon)
		file_wait_huge(range, len, nr_pmds, 0);
	huge = count_huge(0, range, len);
	if (err != row->want || huge != (row->huge ? nr_pmds : 0))
		die("row \"%s\" returned %s with %zu of %zu PMDs huge, expected %s and %s",
		    row->name, err ? strerrorname_np(-err) : "0", huge, nr_pmds,
		    row->want ? strerrorname_np(-row->want) : "0", row->huge ? "all" : "none");
	nr_folios = order ? count_folios(range, len, order) : 0;
	if (order)
		size_enable(order, "never");
	clear_state();
	if (row->on_file)
		file_close(&file);
	else
		region_unmap(range, nr_pmds);
}

static void least(struct gauge *best, const struct gauge *g, bool first, enum gauge_unit from, enum gauge_unit to)
{
	int i;

	for (i = from; i <= (int)to; i++)
		if (first || g->v[i] < best->v[i])
			best->v[i] = g->v[i];
}

/* Two series: counting events costs instructions, so they are apart. */
static void run_row(const struct row *row, bool daemon, struct gauge *best)
{
	struct gauge g;
	int rep;

	for (rep = -1; rep < 2 * reps; rep++) {
		bool events = rep >= reps;

		measure(row, daemon, events, &g);
		if (rep < 0)
			continue;
		if (!events)
			least(best, &g, rep == 0, INSN, INSN);
		least(best, &g, rep == 0, IPI_TLB, IPI_CALL);
		if (events) {
			least(best, &g, rep == reps, PAGE_ALLOC, MMAP_WRITE);
			least(best, &g, rep == reps, TLB_FLUSH, TLB_FLUSH);
		}
	}
}

/* ---- surroundings ---- */

static void settle_on_cpu0(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (sched_setaffinity(0, sizeof(set), &set) ||
	    sched_setaffinity(khugepaged_pid(), sizeof(set), &set))
		die("sched_setaffinity: %s", strerror(errno));
}

static void print(bool csv, const char *name, const struct gauge *g, enum gauge_unit from, enum gauge_unit to)
{
	int i;

	if (!csv)
		printf("%-32s", name);
	for (i = from; i <= (int)to; i++) {
		if (csv)
			printf("%s,%s,%.2f\n", name, gauge_name[i], g->v[i]);
		else
			printf(" %12.*f", i == INSN ? 0 : 2, g->v[i]);
	}
	if (!csv)
		printf("\n");
}

/* Why this row cannot be measured here, or NULL. */
static const char *missing(const struct row *row)
{
	if (row->on_file)
		return file_kind_missing(row->kind);
	if (row->folio)
		return size_there(__builtin_ctzl(row->folio / page_size)) ? NULL : "no folios of this size";
	return row->swap && swap_setup(64) ? "no swap device" : NULL;
}

int main(int argc, char **argv)
{
	bool csv = argc == 2 && !strcmp(argv[1], "--csv");
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	enum gauge_unit from = cpus == 1 ? INSN : IPI_TLB;
	enum gauge_unit to = cpus == 1 ? MMAP_WRITE : TLB_FLUSH;
	struct gauge nothing[2], g;
	pthread_t thread;
	size_t i, u, all;

	if (argc > 1 && !csv) {
		fprintf(argv[1][1] == 'h' || !strcmp(argv[1], "--help") ? stdout : stderr,
			"usage: bench [--csv]\nCosts of collapses, per 2 MiB; run as root, best in a guest under -icount.\n");
		return strcmp(argv[1], "--help") && strcmp(argv[1], "-h") ? 2 : 0;
	}
	collapse_init();
	knobs_baseline();
	/* A second CPU that is never idle makes everything slower. */
	all = nr_pmds = cpus == 1 ? MAX_PMDS : MAX_PMDS / 2;
	reps = cpus == 1 ? 5 : 3;
	len = nr_pmds * pmd_size;
	knob_set_num("khugepaged/pages_to_scan", 1u << 20);
	if (!clock_counts_instructions())
		gauge_name[INSN] = "ns";

	khugepaged_register(PASS_MS);
	settle_on_cpu0();
	if (cpus > 1 && pthread_create(&thread, NULL, sibling, NULL))
		die("pthread_create");

	if (!csv) {
		printf("%-32s", "per 2 MiB");
		for (u = from; u <= (size_t)to; u++)
			printf(" %12s", gauge_name[u]);
		printf("\n");
	}
	run_row(NULL, false, &nothing[0]);
	run_row(NULL, true, &nothing[1]);
	for (i = 0; i < NR_ROWS; i++) {
		if (missing(&rows[i])) {
			fprintf(stderr, "bench: %s, row \"%s\" left out\n", missing(&rows[i]), rows[i].name);
			continue;
		}
		nr_pmds = rows[i].pmds ? rows[i].pmds : all;
		len = nr_pmds * pmd_size;
		run_row(&rows[i], rows[i].daemon, &g);
		for (u = 0; u < NR_GAUGES; u++)
			g.v[u] = (g.v[u] - nothing[rows[i].daemon].v[u]) / nr_pmds;
		print(csv, rows[i].name, &g, from, to);
		if (rows[i].folio && cpus == 1)
			printf(csv ? "%s,regions,%.2f\n" : "%s: %.2f regions\n", rows[i].name,
			       (double)nr_folios / nr_pmds);
		fflush(stdout);
	}
	swap_teardown();
	return 0;
}
