// SPDX-License-Identifier: GPL-2.0

//! A VMA of an mm that may have no user any more, and what huge pages ask of it.
//!
//! Locks: the mmap lock or the VMA lock.
//! Context: any.
//! Units: addresses in bytes.
//!
//! C header: [`include/linux/huge_mm.h`](srctree/include/linux/huge_mm.h)

use crate::{
    bindings,
    mm::{
        region::{
            Orders,
            PmdAddr,
            HPAGE_PMD_ORDER, //
        },
        virt::vm_flags_t, //
    },
    types::Opaque, //
};

/// On whose behalf orders are asked for, which decides whether sysfs has a say.
///
/// C: `enum tva_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TvaType {
    /// khugepaged: sysfs and the advice of the VMA decide.
    Khugepaged,
    /// MADV_COLLAPSE: only what forbids huge pages altogether decides.
    ForcedCollapse,
}

impl TvaType {
    #[inline]
    fn as_raw(self) -> bindings::tva_type {
        match self {
            TvaType::Khugepaged => bindings::tva_type_TVA_KHUGEPAGED,
            TvaType::ForcedCollapse => bindings::tva_type_TVA_FORCED_COLLAPSE,
        }
    }
}

/// A VMA that is kept by a lock.
///
/// Unlike [`VmaRef`](super::virt::VmaRef) it says nothing about `mm_users`, which may have become
/// zero while the lock is held; so there is no way from here to a counted reference to the mm.
///
/// # Invariants
///
/// The VMA is valid, and the mmap lock of its mm or the VMA lock is held, while the reference
/// lives.
#[repr(transparent)]
pub struct Vma(Opaque<bindings::vm_area_struct>);

impl Vma {
    /// Wraps a pointer.
    ///
    /// # Safety
    ///
    /// The VMA must be valid, and the mmap lock of its mm or the VMA lock held, during `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(vma: *mut bindings::vm_area_struct) -> &'a Self {
        // SAFETY: `repr(transparent)`; the rest is promised by the caller.
        unsafe { &*vma.cast() }
    }

    /// The pointer for C.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::vm_area_struct {
        self.0.get()
    }

    /// The mm, which is not freed while `self` is borrowed.
    #[inline]
    pub(super) fn mm(&self) -> *mut bindings::mm_struct {
        // SAFETY: By the type invariant the VMA is valid. The field never changes.
        unsafe { (*self.as_ptr()).vm_mm }
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> vm_flags_t {
        // SAFETY: By the type invariant the VMA is valid and its flags are stable.
        unsafe { (*self.as_ptr()).__bindgen_anon_2.vm_flags }
    }

    /// The address of the first byte.
    #[inline]
    pub fn start(&self) -> usize {
        // SAFETY: By the type invariant the VMA is valid and does not move.
        unsafe { (*self.as_ptr()).__bindgen_anon_1.__bindgen_anon_1.vm_start }
    }

    /// The address behind the last byte.
    #[inline]
    pub fn end(&self) -> usize {
        // SAFETY: By the type invariant the VMA is valid and does not move.
        unsafe { (*self.as_ptr()).__bindgen_anon_1.__bindgen_anon_1.vm_end }
    }

    /// Whether the memory is anonymous.
    #[inline]
    pub fn is_anonymous(&self) -> bool {
        // SAFETY: By the type invariant the VMA is valid and locked.
        unsafe { bindings::vma_is_anonymous(self.as_ptr()) }
    }

    /// Whether anonymous memory was ever faulted in.
    #[inline]
    pub fn has_anon_vma(&self) -> bool {
        // SAFETY: By the type invariant the VMA is valid. `anon_vma` is set once, under a lock
        // that excludes the mmap write lock; a stale null only makes a collapse fail.
        !unsafe { core::ptr::addr_of!((*self.as_ptr()).anon_vma).read_volatile() }.is_null()
    }

    /// Whether the pages may be dropped by the kernel at any time (`VM_DROPPABLE`).
    #[inline]
    pub fn is_droppable(&self) -> bool {
        self.flags() & bindings::COLLAPSE_VM_DROPPABLE as vm_flags_t != 0
    }

    /// Whether a userfaultfd is registered, in any mode.
    #[inline]
    pub fn uffd_armed(&self) -> bool {
        // SAFETY: By the type invariant the VMA is valid and locked.
        unsafe { bindings::userfaultfd_armed(self.as_ptr()) }
    }

    /// Whether a userfaultfd protects pages of it, which it remembers in each PTE.
    #[inline]
    pub fn uffd_protected(&self) -> bool {
        // SAFETY: By the type invariant the VMA is valid and locked.
        unsafe { bindings::userfaultfd_protected(self.as_ptr()) }
    }

    /// Whether a PMD could map all of the range at `at`: it lies in the VMA, and the offset into
    /// the file fits.
    ///
    /// C: `thp_vma_suitable_order()`.
    #[inline]
    pub fn spans(&self, at: PmdAddr) -> bool {
        // SAFETY: By the type invariant the VMA is valid and locked.
        unsafe {
            bindings::thp_vma_suitable_order(self.as_ptr(), at.get(), i32::from(HPAGE_PMD_ORDER))
        }
    }

    /// Which of `orders` may be used here, if the VMA had the flags `flags`.
    ///
    /// C: `thp_vma_allowable_orders()`.
    #[inline]
    pub fn allowable_orders(&self, flags: vm_flags_t, tva: TvaType, orders: Orders) -> Orders {
        // SAFETY: By the type invariant the VMA is valid and locked.
        let bits = unsafe {
            bindings::thp_vma_allowable_orders(self.as_ptr(), flags, tva.as_raw(), orders.bits())
        };
        Orders::from_bits(bits)
    }
}
