// SPDX-License-Identifier: GPL-2.0
/*
 * Shims around macros of the page allocator that neither bindgen nor a
 * one-line helper on public headers can reach. They decide nothing.
 */

#define pr_fmt(fmt) "khugepaged: " fmt

#include <linux/gfp.h>
#include <linux/mmzone.h>
#include <linux/printk.h>

#include "../internal.h"
#include "../page_alloc.h"
#include "mm_private_daemon.h"

/* Populated zones up to the highest one that GFP_USER memory comes from. */
unsigned int khugepaged_nr_fragmentable_zones(void)
{
	struct zone *zone;
	unsigned int nr = 0;

	for_each_populated_zone(zone)
		nr += zone_idx(zone) <= gfp_zone(GFP_USER);

	return nr;
}

void khugepaged_report_min_free_kbytes(int from, unsigned long to)
{
	pr_info_ratelimited("raising min_free_kbytes from %d to %lu to help transparent hugepage allocations\n",
			    from, to);
}
