/* SPDX-License-Identifier: GPL-2.0 */
/* Two huge pages, one of them split and with a hole: what tests of changes of the mapping start from. */
#ifndef HGM_HALF_H
#define HGM_HALF_H

#include "harness.h"

#define NR 2

/* Of the first huge page the first half and the last small page, and the second one in whole. */
#define PART (SMALLS / 2 + 1)

static inline void half_split(struct arena *a, uint64_t features)
{
	must(arena_hgm(a, UFFD_FEATURE_SIGBUS | features, 0), "registration");
	must(arena_continue(a, 0, HUGE / 2), "half");
	must(arena_continue(a, HUGE - SMALL, SMALL), "last");
	must(arena_continue(a, HUGE, HUGE), "huge");
}

#define LEAVES() mapped_smalls(0, self->a.guest, self->a.len)

/* How many of the small pages that are mapped let themselves be touched. */
static inline int allowed(const struct arena *a, bool write)
{
	struct touch t;
	int n = 0;
	size_t i;

	for (i = 0; i < 2 * SMALLS; i++) {
		char *at = a->guest + i * SMALL;

		if (i >= SMALLS / 2 && i < SMALLS - 1)
			continue;
		n += !(write ? touch_write(at, *(a->source + i * SMALL), &t) : touch_read(at, &t));
	}
	return n;
}

#define ALL ((int)(PART + SMALLS))

#endif /* HGM_HALF_H */
