// SPDX-License-Identifier: GPL-2.0

//! Where C calls in: the only unsafe code of the crate. What each function is for, and which locks are
//! held, is said in include/linux/hugetlb_hgm.h; the safety requirements are those, and that the pointers
//! are valid.

use crate::{
    collapse,
    continuing,
    fault::{
        self,
        Answer, //
    },
    register::Request, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    macros::export,
    mm::{
        folio::Folio,
        hugetlb::{
            has_lock,
            Fault,
            FaultMutex,
            Gather,
            HgmVma,
            OwnedSlot,
            Slot,
            Walk, //
        },
        region::PmdAddr,
        virt::vm_flags_t,
        vma::Vma, //
    },
    prelude::*, //
};

/// # Safety
///
/// The VMA must be valid, have the flag, and be kept for `'a`.
unsafe fn hgm_vma<'a>(vma: *mut bindings::vm_area_struct) -> Option<&'a HgmVma> {
    // SAFETY: By the requirements of this function.
    HgmVma::of(unsafe { Vma::from_raw(vma) })
}

/// # Safety
///
/// As for [`hgm_vma`]. `slot` must be the slot for `addr`, and a lock that keeps tables be held for `'a`.
unsafe fn slot_of<'a>(
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
) -> Option<Slot<'a>> {
    // SAFETY: By the requirements of this function.
    unsafe {
        let vma = hgm_vma(vma)?;
        Some(Slot::from_raw(
            vma,
            PmdAddr::align_down(addr),
            NonNull::new(slot)?,
        ))
    }
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_check_register(
    vma: *mut bindings::vm_area_struct,
    vm_flags: bindings::vm_flags_t,
    feature: bool,
) -> c_int {
    let request = Request {
        modes: vm_flags as vm_flags_t,
        feature,
    };
    // SAFETY: By the requirements of this function.
    let vma = unsafe { Vma::from_raw(vma) };
    request.check(vma).map_or_else(Error::to_errno, |()| 0)
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_continue(
    vma: *mut bindings::vm_area_struct,
    start: usize,
    len: usize,
    flags: bindings::uffd_flags_t,
) -> isize {
    // SAFETY: By the requirements of this function.
    let Some(vma) = (unsafe { hgm_vma(vma) }) else {
        return EINVAL.to_errno() as isize;
    };
    match continuing::continue_range(vma, start, len, flags) {
        Ok(done) => done as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_free_dead_table(
    vma: *mut bindings::vm_area_struct,
    addr: usize,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let Some(vma) = (unsafe { hgm_vma(vma) }) else {
        return EINVAL.to_errno();
    };
    let at = PmdAddr::align_down(addr);
    let mutex = FaultMutex::lock(vma, at);
    fault::free_dead_table(vma, at, &mutex).map_or_else(Error::to_errno, |()| 0)
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_leaf_get(
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
) -> bindings::pte_t {
    // SAFETY: By the requirements of this function.
    let slot = unsafe { slot_of(vma, addr, slot) };
    slot.map_or_else(bindings::pte_t::default, |slot| slot.peek(addr))
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_fault(
    vmf: *mut bindings::vm_fault,
    _mapping: *mut bindings::address_space,
) -> bindings::vm_fault_t {
    let Some(vmf) = NonNull::new(vmf) else {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    };
    // SAFETY: By the requirements of this function.
    let (fault, mutex, tables) = unsafe { Fault::adopt(vmf) };
    match fault::handle(fault, tables, mutex) {
        Answer::Retry => 0,
        Answer::Bus => bindings::vm_fault_reason_VM_FAULT_SIGBUS,
        Answer::Raw(answer) => answer,
    }
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_unmap_table(
    tlb: *mut bindings::mmu_gather,
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
    folio: *mut bindings::folio,
    _zap_flags: bindings::zap_flags_t,
) {
    // SAFETY: By the requirements of this function.
    unsafe {
        let only = (!folio.is_null()).then(|| Folio::from_raw(folio));
        let (Some(hgm), Some(slot), Some(tlb)) =
            (hgm_vma(vma), slot_of(vma, addr, slot), NonNull::new(tlb))
        else {
            return;
        };
        let mut gather = Gather::from_raw(tlb);
        slot.zap(&mut gather, only);
        if has_lock(hgm) {
            OwnedSlot::new(slot).gather_empty_table(&mut gather);
        }
    }
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_protect_table(
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
    newprot: bindings::pgprot_t,
    _cp_flags: usize,
) -> isize {
    // SAFETY: By the requirements of this function.
    let leaves = unsafe { slot_of(vma, addr, slot) }.and_then(|slot| slot.leaves());
    leaves.map_or(0, |mut leaves| leaves.protect(newprot) as isize)
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_move_table(
    vma: *mut bindings::vm_area_struct,
    old_addr: usize,
    new_addr: usize,
    src: *mut bindings::pte_t,
    dst: *mut bindings::pte_t,
) -> bool {
    // SAFETY: By the requirements of this function. Both slots are in the page tables of one mm.
    unsafe {
        let slots = slot_of(vma, old_addr, src).zip(slot_of(vma, new_addr, dst));
        slots.is_some_and(|(from, to)| from.move_table(&to))
    }
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_walk_table(
    slot: *mut bindings::pte_t,
    addr: usize,
    end: usize,
    walk: *mut bindings::mm_walk,
) -> c_int {
    // SAFETY: By the requirements of this function.
    unsafe {
        let Some(walk) = NonNull::new(walk) else {
            return 0;
        };
        let vma = (*walk.as_ptr()).vma;
        let Some(slot) = slot_of(vma, addr, slot) else {
            return 0;
        };
        Walk::from_raw(walk).leaves(&slot, addr, end)
    }
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_table_maps(
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
    pfn: usize,
) -> bool {
    // SAFETY: By the requirements of this function.
    unsafe { slot_of(vma, addr, slot) }.is_some_and(|slot| slot.maps(pfn))
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_migrate_table(
    folio: *mut bindings::folio,
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
) -> bool {
    // SAFETY: By the requirements of this function.
    unsafe {
        if let Some(slot) = slot_of(vma, addr, slot) {
            slot.start_migration(Folio::from_raw(folio));
        }
    }
    true
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_poison_table(
    folio: *mut bindings::folio,
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
) -> bool {
    // SAFETY: By the requirements of this function.
    unsafe {
        if let Some(slot) = slot_of(vma, addr, slot) {
            slot.poison(Folio::from_raw(folio));
        }
    }
    true
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_restore_table(
    new: *mut bindings::folio,
    old: *mut bindings::folio,
    vma: *mut bindings::vm_area_struct,
    addr: usize,
    slot: *mut bindings::pte_t,
) {
    // SAFETY: By the requirements of this function.
    unsafe {
        if let Some(slot) = slot_of(vma, addr, slot) {
            slot.end_migration(Folio::from_raw(new), Folio::from_raw(old));
        }
    }
}

/// # Safety
///
/// See the module.
#[export]
pub unsafe extern "C" fn hgm_madvise_collapse(
    vma: *mut bindings::vm_area_struct,
    start: usize,
    end: usize,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let Some(vma) = (unsafe { hgm_vma(vma) }) else {
        return EINVAL.to_errno();
    };
    collapse::collapse_range(vma, start, end).map_or_else(Error::to_errno, |()| 0)
}
