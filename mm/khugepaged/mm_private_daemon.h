/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KHUGEPAGED_MM_PRIVATE_DAEMON_H
#define _MM_KHUGEPAGED_MM_PRIVATE_DAEMON_H

/*
 * What the Rust khugepaged uses of mm/internal.h and mm/page_alloc.h for the
 * free-memory reserve, and the shims of helpers_daemon.c. That file includes
 * all three, so a prototype that drifts breaks the build.
 */

/* mm/internal.h */
extern int min_free_kbytes;
void setup_per_zone_wmarks(void);
void calculate_min_free_kbytes(void);
void set_recommended_min_free_kbytes(void);

/* mm/page_alloc.h */
extern int user_min_free_kbytes;

/* helpers_daemon.c */
unsigned int khugepaged_nr_fragmentable_zones(void);
void khugepaged_report_min_free_kbytes(int from, unsigned long to);

#endif
