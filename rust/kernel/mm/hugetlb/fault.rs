// SPDX-License-Identifier: GPL-2.0

//! A page fault in HugeTLB memory whose slot has a table.

use super::{
    FaultMutex,
    HgmVma,
    KeepsTables,
    Leaf,
    VmaReadLock, //
};
use crate::{
    bindings,
    mm::region::{
        PmdAddr,
        PteIndex, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A fault.
///
/// # Invariants
///
/// `vmf` is valid during `'f`, and describes a fault in a VMA that is an [`HgmVma`].
pub struct Fault<'f> {
    vmf: NonNull<bindings::vm_fault>,
    _fault: PhantomData<&'f mut ()>,
}

impl<'f> Fault<'f> {
    /// Takes over a fault from `hugetlb_fault()`, with its two locks and its slot.
    ///
    /// # Safety
    ///
    /// `vmf` must be valid during `'f`, and its VMA have `VM_HUGETLB_HGM` and be kept, by its own lock or
    /// the mmap lock. Its slot must be the one for its address; the fault mutex for that, and the HugeTLB
    /// VMA lock for read, must be held and become ours.
    pub unsafe fn adopt(vmf: NonNull<bindings::vm_fault>) -> (Self, FaultMutex, VmaReadLock<'f>) {
        // INVARIANT: By the requirements of this function.
        let this = Self {
            vmf,
            _fault: PhantomData,
        };
        // SAFETY: By the requirements of this function.
        unsafe {
            let mutex = FaultMutex::adopt(this.vma(), this.at());
            let tables = VmaReadLock::adopt(this.kept_vma());
            (this, mutex, tables)
        }
    }

    /// # Safety
    ///
    /// The reference must not be used once somebody has waited for the owner of a userfaultfd.
    #[inline]
    unsafe fn kept_vma(&self) -> &'f HgmVma {
        // SAFETY: By the type invariant. `repr(transparent)`.
        unsafe { &*(*self.vmf.as_ptr()).__bindgen_anon_1.vma.cast() }
    }

    /// The VMA that it is in.
    #[inline]
    pub fn vma(&self) -> &HgmVma {
        // SAFETY: Who waits takes `self` with it.
        unsafe { self.kept_vma() }
    }

    /// The address that was touched.
    #[inline]
    pub fn addr(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.vmf.as_ptr()).__bindgen_anon_1.real_address }
    }

    /// The huge page that it is in.
    #[inline]
    pub fn at(&self) -> PmdAddr {
        PmdAddr::align_down(self.addr())
    }

    /// Whether it was to be written.
    #[inline]
    pub fn is_write(&self) -> bool {
        // SAFETY: By the type invariant.
        let flags = unsafe { (*self.vmf.as_ptr()).flags };
        flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0
    }

    /// Lets the owner of the userfaultfd map what is in the page cache already, and waits for it. The
    /// locks are given up.
    ///
    /// C: `hugetlb_handle_userfault()`.
    pub fn wait_for_user(self, tables: VmaReadLock<'f>, mutex: FaultMutex) -> bindings::vm_fault_t {
        drop(tables);
        drop(mutex);
        // SAFETY: By the type invariant the fault is valid; its VMA is still kept.
        unsafe {
            bindings::handle_userfault(self.vmf.as_ptr(), bindings::HGM_VM_UFFD_MINOR as usize)
        }
    }

    /// The answer that tells the process of failed memory.
    pub fn poisoned(&self) -> bindings::vm_fault_t {
        // SAFETY: The VMA is valid.
        unsafe { bindings::hugetlb_fault_poisoned(self.vma().as_ptr()) }
    }
}

impl VmaReadLock<'_> {
    /// Gives the lock up, and waits for the end of the migration of what maps `addr`, if there is one.
    /// Sleeps.
    ///
    /// C: `migration_entry_wait_huge()`.
    pub fn wait_for_migration(self, addr: usize) {
        let slot = self.slot(PmdAddr::align_down(addr));
        let leaves = slot.and_then(|slot| slot.leaves());
        let locked = leaves.and_then(|leaves| {
            let value = leaves.raw(PteIndex::of_addr(addr));
            matches!(Leaf::of(value), Leaf::Migration(_)).then(|| (value, leaves.into_lock()))
        });
        // The table is not freed before its lock is released.
        drop(self);
        if let Some((value, ptl)) = locked {
            // SAFETY: The lock is held, and released by the function. The entry was read under it.
            unsafe { bindings::softleaf_pte_wait(value, ptl) }
        }
    }
}
