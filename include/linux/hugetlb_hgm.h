/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_HUGETLB_HGM_H
#define _LINUX_HUGETLB_HGM_H

/*
 * High-granularity mapping of HugeTLB memory (HGM): where the rest of mm hands
 * over to mm/hugetlb_hgm/.
 *
 * A *slot* is the entry that maps one huge page, what hugetlb_walk() returns; a
 * *table slot* points to a table of smaller *leaves* instead. Only VMAs with
 * VM_HUGETLB_HGM have table slots, and the functions below are for table slots
 * of such VMAs, unless they say otherwise. For all other slots the code of
 * mm/hugetlb.c is right as it is.
 *
 * Documentation/mm/hugetlb-hgm.rst has the locks and the invariants.
 */

#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/userfaultfd_k.h>

/* Whether a huge page of the VMA may be mapped by smaller leaves. */
static inline bool hugetlb_hgm_enabled(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_HUGETLB_HGM;
}

/* Whether the slot of a VMA, which may be NULL, has a table. */
static inline bool hugetlb_hgm_table(const struct vm_area_struct *vma, pte_t *slot)
{
	pmd_t pmd;

	if (!hugetlb_hgm_enabled(vma) || !slot)
		return false;
	pmd = pmdp_get_lockless((pmd_t *)slot);
	return pmd_present(pmd) && !pmd_leaf(pmd);
}

#ifdef CONFIG_HUGETLB_PAGE
/*
 * For ->hugetlb_entry() of a walk, which is called for slots and for leaves: a
 * leaf is told by the mask of its size.
 */
static inline bool hugetlb_entry_is_small(unsigned long hmask)
{
	return IS_ENABLED(CONFIG_HUGETLB_HIGH_GRANULARITY_MAPPING) && hmask == PAGE_MASK;
}

static inline unsigned long hugetlb_entry_size(unsigned long hmask)
{
	return ~hmask + 1;
}

static inline spinlock_t *hugetlb_entry_lock(struct vm_area_struct *vma, pte_t *pte,
					     unsigned long hmask)
{
	spinlock_t *ptl;

	if (!hugetlb_entry_is_small(hmask))
		return huge_pte_lock(hstate_vma(vma), vma->vm_mm, pte);
	ptl = ptep_lockptr(vma->vm_mm, pte);
	spin_lock(ptl);
	return ptl;
}

/*
 * Whether somebody else may map the folio of an entry, which is locked. Each leaf
 * counts as a mapping, so that those of this table are looked for.
 */
static inline bool hugetlb_entry_shared(struct folio *folio, pte_t *pte, unsigned long hmask)
{
	pte_t *leaf = (pte_t *)((unsigned long)pte & PAGE_MASK);
	int i, here = 0;

	if (!hugetlb_entry_is_small(hmask))
		return folio_maybe_mapped_shared(folio) || hugetlb_pmd_shared(pte);
	if (folio_mapcount(folio) > PTRS_PER_PTE)
		return true;
	for (i = 0; i < PTRS_PER_PTE; i++)
		here += pte_present(ptep_get(leaf + i));
	return folio_mapcount(folio) > here;
}
#else
static inline bool hugetlb_entry_shared(struct folio *folio, pte_t *pte, unsigned long hmask)
{
	return folio_maybe_mapped_shared(folio);
}
#endif

/*
 * mm/userfaultfd.c. For any VMA: 0, or why it must not be registered with the
 * modes @vm_flags by a context that has UFFD_FEATURE_MINOR_HUGETLBFS_HGM or not.
 * Held: mmap lock, for write.
 */
#ifdef CONFIG_HUGETLB_HIGH_GRANULARITY_MAPPING
int hgm_check_register(struct vm_area_struct *vma, vm_flags_t vm_flags, bool feature);
#else
static inline int hgm_check_register(struct vm_area_struct *vma, vm_flags_t vm_flags,
				     bool feature)
{
	return 0;
}
#endif
#ifdef CONFIG_USERFAULTFD
/*
 * UFFDIO_CONTINUE of a range of one VMA, in any slots: bytes done, or an error
 * if there are none. Held: mmap or VMA lock, for read.
 */
ssize_t hgm_continue(struct vm_area_struct *vma, unsigned long start,
		     unsigned long len, uffd_flags_t flags);
#endif
/*
 * Makes the slot for @addr empty, if its table is, or has nothing but entries for
 * failed memory that has gone: 0, or -EEXIST. Held: mmap or VMA lock, for read.
 */
int hgm_free_dead_table(struct vm_area_struct *vma, unsigned long addr);
/* The leaf for @addr, in any slot, without a lock. Held: hugetlb VMA lock. */
pte_t hgm_leaf_get(struct vm_area_struct *vma, unsigned long addr, pte_t *slot);
/* In mm/userfaultfd.c: lets those go on who wait for a part of the range. Held: mmap lock. */
void hgm_wake(struct vm_area_struct *vma, unsigned long start, unsigned long len);

/*
 * mm/hugetlb.c. A fault at vmf->real_address. Held: fault mutex, then hugetlb
 * VMA lock for read; both are released.
 */
vm_fault_t hgm_fault(struct vm_fault *vmf, struct address_space *mapping);
/* Held: hugetlb VMA lock and i_mmap_rwsem, for write. So for the next two. */
void hgm_unmap_table(struct mmu_gather *tlb, struct vm_area_struct *vma,
		     unsigned long addr, pte_t *slot, struct folio *folio,
		     zap_flags_t zap_flags);
/* The number of base pages that were changed. The caller flushes. */
long hgm_protect_table(struct vm_area_struct *vma, unsigned long addr,
		       pte_t *slot, pgprot_t newprot, unsigned long cp_flags);
/* To @dst, an empty slot for @new_addr; flushes. False: not empty, nothing is done. */
bool hgm_move_table(struct vm_area_struct *vma, unsigned long old_addr,
		    unsigned long new_addr, pte_t *src, pte_t *dst);

/* mm/pagewalk.c: ->hugetlb_entry() for each leaf. Held: hugetlb VMA lock, for read. */
int hgm_walk_table(pte_t *slot, unsigned long addr, unsigned long end,
		   struct mm_walk *walk);

/* fs/hugetlbfs/inode.c: whether a leaf maps the huge page that starts with @pfn. */
bool hgm_table_maps(struct vm_area_struct *vma, unsigned long addr, pte_t *slot,
		    unsigned long pfn);

/*
 * mm/rmap.c and mm/migrate.c. False: something is in the way. Held: folio lock
 * and i_mmap_rwsem, for write.
 */
bool hgm_migrate_table(struct folio *folio, struct vm_area_struct *vma,
		       unsigned long addr, pte_t *slot);
bool hgm_poison_table(struct folio *folio, struct vm_area_struct *vma,
		      unsigned long addr, pte_t *slot);
void hgm_restore_table(struct folio *new, struct folio *old,
		       struct vm_area_struct *vma, unsigned long addr, pte_t *slot);

/*
 * mm/madvise.c: MADV_COLLAPSE of a range of a VMA, in any slots. Held: mmap lock
 * for read, which is kept.
 */
int hgm_madvise_collapse(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end);

#endif /* _LINUX_HUGETLB_HGM_H */
