// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/hugetlb_hgm.h>
#include <linux/leafops.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pgalloc.h>
#include <linux/rmap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

__rust_helper unsigned long rust_helper_hugetlb_vma_page_size(struct vm_area_struct *vma)
{
	return huge_page_size(hstate_vma(vma));
}

__rust_helper bool rust_helper_is_vm_hugetlb_page(const struct vm_area_struct *vma)
{
	return is_vm_hugetlb_page(vma);
}

__rust_helper bool rust_helper_hugetlb_vma_has_lock(struct vm_area_struct *vma)
{
	return __vma_shareable_lock(vma);
}

__rust_helper void rust_helper_hugetlb_fault_mutex_lock(u32 hash)
{
	mutex_lock(&hugetlb_fault_mutex_table[hash]);
}

__rust_helper void rust_helper_hugetlb_fault_mutex_unlock(u32 hash)
{
	mutex_unlock(&hugetlb_fault_mutex_table[hash]);
}

__rust_helper void rust_helper_i_mmap_lock_write(struct address_space *mapping)
{
	i_mmap_lock_write(mapping);
}

__rust_helper void rust_helper_i_mmap_unlock_write(struct address_space *mapping)
{
	i_mmap_unlock_write(mapping);
}

__rust_helper void rust_helper_folio_wait_locked(struct folio *folio)
{
	folio_wait_locked(folio);
}

__rust_helper bool rust_helper_folio_test_hwpoison(const struct folio *folio)
{
	return folio_test_hwpoison(folio);
}

__rust_helper int rust_helper_folio_mapcount(const struct folio *folio)
{
	return folio_mapcount(folio);
}

/* As many leaves more or less map the folio. */
__rust_helper void rust_helper_hugetlb_add_leaves(struct folio *folio, unsigned int nr)
{
	while (nr--)
		hugetlb_add_file_rmap(folio);
}

__rust_helper void rust_helper_hugetlb_remove_leaves(struct folio *folio, unsigned int nr)
{
	while (nr--)
		hugetlb_remove_rmap(folio);
}

__rust_helper void rust_helper_hugetlb_count_add(long pages, struct mm_struct *mm)
{
	hugetlb_count_add(pages, mm);
}

__rust_helper vm_fault_t rust_helper_hugetlb_fault_poisoned(struct vm_area_struct *vma)
{
	return VM_FAULT_HWPOISON_LARGE | VM_FAULT_SET_HINDEX(hstate_index(hstate_vma(vma)));
}

/* ---- slots ---- */

__rust_helper pte_t *rust_helper_hugetlb_walk(struct vm_area_struct *vma, unsigned long addr)
{
	return hugetlb_walk(vma, addr, huge_page_size(hstate_vma(vma)));
}

__rust_helper pte_t *rust_helper_hgm_slot_alloc(struct vm_area_struct *vma, unsigned long addr)
{
	return huge_pte_alloc(vma->vm_mm, vma, addr, huge_page_size(hstate_vma(vma)));
}

__rust_helper pte_t rust_helper_huge_ptep_get(struct vm_area_struct *vma, unsigned long addr,
					      pte_t *slot)
{
	return huge_ptep_get(vma->vm_mm, addr, slot);
}

__rust_helper bool rust_helper_pmd_leaf(pmd_t pmd)
{
	return pmd_leaf(pmd);
}

__rust_helper pgtable_t rust_helper_pte_alloc_one(struct mm_struct *mm)
{
	return pte_alloc_one(mm);
}

__rust_helper void rust_helper_pte_free(struct mm_struct *mm, pgtable_t table)
{
	pte_free(mm, table);
}

__rust_helper pte_t *rust_helper_hgm_table_base(pmd_t *pmd, unsigned long addr)
{
	return pte_offset_kernel(pmd, addr);
}

__rust_helper void rust_helper_pmd_clear(pmd_t *pmd)
{
	pmd_clear(pmd);
}

__rust_helper void rust_helper_hgm_set_huge_leaf(struct vm_area_struct *vma, unsigned long addr,
						 pmd_t *pmd, pte_t pte)
{
	struct hstate *h = hstate_vma(vma);

	pte = arch_make_huge_pte(pte, huge_page_shift(h), vma->vm_flags);
	set_huge_pte_at(vma->vm_mm, addr, (pte_t *)pmd, pte, huge_page_size(h));
	update_mmu_cache_pmd(vma, addr, pmd);
}

/* ---- leaves ---- */

/* What maps page @idx of the folio; writable if the VMA and the caller allow it. */
__rust_helper pte_t rust_helper_hgm_make_leaf(struct vm_area_struct *vma, struct folio *folio,
					      unsigned long idx, bool write)
{
	pte_t pte = pfn_pte(folio_pfn(folio) + idx, vma->vm_page_prot);

	if (write && (vma->vm_flags & VM_WRITE))
		pte = pte_mkwrite_novma(pte_mkdirty(pte));
	else
		pte = pte_wrprotect(pte);
	return pte_mkyoung(pte);
}

__rust_helper void rust_helper_hgm_mapped(struct vm_area_struct *vma, unsigned long addr,
					  pte_t *ptep)
{
	update_mmu_cache(vma, addr, ptep);
}

__rust_helper bool rust_helper_pte_write(pte_t pte)
{
	return pte_write(pte);
}

__rust_helper pte_t rust_helper_pte_mkdirty(pte_t pte)
{
	return pte_mkdirty(pte);
}

__rust_helper pte_t rust_helper_pte_mkyoung(pte_t pte)
{
	return pte_mkyoung(pte);
}

__rust_helper pte_t rust_helper_pte_mkold(pte_t pte)
{
	return pte_mkold(pte);
}

