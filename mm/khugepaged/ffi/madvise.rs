// SPDX-License-Identifier: GPL-2.0

//! What `madvise()` and uprobes call.

use crate::{
    madvise,
    remap, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    macros::export,
    mm::{
        mmap_lock::{
            with_held_mmap,
            CallerMmap, //
        },
        region::PmdAddr, //
    },
    prelude::*, //
};

/// Changes the flags of a VMA for MADV_HUGEPAGE and MADV_NOHUGEPAGE. The registration follows
/// when the flags are stored.
///
/// # Safety
///
/// `vm_flags` must be valid and ours for the call.
#[export]
pub unsafe extern "C" fn hugepage_madvise(
    _vma: *mut bindings::vm_area_struct,
    vm_flags: *mut bindings::vm_flags_t,
    advice: c_int,
) -> c_int {
    // SAFETY: By the requirement of this function.
    let flags = unsafe { &mut *vm_flags };
    let (set, clear) = match advice as u32 {
        bindings::MADV_HUGEPAGE => (bindings::VM_HUGEPAGE, bindings::VM_NOHUGEPAGE),
        bindings::MADV_NOHUGEPAGE => (bindings::VM_NOHUGEPAGE, bindings::VM_HUGEPAGE),
        _ => return 0,
    };
    *flags = (*flags & !clear) | set;
    0
}

/// Collapses a range of a VMA: MADV_COLLAPSE.
///
/// # Safety
///
/// `vma` must be valid, contain the range, and belong to an mm that has users and whose mmap lock
/// is held for read; `lock_dropped` must be valid and ours for the call.
#[export]
pub unsafe extern "C" fn madvise_collapse(
    vma: *mut bindings::vm_area_struct,
    start: usize,
    end: usize,
    lock_dropped: *mut bool,
) -> c_int {
    let Some(vma) = NonNull::new(vma) else {
        return EINVAL.to_errno();
    };
    // SAFETY: By the requirements of this function. The caller's reference keeps the mm.
    let mut caller = unsafe { CallerMmap::adopt(vma, &mut *lock_dropped) };
    match madvise::madvise_collapse(&mut caller, start, end) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Takes the PTE table away that maps a huge page of a file, after a breakpoint was removed from it,
/// so that a PMD can map it; with `install_pmd` that is done at once. There is nothing to be done
/// about a failure: the page stays mapped by PTEs.
///
/// # Safety
///
/// `mm` must be valid and have users; its mmap lock must be held, for read at least.
#[export]
pub unsafe extern "C" fn collapse_pte_mapped_thp(
    mm: *mut bindings::mm_struct,
    addr: usize,
    install_pmd: bool,
) {
    let at = PmdAddr::align_down(addr);
    // SAFETY: By the requirements of this function.
    unsafe {
        with_held_mmap(mm, at.get(), |vma| {
            remap::remap_locked(vma, at, install_pmd).ok()
        })
    };
}
