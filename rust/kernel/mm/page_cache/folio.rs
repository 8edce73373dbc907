// SPDX-License-Identifier: GPL-2.0

//! Folios that we hold a reference to, and the folio lock.
//!
//! Locks: [`LockedFolio`] holds the folio lock.
//! Context: any; nothing here waits for the lock.
//! Units: pages.
//!
//! C header: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::{
    bindings,
    mm::{
        folio::Folio,
        page_cache::Mapping, //
    }, //
};
use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

/// A folio with a reference of our own.
///
/// # Invariants
///
/// We own a reference to the folio.
pub struct FolioRef(NonNull<bindings::folio>);

impl FolioRef {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to the folio.
    #[inline]
    pub(super) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(folio)
    }

    /// Whether somebody beside the page cache, page tables and us holds a reference. Only an
    /// estimate unless the folio is locked.
    #[inline]
    pub fn has_other_references(&self) -> bool {
        let folio = self.as_raw();
        // SAFETY: By the type invariant the folio is not freed.
        unsafe {
            bindings::folio_expected_ref_count(folio).wrapping_add(1)
                != bindings::folio_ref_count(folio)
        }
    }

    /// Locks the folio if nobody else has it locked; else it comes back.
    #[inline]
    pub fn try_lock(self) -> Result<LockedFolio, Self> {
        // SAFETY: By the type invariant the folio is not freed.
        if unsafe { bindings::folio_trylock(self.as_raw()) } {
            // INVARIANT: Locked just now.
            Ok(LockedFolio(self))
        } else {
            Err(self)
        }
    }
}

impl Deref for FolioRef {
    type Target = Folio;

    #[inline]
    fn deref(&self) -> &Folio {
        // SAFETY: By the type invariant the folio is not freed while `self` lives.
        unsafe { Folio::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for FolioRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::folio_put(self.as_raw()) }
    }
}

/// A folio that we have locked: as long as it is in a page cache it stays there.
///
/// # Invariants
///
/// We own the lock of the folio.
#[must_use = "the folio is unlocked when the value is dropped"]
pub struct LockedFolio(FolioRef);

impl LockedFolio {
    /// Takes over a reference and the lock.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to the folio, and have it locked.
    #[inline]
    pub(super) unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(FolioRef(folio))
    }

    /// Gives the reference and the lock to the caller.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<bindings::folio> {
        ManuallyDrop::new(self).0 .0
    }

    /// Whether the folio is in this page cache.
    #[inline]
    pub fn is_in(&self, mapping: &Mapping) -> bool {
        // SAFETY: By the type invariant the folio is not freed, and as it is locked, the mapping
        // does not change.
        let cache = unsafe { bindings::folio_mapping(self.as_raw()) };
        core::ptr::eq(cache, mapping.as_raw())
    }
}

impl Deref for LockedFolio {
    type Target = Folio;

    #[inline]
    fn deref(&self) -> &Folio {
        &self.0
    }
}

impl Drop for LockedFolio {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours. The reference goes after it.
        unsafe { bindings::folio_unlock(self.as_raw()) }
    }
}
