// SPDX-License-Identifier: GPL-2.0
/*
 * trace_workload_file: a fixed sequence of collapses and refusals of shared
 * memory and files, through both doors, and the huge_memory trace events each
 * of them causes. Normalised as those of trace_workload; an address becomes
 * the page of the mapping, a name that was made up becomes "file".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "collapse.h"

#define PASS_MS		60000

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum door { MADV, DAEMON };

static struct filemap f;
static char *at;		/* what is collapsed: f.mem, or another mapping */

/* ---- the states: of a file that was just created ---- */

static void full(void)
{
	file_fill(&f, 1, 1);
	file_settle(&f);
}

/* Without a touch: that would fill the holes. */
static void sparse(size_t step, size_t last)
{
	if (step)
		file_fill(&f, step, 1);
	if (last)
		file_write(&f, f.len - page_size, page_size, 1);
	if (file_on_disk(f.kind))
		fsync(f.fd);
	if (!f.mem)
		f.mem = file_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static void empty(void) { sparse(0, 0); }
static void first(void) { sparse(pmd_pages, 0); }
static void last(void) { sparse(0, 1); }
static void half(void) { sparse(2, 0); }
static void unmapped(void) { sparse(1, 0); }
static void hole_at_end(void) { full(); advise(f.mem + f.len - page_size, page_size, MADV_REMOVE); }
static void huge(void) { full(); make_huge(f.mem, f.len); }
static void cleared(void) { huge(); advise(f.mem, f.len, MADV_DONTNEED); }
static void pte_thp(void) { huge(); file_split_pmds(f.mem, f.len, PROT_READ | PROT_WRITE); }
static void nohuge(void) { full(); advise(f.mem, f.len, MADV_NOHUGEPAGE); }
static void pinned(void) { full(); must(pin_vmsplice(&work.pin, f.mem + 100 * page_size), "vmsplice"); }
static void second_pinned(void) { full(); must(pin_vmsplice(&work.pin, f.mem + pmd_size), "vmsplice"); }
static void dirty(void) { full(); file_write(&f, 100 * page_size, page_size, 2); }
static void stored(void) { full(); file_store(f.mem + 100 * page_size, 100 * page_size, page_size, 2); }

static void half_a_thp(void)
{
	pte_thp();
	advise(f.mem + pmd_size / 2, pmd_size / 2, MADV_DONTNEED);
}

static void not_cached(void)
{
	full();
	must(file_drop(&f), "dropping caches");
	f.mem = file_map(&f, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static void swapped(void)
{
	full();
	must(page_out_gone(f.mem + 40 * page_size, 8 * page_size), "page out");
}

static void private_clean(void)
{
	full();
	at = file_map(&f, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	file_touch(at, f.len);
}

static void private_copy(void)
{
	private_clean();
	*(volatile char *)(at + 9 * page_size) = 1;
}

/* A copy, over a huge page that is there. */
static void private_copy_of_huge(void)
{
	private_copy();
	make_huge(f.mem, f.len);
	file_touch(at, f.len);
}

static void guarded(void)
{
	full();
	advise(f.mem + 20 * page_size, page_size, MADV_GUARD_INSTALL);
}

static void truncated(void)
{
	full();
	if (ftruncate(f.fd, 0))
		die("ftruncate: %s", strerror(errno));
}

static void cut_short(void)
{
	full();
	if (ftruncate(f.fd, pmd_size - 100 * page_size))
		die("ftruncate: %s", strerror(errno));
}

static void waited_for_hole(void)
{
	hole_at_end();
	workload_watch(f.mem, f.len, UFFD_FEATURE_MISSING_SHMEM, UFFDIO_REGISTER_MODE_MISSING);
}

static void write_protected(void)
{
	full();
	workload_watch(f.mem, f.len, UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
		UFFDIO_REGISTER_MODE_WP);
	must(uffd_wp(work.uffd, f.mem + 9 * page_size, page_size, true), "UFFDIO_WRITEPROTECT");
}

static void charge_fails(void)
{
	full();
	if (mlock(f.mem, f.len))
		die("mlock: %s", strerror(errno));
	workload_limit();
}

static void alloc_fails(void) { workload_starve(full); }

/* ---- the steps: each for one kind of memory, or for all ---- */

#define SHMEM	1
#define DISK	2
#define BOTH	(SHMEM | DISK)

static const struct step {
	const char *name;
	int who;
	size_t nr_pmds;
	void (*state)(void);
	bool madv_only;
} steps[] = {
	{ "all present", BOTH, 1, full, false },
	{ "three PMDs", BOTH, 3, full, false },
	{ "nobody has touched it", BOTH, 1, unmapped, false },
	{ "nothing there", SHMEM, 1, empty, false },
	{ "only the first page", SHMEM, 1, first, false },
	{ "only the last page", SHMEM, 1, last, false },
	{ "every second page", SHMEM, 1, half, false },
	{ "hole at the end", SHMEM, 1, hole_at_end, false },
	{ "already huge", BOTH, 1, huge, false },
	{ "huge, not mapped", BOTH, 1, cleared, false },
	{ "huge, mapped by PTEs", BOTH, 1, pte_thp, false },
	{ "huge, half of it mapped by PTEs", BOTH, 1, half_a_thp, false },
	{ "eight pages in swap", SHMEM, 1, swapped, false },
	{ "nothing in the page cache", DISK, 1, not_cached, true },
	{ "a page was written", DISK, 1, dirty, false },
	{ "a page was stored to", DISK, 1, stored, false },
	{ "private mapping", BOTH, 1, private_clean, false },
	{ "private mapping with a copy", BOTH, 1, private_copy, true },
	{ "private copy, huge otherwise", BOTH, 1, private_copy_of_huge, false },
	{ "MADV_NOHUGEPAGE", BOTH, 1, nohuge, true },
	{ "pinned page", BOTH, 1, pinned, false },
	{ "three PMDs, the second with a pin", BOTH, 3, second_pinned, false },
	{ "guard page", BOTH, 1, guarded, false },
	{ "truncated", BOTH, 1, truncated, false },
	{ "end of file in the PMD", BOTH, 1, cut_short, false },
	{ "userfaultfd and a hole", SHMEM, 1, waited_for_hole, false },
	{ "userfaultfd write protection", SHMEM, 1, write_protected, false },
	{ "charge fails", BOTH, 1, charge_fails, false },
	{ "allocation fails", BOTH, 1, alloc_fails, false },
};
#define NR_STEPS (sizeof(steps) / sizeof(steps[0]))

/* The daemon's limits; the page cache has no notion of sharing. */
static const struct limit {
	const char *name;
	void (*state)(void);
	int none, swap;
} limits[] = {
	{ "max_ptes_none=0, all present", full, 0, -1 },
	{ "max_ptes_none=0, hole at the end", hole_at_end, 0, -1 },
	{ "max_ptes_none=255, every second page", half, 255, -1 },
	{ "max_ptes_none=256, every second page", half, 256, -1 },
	{ "max_ptes_swap=8, eight in swap", swapped, -1, 8 },
	{ "max_ptes_swap=7, eight in swap", swapped, -1, 7 },
};
#define NR_LIMITS (sizeof(limits) / sizeof(limits[0]))

static void undo(void)
{
	workload_undo();
	if (at != f.mem)
		region_unmap(at, f.nr_pmds);
	file_close(&f);
}

static void run(enum file_kind kind, enum door door, const char *name, size_t nr_pmds,
		void (*state)(void), int none, int swap)
{
	struct workload_counters before, after;
	size_t nr_huge;
	char *text;
	int err = 0;

	workload_limits(none, swap, -1);
	file_create(&f, kind, nr_pmds);
	at = NULL;
	state();
	if (!at)
		at = f.mem;
	/* A state that is advised already would let the daemon see it half made. */
	if (door == DAEMON) {
		struct filemap advised = f;

		advised.mem = at;
		file_advise(&advised);
	}
	normal_before(at, f.len);
	workload_counters_read(&before);
	must(trace_start("huge_memory"), "tracefs");
	if (door == DAEMON)
		must(khugepaged_wake(PASS_MS), "waking khugepaged");
	else
		err = collapse(at, f.len);
	trace_stop();
	workload_counters_read(&after);
	nr_huge = count_huge(0, at, f.len);
	/* What the daemon made is known by the faults that bring it. */
	if (door == DAEMON && !nr_huge && state != truncated && state != cut_short &&
	    state != guarded && state != waited_for_hole)
		file_touch(at, f.len);
	normal_after(at, f.len);

	printf("%s: %s", door == MADV ? "MADV_COLLAPSE" : "khugepaged", name);
	if (door == MADV)
		printf(": %s", err ? strerrorname_np(-err) : "0");
	printf(", %zu of %zu huge, %zu after a touch\n", nr_huge, nr_pmds, count_huge(0, at, f.len));
	text = trace_take();
	normal_print(text);
	free(text);
	workload_counters_print(&before, &after);
	fflush(stdout);
	undo();
}

static void run_kind(enum file_kind kind, const char *name)
{
	int who = file_on_disk(kind) ? DISK : SHMEM;
	enum door door;
	size_t i;

	printf("--- %s\n", name);
	if (file_kind_missing(kind)) {
		printf("left out: %s\n", file_kind_missing(kind));
		return;
	}
	for (door = MADV; door <= DAEMON; door++)
		for (i = 0; i < NR_STEPS; i++)
			if ((steps[i].who & who) && (door == MADV || !steps[i].madv_only))
				run(kind, door, steps[i].name, steps[i].nr_pmds, steps[i].state, -1, -1);
	for (i = 0; who == SHMEM && i < NR_LIMITS; i++)
		run(kind, DAEMON, limits[i].name, 1, limits[i].state, limits[i].none, limits[i].swap);
}

int main(int argc, char **argv)
{
	workload_start(argc, argv, "trace_workload_file");
	run_kind(MEMFD, "memfd");
	run_kind(TMPFS_FILE, "tmpfs");
	run_kind(EXT4_FILE, "ext4");
	run_kind(XFS_FILE, "xfs");
	workload_end("trace_workload_file");
	return 0;
}
