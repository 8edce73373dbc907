// SPDX-License-Identifier: GPL-2.0
/*
 * Shims around what mm/ keeps private to itself. They decide nothing: each
 * calls one function of mm/internal.h, which bindgen cannot see.
 */

#include <linux/dax.h>
#include <linux/debugfs.h>
#include <linux/fault-inject.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/shmem_fs.h>
#include <linux/xarray.h>

#include <asm/tlb.h>

#include "../internal.h"
#include "mm_private.h"

void khugepaged_anon_vma_lock_write(struct anon_vma *anon_vma)
{
	anon_vma_lock_write(anon_vma);
}

void khugepaged_anon_vma_unlock_write(struct anon_vma *anon_vma)
{
	anon_vma_unlock_write(anon_vma);
}

bool khugepaged_node_reclaim_enabled(void)
{
	return node_reclaim_enabled();
}

/* Public, but in a header that x86 cannot include into what modules may use. */
void khugepaged_table_sync_one(void)
{
	tlb_remove_table_sync_one();
}

/*
 * Fault in the swap entry @orig_pte. Consumes the mapping @pte; drops the mmap
 * lock when the result has VM_FAULT_RETRY.
 */
vm_fault_t khugepaged_swapin_pte(struct vm_area_struct *vma, unsigned long addr,
				 pmd_t *pmd, pte_t *pte, pte_t orig_pte,
				 spinlock_t *ptl)
{
	struct vm_fault vmf = {
		.vma = vma,
		.address = addr,
		.pgoff = linear_page_index(vma, addr),
		.flags = FAULT_FLAG_ALLOW_RETRY,
		.pmd = pmd,
		.pte = pte,
		.orig_pte = orig_pte,
		.ptl = ptl,
	};

	return do_swap_page(&vmf);
}

/* A cursor whose nodes the mapping accounts for. */
void khugepaged_xas_init(struct xa_state *xas, struct address_space *mapping,
			 pgoff_t index, unsigned int order)
{
	XA_STATE_ORDER(init, &mapping->i_pages, index, order);

	mapping_set_update(&init, mapping);
	*xas = init;
}

/*
 * Map @folio, which is locked, by a PMD at @addr. The upper levels may be
 * missing. The mmap lock is held.
 */
bool khugepaged_map_file_pmd(struct vm_area_struct *vma, unsigned long addr,
			     struct folio *folio)
{
	struct mm_struct *mm = vma->vm_mm;
	struct vm_fault vmf = { .vma = vma, .address = addr };
	p4d_t *p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
	pud_t *pud = p4d ? pud_alloc(mm, p4d, addr) : NULL;

	vmf.pmd = pud ? pmd_alloc(mm, pud, addr) : NULL;
	if (!vmf.pmd || do_set_pmd(&vmf, folio, folio_page(folio, 0)))
		return false;
	folio_get(folio);
	return true;
}

#ifdef CONFIG_KHUGEPAGED_RUST_FAULT_INJECTION
static DECLARE_FAULT_ATTR(fail_collapse);
static u32 fail_collapse_step;

/* @step: a value of enum Step in inject.rs; 0 in the file stands for any. */
bool khugepaged_should_fail(u32 step)
{
	u32 wanted = READ_ONCE(fail_collapse_step);

	if (wanted && wanted != step)
		return false;
	return should_fail(&fail_collapse, 1);
}

static int __init fail_collapse_debugfs(void)
{
	struct dentry *dir;

	dir = fault_create_debugfs_attr("fail_collapse", NULL, &fail_collapse);
	if (IS_ERR(dir))
		return PTR_ERR(dir);
	debugfs_create_u32("step", 0600, dir, &fail_collapse_step);
	return 0;
}
late_initcall(fail_collapse_debugfs);
#endif
