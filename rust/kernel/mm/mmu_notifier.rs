// SPDX-License-Identifier: GPL-2.0

//! Telling secondary MMUs (KVM, devices) what happens to a range.
//!
//! Locks: [`InvalidateRange::clear`] may sleep and nests inside the mmap lock and the anon_vma
//! lock; no page-table lock may be held.
//! Units: addresses in bytes.
//!
//! C header: [`include/linux/mmu_notifier.h`](srctree/include/linux/mmu_notifier.h)

use crate::{bindings, mm::vma::Vma, types::Opaque};
use core::{
    marker::PhantomData,
    ops::Range, //
};

/// A range that secondary MMUs must not map until this value is dropped.
///
/// # Invariants
///
/// The range was announced with `mmu_notifier_invalidate_range_start()`, its end was not yet.
#[must_use = "the invalidation ends where the value is dropped"]
pub struct InvalidateRange<'v> {
    range: Opaque<bindings::mmu_notifier_range>,
    _vma: PhantomData<&'v Vma>,
}

impl<'v> InvalidateRange<'v> {
    /// Announces that PTEs of a range of addresses are about to be cleared. Sleeps.
    #[inline]
    pub fn clear(vma: &'v Vma, range: Range<usize>) -> Self {
        // SAFETY: The mm is valid while the VMA is borrowed.
        unsafe { Self::clear_in(vma.mm(), range) }
    }

    /// The same, for a VMA that is known by its mm only.
    ///
    /// # Safety
    ///
    /// The mm must be valid for as long as the value lives.
    #[inline]
    pub(super) unsafe fn clear_in(mm: *mut bindings::mm_struct, addrs: Range<usize>) -> Self {
        let this = Self {
            range: Opaque::uninit(),
            _vma: PhantomData,
        };
        // SAFETY: The range is ours to initialise; the mm is valid.
        unsafe {
            bindings::mmu_notifier_range_init(
                this.range.get(),
                bindings::mmu_notifier_event_MMU_NOTIFY_CLEAR,
                0,
                mm,
                addrs.start,
                addrs.end,
            )
        };
        // SAFETY: The range was just initialised. Nothing points to it once this returns.
        unsafe { bindings::mmu_notifier_invalidate_range_start(this.range.get()) };
        // INVARIANT: The start was just announced.
        this
    }
}

impl Drop for InvalidateRange<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the start was announced, and the mm is still valid.
        unsafe { bindings::mmu_notifier_invalidate_range_end(self.range.get()) }
    }
}

/// Whether a secondary MMU has used the page at `addr` of late. Does not sleep.
#[inline]
pub fn test_young(vma: &Vma, addr: usize) -> bool {
    // SAFETY: The mm is valid while the VMA is borrowed.
    unsafe { bindings::mmu_notifier_test_young(vma.mm(), addr) }
}