__rust_helper bool rust_helper_pte_is_marker(pte_t pte)
{
	return pte_is_marker(pte);
}

/* A marker that stands for memory that must not be touched. */
__rust_helper bool rust_helper_pte_is_poison_marker(pte_t pte)
{
	return pte_is_marker(pte) &&
	       (softleaf_to_marker(softleaf_from_pte(pte)) & PTE_MARKER_POISONED);
}

__rust_helper bool rust_helper_pte_is_migration(pte_t pte)
{
	return softleaf_is_migration(softleaf_from_pte(pte));
}

__rust_helper bool rust_helper_pte_is_hwpoison(pte_t pte)
{
	return softleaf_is_hwpoison(softleaf_from_pte(pte));
}

__rust_helper unsigned long rust_helper_softleaf_pte_pfn(pte_t pte)
{
	return softleaf_to_pfn(softleaf_from_pte(pte));
}

__rust_helper void rust_helper_softleaf_pte_wait(pte_t pte, spinlock_t *ptl)
{
	softleaf_entry_wait_on_locked(softleaf_from_pte(pte), ptl);
}

__rust_helper pte_t rust_helper_ptep_get_and_clear(struct mm_struct *mm, unsigned long addr,
						   pte_t *ptep)
{
	return ptep_get_and_clear(mm, addr, ptep);
}

__rust_helper void rust_helper_pte_clear(struct mm_struct *mm, unsigned long addr, pte_t *ptep)
{
	pte_clear(mm, addr, ptep);
}

/* An access that the leaf allows, or that the VMA does. False: the leaf was right already. */
__rust_helper bool rust_helper_hgm_access(struct vm_area_struct *vma, unsigned long addr,
					  pte_t *ptep, bool write)
{
	pte_t pte = ptep_get(ptep);

	if (write && (vma->vm_flags & VM_WRITE))
		pte = pte_mkwrite_novma(pte_mkdirty(pte));
	return ptep_set_access_flags(vma, addr, ptep, pte_mkyoung(pte), write);
}

/* The permissions of a present leaf, for mprotect(). */
__rust_helper void rust_helper_hgm_protect_leaf(struct vm_area_struct *vma, unsigned long addr,
						pte_t *ptep, pgprot_t prot)
{
	pte_t old = ptep_modify_prot_start(vma, addr, ptep);

	ptep_modify_prot_commit(vma, addr, ptep, old, pte_modify(old, prot));
}

/* An entry for a page that is on its way to another place, from the leaf that mapped it. */
__rust_helper pte_t rust_helper_hgm_migration_leaf(pte_t old)
{
	softleaf_t entry;
	pte_t pte;

	if (pte_write(old))
		entry = make_writable_migration_entry(pte_pfn(old));
	else
		entry = make_readable_migration_entry(pte_pfn(old));
	if (pte_young(old))
		entry = make_migration_entry_young(entry);
	if (pte_dirty(old))
		entry = make_migration_entry_dirty(entry);
	pte = softleaf_to_pte(entry);
	if (pte_soft_dirty(old))
		pte = pte_swp_mksoft_dirty(pte);
	if (pte_uffd(old))
		pte = pte_swp_mkuffd(pte);
	return pte;
}

/* The same entry for a page that may be written no more; false: it could not be before. */
__rust_helper bool rust_helper_hgm_migration_wrprotect(pte_t *pte)
{
	softleaf_t entry = softleaf_from_pte(*pte);
	pte_t new;

	if (!softleaf_is_migration_write(entry))
		return false;
	/* All of the offset, as it has accessed and dirty beside the frame. */
	entry = make_readable_migration_entry(swp_offset(entry));
	new = softleaf_to_pte(entry);
	if (pte_swp_soft_dirty(*pte))
		new = pte_swp_mksoft_dirty(new);
	if (pte_swp_uffd(*pte))
		new = pte_swp_mkuffd(new);
	*pte = new;
	return true;
}

/* What maps page @idx of the folio in the place of a migration entry. */
__rust_helper pte_t rust_helper_hgm_migrated_leaf(struct vm_area_struct *vma, struct folio *folio,
						  unsigned long idx, pte_t old)
{
	softleaf_t entry = softleaf_from_pte(old);
	pte_t pte = pfn_pte(folio_pfn(folio) + idx, READ_ONCE(vma->vm_page_prot));

	if (!softleaf_is_migration_young(entry))
		pte = pte_mkold(pte);
	if (folio_test_dirty(folio) && softleaf_is_migration_dirty(entry))
		pte = pte_mkdirty(pte);
	if (pte_swp_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	else
		pte = pte_clear_soft_dirty(pte);
	if (softleaf_is_migration_write(entry))
		pte = pte_mkwrite_novma(pte);
	else
		pte = pte_wrprotect(pte);
	if (pte_swp_uffd(old))
		pte = pte_mkuffd(pte);
	return pte;
}

__rust_helper pte_t rust_helper_hgm_hwpoison_leaf(unsigned long pfn)
{
	return softleaf_to_pte(make_hwpoison_entry(pfn_to_page(pfn)));
}

/* ---- the rest ---- */

__rust_helper struct mm_struct *rust_helper_current_mm(void)
{
	return current->mm;
}

__rust_helper bool rust_helper_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

__rust_helper bool rust_helper_userfaultfd_minor(struct vm_area_struct *vma)
{
	return userfaultfd_minor(vma);
}

__rust_helper spinlock_t *rust_helper_hgm_pmd_lockptr(struct mm_struct *mm, pmd_t *pmd)
{
	return pmd_lockptr(mm, pmd);
}
