// SPDX-License-Identifier: GPL-2.0

//! The mmap lock of a C caller, who goes on to hold it.
//!
//! Locks: the mmap lock, which is held on entry and again on return.
//! Context: as C calls; taking the lock sleeps.
//! Units: addresses in bytes.

use super::{
    Expect,
    LockedVma,
    MmapGuard,
    PinnedMm,
    Read,
    Unfit, //
};
use crate::{
    bindings,
    mm::{
        vma::Vma,
        Mm, //
    },
    types::NotThreadSafe, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// Calls `f` with the first VMA that ends above `addr`, if there is one. The lock is the caller's
/// and stays held; it may be held for write, which allows no less.
///
/// # Safety
///
/// `mm` must be valid and have users, and the current task must hold its mmap lock.
pub unsafe fn with_held_mmap<T>(
    mm: *mut bindings::mm_struct,
    addr: usize,
    f: impl FnOnce(&LockedVma<'_, Read>) -> T,
) -> Option<T> {
    // SAFETY: By the requirements of this function.
    let mm = unsafe { PinnedMm::new(Mm::from_raw(mm)) };
    // INVARIANT: The lock is held, and it is given back to the caller below, not dropped.
    let guard = MmapGuard {
        mm,
        _mode: PhantomData,
        _nts: NotThreadSafe,
    };
    match guard.vma_from(addr) {
        Ok(vma) => {
            let vma = ManuallyDrop::new(vma);
            Some(f(&vma))
        }
        Err(guard) => {
            core::mem::forget(guard);
            None
        }
    }
}

/// The mmap read lock of a C caller that wants it back.
///
/// The caller comes with the lock held and a VMA, and expects the lock held on return; a flag says
/// whether it was dropped in between, so that the caller looks up its VMA again. The destructor
/// takes the lock if it is not held.
pub struct CallerMmap<'a> {
    vma: Option<LockedVma<'a, Read>>,
    mm: PinnedMm<'a>,
    lock_dropped: &'a mut bool,
}

impl<'a> CallerMmap<'a> {
    /// Takes over the caller's lock.
    ///
    /// # Safety
    ///
    /// `vma` must be valid, its mm must have users for `'a`, and the current task must hold the
    /// mmap lock of that mm for read; the caller does not touch the lock during `'a`.
    pub unsafe fn adopt(
        vma: NonNull<bindings::vm_area_struct>,
        lock_dropped: &'a mut bool,
    ) -> Self {
        // SAFETY: The caller passes a valid VMA of a valid mm.
        let mm = unsafe { Mm::from_raw((*vma.as_ptr()).vm_mm) };
        // SAFETY: The caller guarantees users for `'a`.
        let mm = unsafe { PinnedMm::new(mm) };
        // INVARIANT: The caller holds the lock for read and leaves it to us; the mm has users.
        let guard = MmapGuard {
            mm,
            _mode: PhantomData,
            _nts: NotThreadSafe,
        };
        Self {
            // INVARIANT: The VMA belongs to that mm.
            vma: Some(LockedVma { vma, guard }),
            mm,
            lock_dropped,
        }
    }

    /// The VMA, if the lock was not dropped since it was looked up.
    #[inline]
    pub fn vma(&self) -> Option<&Vma> {
        self.vma.as_deref()
    }

    /// Makes sure that the lock is held; looks up the VMA anew if it was dropped. Sleeps.
    pub fn relock(&mut self, expect: &Expect) -> Result<(), Unfit> {
        if self.vma.is_none() {
            self.vma = Some(self.mm.lock_vma::<Read>(expect)?);
        }
        Ok(())
    }

    /// Hands the locked VMA to `f`, which returns it or else has dropped the lock. [`None`] if the
    /// lock is not held to begin with.
    ///
    /// `f` cannot keep the VMA, as it does not know how long it would live, and if it returns one
    /// of another mm, that one is dropped.
    pub fn lend<T>(
        &mut self,
        f: impl for<'x> FnOnce(LockedVma<'x, Read>) -> (Option<LockedVma<'x, Read>>, T),
    ) -> Option<T> {
        let (vma, value) = f(self.vma.take()?);
        self.vma = vma.filter(|vma| core::ptr::eq(vma.pinned_mm().0, self.mm.0));
        if self.vma.is_none() {
            *self.lock_dropped = true;
        }
        Some(value)
    }
}

impl Drop for CallerMmap<'_> {
    fn drop(&mut self) {
        match self.vma.take() {
            Some(vma) => {
                vma.leak();
            }
            // SAFETY: By the invariant of `PinnedMm` the mm is valid. The lock is not held by us.
            None => unsafe { bindings::mmap_read_lock(self.mm.0.as_raw()) },
        }
    }
}
