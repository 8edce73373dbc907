/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_KHUGEPAGED_MM_PRIVATE_H
#define _MM_KHUGEPAGED_MM_PRIVATE_H

/*
 * What the Rust khugepaged calls of mm/internal.h, and the shims of helpers.c
 * around its inlines. helpers.c includes this file and mm/internal.h, so a
 * prototype that drifts breaks the build. None of these symbols is exported to
 * modules. Those of the Rust wrappers around them are, as everything in the
 * kernel crate is, but no C code can call them.
 */

#include <linux/mm.h>

struct anon_vma;
struct xa_state;

/* mm/internal.h */
bool folio_isolate_lru(struct folio *folio);
void folio_putback_lru(struct folio *folio);
unsigned int folio_pte_batch(struct folio *folio, pte_t *ptep, pte_t pte,
			     unsigned int max_nr);
void lru_add_drain(void);
pmd_t *mm_find_pmd(struct mm_struct *mm, unsigned long address);
void try_to_unmap_flush(void);

/* helpers.c */
void khugepaged_anon_vma_lock_write(struct anon_vma *anon_vma);
void khugepaged_anon_vma_unlock_write(struct anon_vma *anon_vma);
bool khugepaged_node_reclaim_enabled(void);
void khugepaged_table_sync_one(void);
vm_fault_t khugepaged_swapin_pte(struct vm_area_struct *vma, unsigned long addr,
				 pmd_t *pmd, pte_t *pte, pte_t orig_pte,
				 spinlock_t *ptl);
void khugepaged_xas_init(struct xa_state *xas, struct address_space *mapping,
			 pgoff_t index, unsigned int order);
bool khugepaged_map_file_pmd(struct vm_area_struct *vma, unsigned long addr,
			     struct folio *folio);
bool khugepaged_should_fail(u32 step);

#endif
