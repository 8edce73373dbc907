/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _MM_HUGETLB_HGM_HELPERS_H
#define _MM_HUGETLB_HGM_HELPERS_H

#include <linux/mm.h>

struct mmu_gather;

/* mm/internal.h */
void pmd_install(struct mm_struct *mm, pmd_t *pmd, pgtable_t *pte);

void hgm_flush_range(struct vm_area_struct *vma, unsigned long start, unsigned long end);
/* A leaf that has just been cleared. */
void hgm_tlb_remove_entry(struct mmu_gather *tlb, pte_t *ptep, unsigned long addr);
/* Drops as many references to the folio once the TLB was flushed. */
void hgm_tlb_remove_refs(struct mmu_gather *tlb, struct folio *folio, unsigned int nr);
/* Frees a table, which no slot has any more, after that. */
void hgm_tlb_free_table(struct mmu_gather *tlb, pgtable_t table, unsigned long addr);

#endif
