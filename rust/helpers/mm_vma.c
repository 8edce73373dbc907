// SPDX-License-Identifier: GPL-2.0

#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/userfaultfd_k.h>

__rust_helper void rust_helper_mmap_write_lock(struct mm_struct *mm)
{
	mmap_write_lock(mm);
}

__rust_helper void rust_helper_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

__rust_helper bool rust_helper_mm_flags_test(int flag, const struct mm_struct *mm)
{
	return mm_flags_test(flag, mm);
}

__rust_helper void rust_helper_vma_start_write(struct vm_area_struct *vma)
{
	vma_start_write(vma);
}

__rust_helper bool rust_helper_vma_is_anonymous(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma);
}

__rust_helper bool rust_helper_userfaultfd_armed(struct vm_area_struct *vma)
{
	return userfaultfd_armed(vma);
}

__rust_helper bool rust_helper_userfaultfd_missing(struct vm_area_struct *vma)
{
	return userfaultfd_missing(vma);
}

__rust_helper bool rust_helper_userfaultfd_protected(struct vm_area_struct *vma)
{
	return userfaultfd_protected(vma);
}

__rust_helper bool rust_helper_collapse_vma_maybe_guarded(struct vm_area_struct *vma)
{
	return vma_test_atomic_flag(vma, VMA_MAYBE_GUARD_BIT);
}

__rust_helper bool
rust_helper_thp_vma_suitable_order(struct vm_area_struct *vma, unsigned long addr, int order)
{
	return thp_vma_suitable_order(vma, addr, order);
}

__rust_helper unsigned long
rust_helper_thp_vma_allowable_orders(struct vm_area_struct *vma, vm_flags_t vm_flags, enum tva_type type, unsigned long orders)
{
	return thp_vma_allowable_orders(vma, vm_flags, type, orders);
}

__rust_helper void
rust_helper_add_mm_counter(struct mm_struct *mm, int member, long value)
{
	add_mm_counter(mm, member, value);
}
