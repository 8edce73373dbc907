/* SPDX-License-Identifier: GPL-2.0 */
/* Sequences of calls that follow from a seed: the types, and who does what. */
#ifndef FUZZ_H
#define FUZZ_H

#include "fuzz_arena.h"

/* ---- a sequence (fuzz_gen.c) ---- */

enum op_kind {
	OP_MAP, OP_UNMAP, OP_ADVISE, OP_PROTECT, OP_MOVE, OP_RESIZE, OP_WRITE, OP_READ,
	OP_FORK, OP_HOLD, OP_REAP, OP_DAEMON, OP_LIMITS, OP_REGISTER, OP_UNREGISTER, OP_COPY,
	OP_ZERO, OP_CONTINUE, OP_PROTECT_UFFD, OP_MOVE_UFFD, OP_LOCK, OP_UNLOCK, OP_TRUNCATE,
	OP_PUNCH, OP_ALLOCATE, OP_PWRITE, OP_CLEAR_REFS, OP_PIN, OP_UNPIN, NR_OPS
};

/* Pages, numbers of pages, and what else the call takes: see op_text(). */
struct op {
	enum op_kind kind;
	unsigned int a, n, b;
	int x;
};

#define MAX_OPS	40

struct sequence {
	uint64_t seed;
	unsigned int sizes;	/* orders below the PMD's that khugepaged may make */
	bool always, shmem;	/* enabled=always, shmem_enabled=advise */
	bool file, async;	/* a file on tmpfs, not a memfd; uffd resolves write protection */
	unsigned int nr;
	struct op op[MAX_OPS];
};

void generate(struct sequence *s, uint64_t seed);
/* The statement of C that does it. @i: versions of what is written follow from the place. */
void op_text(const struct op *op, unsigned int i, char *text, size_t len);
/* First of the versions that operation number @i writes. */
uint32_t op_version(unsigned int i);

/* ---- what must be in memory (fuzz_model.c; what calls do to it: fuzz_apply.c) ---- */

/* Forgets all; the file has @pages pages. */
void model_start(unsigned int pages);
/* Once, before any fork: what is shared with children. */
void model_init(void);
bool model_may_map(int kind);
/* @op returned @ret: what follows. */
void model_apply(const struct op *op, unsigned int i, long ret);
void model_acted(int act, unsigned int page, unsigned int n, uint32_t version, long ret);
/* The caller is a child now: what a child does not inherit. */
void model_forked(void);
void model_wrote(unsigned int page, uint32_t version);

/*
 * A userfaultfd waits for missing pages right behind a huge page's extent of a
 * file. C takes that for the extent itself, and does not fill its holes.
 */
bool model_behind_extent(void);

/* MADV_FREE was called for some of it, and it was not written since. */
bool model_freed(void);

/* Ways for an access to end, as bits 1 << TOUCHED and so on. */
unsigned int model_ends(unsigned int page, bool write);
/* Content that is right; false: any is. @or_zero: an empty page is, too. */
bool model_content(unsigned int page, uint32_t *version, bool *or_zero);

/* f_check() and f_scan(), with the handler of faults that is in fuzz.c */
int check_page(unsigned int page, uint32_t version, bool or_zero, bool *right);

struct page_region;
int scan_pages(struct page_region *regions, unsigned int max);

/* ---- looking (fuzz_look.c) ---- */

/* Why the sequence failed; empty if it did not. Shared with children. */
extern char *fault;
void look_init(void);
/* Whether the @ends of accesses are among those that can be, and what was read is right. */
void look_accesses(const struct op *op, unsigned int i, long ends);
/* Reads each page that is there, or should have something in it: 0 or 1. */
long look_all(void);
/* Some of it is in swap. */
bool look_swapped(void);
/* Adds how the arena is mapped to the hash; and describes it if there is @text. */
uint64_t look_mapped(uint64_t hash, char *text, size_t len);
uint64_t look_smaps(uint64_t hash, bool print);
uint64_t hash_add(uint64_t hash, const void *data, size_t len);

#endif /* FUZZ_H */
