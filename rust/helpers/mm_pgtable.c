// SPDX-License-Identifier: GPL-2.0

#include <linux/ksm.h>
#include <linux/leafops.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/page_table_check.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>
#include <linux/userfaultfd_k.h>

__rust_helper pmd_t rust_helper_pmdp_get_lockless(pmd_t *pmdp)
{
	return pmdp_get_lockless(pmdp);
}

__rust_helper bool rust_helper_pmd_none(pmd_t pmd)
{
	return pmd_none(pmd);
}

__rust_helper bool rust_helper_pmd_is_migration_entry(pmd_t pmd)
{
	return pmd_is_migration_entry(pmd);
}

__rust_helper bool rust_helper_pmd_present(pmd_t pmd)
{
	return pmd_present(pmd);
}

__rust_helper bool rust_helper_pmd_trans_huge(pmd_t pmd)
{
	return pmd_trans_huge(pmd);
}

__rust_helper bool rust_helper_pmd_bad(pmd_t pmd)
{
	return pmd_bad(pmd);
}

__rust_helper pgtable_t rust_helper_pmd_pgtable(pmd_t pmd)
{
	return pmd_pgtable(pmd);
}

__rust_helper void
rust_helper_pmd_populate(struct mm_struct *mm, pmd_t *pmdp, pgtable_t pte)
{
	pmd_populate(mm, pmdp, pte);
}

__rust_helper spinlock_t *rust_helper_pmd_lock(struct mm_struct *mm, pmd_t *pmdp)
{
	return pmd_lock(mm, pmdp);
}

__rust_helper pmd_t
rust_helper_pmdp_collapse_flush(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp)
{
	return pmdp_collapse_flush(vma, addr, pmdp);
}

__rust_helper void rust_helper_pmdp_get_lockless_sync(void)
{
	pmdp_get_lockless_sync();
}

__rust_helper spinlock_t *rust_helper_pte_lockptr(struct mm_struct *mm, pmd_t *pmdp)
{
	return pte_lockptr(mm, pmdp);
}

/* The lock of a table inside the pmd lock, which is of the same class. */
__rust_helper void rust_helper_collapse_spin_lock_inner(spinlock_t *ptl)
{
	spin_lock_nested(ptl, SINGLE_DEPTH_NESTING);
}

__rust_helper void rust_helper_mm_dec_nr_ptes(struct mm_struct *mm)
{
	mm_dec_nr_ptes(mm);
}

__rust_helper void
rust_helper_page_table_check_pte_clear_range(struct mm_struct *mm, unsigned long addr, pmd_t pmd)
{
	page_table_check_pte_clear_range(mm, addr, pmd);
}

__rust_helper void rust_helper_pte_unmap(pte_t *ptep)
{
	pte_unmap(ptep);
}

__rust_helper pte_t rust_helper_ptep_get(pte_t *ptep)
{
	return ptep_get(ptep);
}

__rust_helper pte_t rust_helper_ptep_get_lockless(pte_t *ptep)
{
	return ptep_get_lockless(ptep);
}

__rust_helper bool rust_helper_pte_none(pte_t pte)
{
	return pte_none(pte);
}

/*
 * All entries of a locked table are none. That is a matter of bits on all that
 * has them, so what none of the entries has, the sum of them has not. Plain
 * reads do: under the lock nobody fills an entry, and no CPU sets a bit in one
 * that is empty.
 */
__rust_helper bool rust_helper_collapse_ptes_none(pte_t *ptep)
{
	pteval_t bits = 0;
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++)
		bits |= pte_val(ptep[i]);
	return pte_none(__pte(bits));
}

__rust_helper bool rust_helper_pte_special(pte_t pte)
{
	return pte_special(pte);
}

__rust_helper bool rust_helper_pte_present(pte_t pte)
{
	return pte_present(pte);
}

__rust_helper bool rust_helper_pte_young(pte_t pte)
{
	return pte_young(pte);
}

__rust_helper bool rust_helper_pte_dirty(pte_t pte)
{
	return pte_dirty(pte);
}

__rust_helper bool rust_helper_pte_uffd(pte_t pte)
{
	return pte_uffd(pte);
}

__rust_helper bool rust_helper_pte_swp_uffd_any(pte_t pte)
{
	return pte_swp_uffd_any(pte);
}

__rust_helper unsigned long rust_helper_pte_pfn(pte_t pte)
{
	return pte_pfn(pte);
}

__rust_helper struct page *rust_helper_pte_page(pte_t pte)
{
	return pte_page(pte);
}

__rust_helper bool rust_helper_is_zero_pfn(unsigned long pfn)
{
	return is_zero_pfn(pfn);
}

__rust_helper void
rust_helper_clear_ptes(struct mm_struct *mm, unsigned long addr, pte_t *ptep, unsigned int nr)
{
	clear_ptes(mm, addr, ptep, nr);
}

__rust_helper pte_t
rust_helper_get_and_clear_ptes(struct mm_struct *mm, unsigned long addr, pte_t *ptep, unsigned int nr)
{
	return get_and_clear_ptes(mm, addr, ptep, nr);
}

__rust_helper void
rust_helper_set_pte_at(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pte)
{
	set_pte_at(mm, addr, ptep, pte);
}

__rust_helper void
rust_helper_ptep_clear(struct mm_struct *mm, unsigned long addr, pte_t *ptep)
{
	ptep_clear(mm, addr, ptep);
}

__rust_helper void rust_helper_ksm_might_unmap_zero_page(struct mm_struct *mm, pte_t pte)
{
	ksm_might_unmap_zero_page(mm, pte);
}

__rust_helper int rust_helper_mm_has_notifiers(struct mm_struct *mm)
{
	return mm_has_notifiers(mm);
}

__rust_helper bool
rust_helper_mmu_notifier_test_young(struct mm_struct *mm, unsigned long addr)
{
	return mmu_notifier_test_young(mm, addr);
}

__rust_helper void
rust_helper_mmu_notifier_range_init(struct mmu_notifier_range *range, enum mmu_notifier_event event, unsigned int flags, struct mm_struct *mm, unsigned long start, unsigned long end)
{
	mmu_notifier_range_init(range, event, flags, mm, start, end);
}

__rust_helper void
rust_helper_mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_start(range);
}

__rust_helper void
rust_helper_mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_end(range);
}
