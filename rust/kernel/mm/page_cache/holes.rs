// SPDX-License-Identifier: GPL-2.0

//! What the commit will take: memory for its entry, and the room of the holes of shmem.
//!
//! Locks: the `i_pages` lock and shmem's own, within; all folios of the extent are locked.
//! Context: sleeps.
//! Units: pages.
//!
//! C: `shmem_charge()`, `shmem_uncharge()`, the `rollback` of `collapse_file()`.

use crate::{
    bindings,
    mm::page_cache::{
        xas::{
            CommitCursor,
            LockedEntries,
            XaState, //
        },
        CacheFolios,
        Extent,
        Mapping, //
    }, //
};
use core::mem::ManuallyDrop;

/// What the holes take of the file system's limit, and the nodes for their entries. Dropping it
/// gives all back.
///
/// # Invariants
///
/// `nr` pages are counted in shmem's accounts and in those of the mapping, if `charged`.
pub(super) struct HoleCharge<'m> {
    mapping: &'m Mapping,
    extent: Extent,
    nr: usize,
    charged: bool,
}

impl<'m> HoleCharge<'m> {
    fn new(folios: &CacheFolios<'m>) -> Option<Self> {
        let (mapping, extent) = (folios.mapping, folios.extent);
        // INVARIANT: Nothing is charged yet. The destructor frees nodes that stay empty.
        let mut this = Self {
            mapping,
            extent,
            nr: folios.holes(),
            charged: false,
        };
        if !mapping.is_shmem() || !XaState::create_nodes(mapping, extent) {
            return None;
        }
        // SAFETY: The inode is valid, and it is one of shmem.
        this.charged = unsafe { bindings::shmem_charge(mapping.inode(), this.nr as isize) };
        this.charged.then_some(this)
    }

    /// The holes are filled: the charge is that of the pages.
    #[inline]
    pub(super) fn spend(self) {
        let _ = ManuallyDrop::new(self);
    }
}

impl Drop for HoleCharge<'_> {
    fn drop(&mut self) {
        let mut entries = LockedEntries::lock(self.mapping);
        entries.free_empty_nodes(self.extent);
        if !self.charged {
            return;
        }
        // SAFETY: The mapping is valid. The count is changed under the lock that `entries` holds.
        unsafe {
            let nrpages = &raw mut (*self.mapping.as_raw()).nrpages;
            *nrpages = (*nrpages).wrapping_sub(self.nr);
        }
        drop(entries);
        // SAFETY: The inode is valid and was charged.
        unsafe { bindings::shmem_uncharge(self.mapping.inode(), self.nr as isize) };
    }
}

/// All folios of an extent, the right to fill its holes, and the memory that the commit may take.
///
/// # Invariants
///
/// `cursor` is that of the extent of `folios`.
#[must_use = "everything is undone when the value is dropped"]
pub struct ReservedExtent<'m> {
    // The order of the fields is the order of the undoing.
    pub(super) charge: Option<HoleCharge<'m>>,
    pub(super) cursor: CommitCursor<'m>,
    pub(super) folios: CacheFolios<'m>,
}

impl<'m> CacheFolios<'m> {
    /// Reserves what the commit needs: memory for its entry, and for holes memory for theirs and
    /// room in the file system. Sleeps. If there is none, the folios are put back.
    pub fn reserve(mut self) -> Option<ReservedExtent<'m>> {
        let cursor = CommitCursor::new(self.mapping, self.extent)?;
        let charge = if self.holes > 0 {
            Some(HoleCharge::new(&self)?)
        } else {
            None
        };
        // Copying takes long; reclaim, ours among it, waits for isolated folios.
        self.folios.settle();
        // INVARIANT: Made for the extent.
        Some(ReservedExtent {
            charge,
            cursor,
            folios: self,
        })
    }
}

impl<'m> ReservedExtent<'m> {
    /// The folios.
    #[inline]
    pub fn folios(&self) -> &CacheFolios<'m> {
        &self.folios
    }
}
