// SPDX-License-Identifier: GPL-2.0

//! What C code calls to register address spaces and to control the daemon.
//!
//! `init_per_zone_wmark_min()` and, in principle, `fork()` come before `khugepaged_init()`. They
//! find no state and return, which is what the C implementation does for want of a thread and of a
//! cache to allocate from.
//!
//! Locks: see the functions called; `khugepaged_enter_vma()` runs under the mmap lock.
//! Context: may sleep, except `current_is_khugepaged()`.
//! Units: none.
//!
//! C header: [`include/linux/khugepaged.h`](srctree/include/linux/khugepaged.h)

use crate::{
    daemon,
    policy::Policy,
    tunables, //
};
use kernel::{
    bindings,
    mm::{
        internal::{
            thp,
            watermark, //
        },
        slots::MmSlots,
        virt::vm_flags_t,
        vma::Vma,
        Mm,
        MmWithUser, //
    },
    prelude::*,
};

/// Sets up. Called once, by `hugepage_init()`.
///
/// # Safety
///
/// None; the prototype is C's.
#[export]
pub unsafe extern "C" fn khugepaged_init() -> c_int {
    match daemon::init() {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Called when `hugepage_init()` fails after `khugepaged_init()`. What may be registered already
/// stays valid, so there is nothing to take back.
///
/// # Safety
///
/// None; the prototype is C's.
#[export]
pub unsafe extern "C" fn khugepaged_destroy() {}

/// Starts or stops the thread after a change of what may have huge pages.
///
/// # Safety
///
/// None; the prototype is C's.
#[export]
pub unsafe extern "C" fn start_stop_khugepaged() -> c_int {
    match daemon::get().map_or(Ok(()), |state| state.start_stop()) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Called when the page allocator has set `min_free_kbytes` anew.
///
/// # Safety
///
/// None; the prototype is C's.
#[export]
pub unsafe extern "C" fn khugepaged_min_free_kbytes_update() {
    if let Some(state) = daemon::get() {
        state.update_min_free_kbytes();
    }
}

/// Raises the reserve of free memory for the benefit of huge pages.
///
/// # Safety
///
/// None; the prototype is C's.
#[export]
pub unsafe extern "C" fn set_recommended_min_free_kbytes() {
    watermark::set_recommended_min_free_kbytes();
}

/// Whether the current task is the daemon; reclaim counts its pages apart.
///
/// # Safety
///
/// None; the prototype is C's.
#[export]
pub unsafe extern "C" fn current_is_khugepaged() -> bool {
    daemon::is_current()
}

/// Registers an mm.
///
/// # Safety
///
/// `mm` must have users.
#[export]
pub unsafe extern "C" fn __khugepaged_enter(mm: *mut bindings::mm_struct) {
    // SAFETY: The caller passes an mm that has users.
    enter(unsafe { MmWithUser::from_raw(mm) });
}

fn enter(mm: &MmWithUser) {
    let Some(state) = daemon::get() else {
        return;
    };
    // SAFETY: Once the mm has no users, `__mmput()` calls `khugepaged_exit()` before `exit_mmap()`.
    // That calls `__khugepaged_exit()`, which calls `MmSlots::exit()`, if MMF_VM_HUGEPAGE is set,
    // as it is for each mm in the list.
    if unsafe { state.slots.enter(mm) } {
        state.wake_up();
    }
}

/// Takes out an mm that has no users any more.
///
/// # Safety
///
/// `mm` must be valid.
#[export]
pub unsafe extern "C" fn __khugepaged_exit(mm: *mut bindings::mm_struct) {
    // SAFETY: The caller passes a valid mm.
    let mm = unsafe { Mm::from_raw(mm) };
    if daemon::get().is_some_and(|state| state.slots.exit(mm)) {
        tunables::count_full_scan();
    }
}

/// Registers the mm of a VMA that may get huge pages, if it is not registered yet.
///
/// # Safety
///
/// `vma` must be valid and its mm have users; the caller holds the mmap lock or the VMA's own.
#[export]
pub unsafe extern "C" fn khugepaged_enter_vma(
    vma: *mut bindings::vm_area_struct,
    vm_flags: vm_flags_t,
) {
    // SAFETY: The caller passes a valid VMA of an mm that has users.
    let mm = unsafe { MmWithUser::from_raw((*vma).vm_mm) };
    // SAFETY: The caller passes a VMA that is valid and locked.
    let vma = unsafe { Vma::from_raw(vma) };
    if !MmSlots::is_registered(mm)
        && thp::hugepage_enabled()
        && !Policy::Khugepaged
            .possible_orders_with(vma, vm_flags)
            .is_empty()
    {
        enter(mm);
    }
}
