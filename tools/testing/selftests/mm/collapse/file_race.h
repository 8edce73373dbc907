/* SPDX-License-Identifier: GPL-2.0 */
/* Races over one file: its parts, its threads, its verdict. */
#ifndef COLLAPSE_FILE_RACE_H
#define COLLAPSE_FILE_RACE_H

#include "race.h"

/*
 * PMD 0 never changes: whoever sees it, and however, sees version 1. The last
 * one belongs to a thread that truncates. Those between are the writers'.
 */
struct file_race {
	struct race *r;
	struct filemap f;
	struct file_stat before;
	struct memcg cg;
	char *second;		/* another mapping of all of it, read-only */
	bool may_cut;		/* PUNCH_HOLE and truncation, see file_race_start() */
	long reread;		/* pages checked after leaving memory */
	bool mthp;		/* khugepaged makes folios below the size of a PMD, too */
	long lesser;		/* folios below the size of a PMD that were allocated before */
};

/* A file of stamped pages, advised for the daemon, which runs fast. */
struct file_race *file_race_start(const char *name, enum file_kind kind, size_t nr_pmds);
/* Checks each page in memory, then once more from the disk: 0 or -1. */
int file_race_finish(struct file_race *fr);
/* PMD 0, page @n of it, as @page shows it wherever it is. */
bool file_race_still(struct file_race *fr, const char *page, size_t n);
/* An errno that a collapse may end with; anything else fails the race. */
int file_race_collapse(struct file_race *fr, char *base, size_t pmd);

/* Threads. Their argument is the race; its ->private is the file_race. */
void *file_race_writer(void *race);		/* even pages of the middle PMDs */
void *file_race_writer_odd(void *race);
void *file_race_collapser(void *race);		/* both mappings in turn */
void *file_race_splitter(void *race);		/* PMDs, and folios by debugfs */
void *file_race_reader(void *race);		/* PMD 0 by read() and by load */
void *file_race_truncater(void *race);		/* the last PMD */
void *file_race_reclaimer(void *race);		/* page-out, drop_caches, limits */
void *file_race_mover(void *race);		/* a mapping that mremap() moves */
void *file_race_forker(void *race);		/* children that look and exit */
void *file_race_faulter(void *race);		/* tables given up and faulted in */

/* One for each test: 0, or -1 after the reason was printed. */
int file_race_everything(enum file_kind kind);
int file_race_truncate(enum file_kind kind);
int file_race_mremap(enum file_kind kind);
int file_race_exit(enum file_kind kind);
int file_race_faults(enum file_kind kind);
int file_race_split(enum file_kind kind);
int file_race_window(enum file_kind kind);
int file_race_reclaim(enum file_kind kind);
int file_race_extent(enum file_kind kind);
int file_race_private(enum file_kind kind);
int file_race_pin(enum file_kind kind);
int file_race_migrate(enum file_kind kind);
int file_race_uffd(enum file_kind kind);
int file_race_swap(enum file_kind kind);

#endif /* COLLAPSE_FILE_RACE_H */
