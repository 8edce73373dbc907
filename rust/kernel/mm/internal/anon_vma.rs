// SPDX-License-Identifier: GPL-2.0

//! The anon_vma lock, which keeps reverse-map walks out of the page tables of anonymous memory.
//!
//! Locks: inside the mmap lock and the VMA lock, outside the folio lock's waiters: who holds it may
//! only *try* to lock a folio. The page-table locks nest in it.
//! Context: sleeps.
//!
//! C header: [`include/linux/rmap.h`](srctree/include/linux/rmap.h)

use crate::{
    bindings,
    mm::{
        detached::ClaimedPmd,
        vma::Vma, //
    },
    types::NotThreadSafe,
};
use core::ptr::NonNull;

/// The anon_vma of a VMA, locked for write: no reverse-map walk is under way in any VMA that
/// shares it.
///
/// # Invariants
///
/// `anon_vma` is that of `vma`, which keeps it for `'v`, and its lock is held for write.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct AnonVmaWrite<'v> {
    anon_vma: NonNull<bindings::anon_vma>,
    vma: &'v Vma,
    _nts: NotThreadSafe,
}

impl<'v> AnonVmaWrite<'v> {
    /// Locks the anon_vma of a VMA that is marked as written; [`None`] if it has none. Sleeps.
    #[inline]
    pub fn lock(claimed: &ClaimedPmd<'v>) -> Option<Self> {
        let vma = claimed.vma();
        // SAFETY: The VMA is valid, and its mmap lock held for write, so the field is stable.
        let anon_vma = NonNull::new(unsafe { (*vma.as_ptr()).anon_vma })?;
        // SAFETY: The VMA holds a reference to its anon_vma.
        unsafe { bindings::khugepaged_anon_vma_lock_write(anon_vma.as_ptr()) };
        // INVARIANT: Just locked; `'v` borrows the VMA.
        Some(Self {
            anon_vma,
            vma,
            _nts: NotThreadSafe,
        })
    }

    /// The VMA whose anon_vma is locked.
    #[inline]
    pub(crate) fn vma(&self) -> &'v Vma {
        self.vma
    }
}

impl Drop for AnonVmaWrite<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held for write.
        unsafe { bindings::khugepaged_anon_vma_unlock_write(self.anon_vma.as_ptr()) }
    }
}
