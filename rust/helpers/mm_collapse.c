// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of the memory-management abstractions that khugepaged stands on.
 * Public inlines and macros only: everything here is exported to modules.
 */

#include "mm_daemon.c"
#include "mm_folio.c"
#include "mm_page_cache.c"
#include "mm_pgtable.c"
#include "mm_vma.c"
