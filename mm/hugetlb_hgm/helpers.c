// SPDX-License-Identifier: GPL-2.0
/* Inlines and macros around the TLB, which modules have not, so that they are not among the helpers of Rust. */

#include <linux/hugetlb.h>
#include <linux/hugetlb_hgm.h>
#include <linux/pgalloc.h>
#include <asm/tlb.h>

#include "../internal.h"
#include "helpers.h"

void hgm_flush_range(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	flush_tlb_range(vma, start, end);
}

void hgm_tlb_remove_entry(struct mmu_gather *tlb, pte_t *ptep, unsigned long addr)
{
	tlb_remove_tlb_entry(tlb, ptep, addr);
}

void hgm_tlb_remove_refs(struct mmu_gather *tlb, struct folio *folio, unsigned int nr)
{
	if (nr && __tlb_remove_folio_pages(tlb, folio_page(folio, 0), nr, false))
		tlb_flush_mmu(tlb);
}

void hgm_tlb_free_table(struct mmu_gather *tlb, pgtable_t table, unsigned long addr)
{
	pte_free_tlb(tlb, table, addr);
}
