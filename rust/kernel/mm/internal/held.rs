// SPDX-License-Identifier: GPL-2.0

//! The folios that a table maps, held on to while a collapse copies them.
//!
//! C takes every folio off its LRU list, which takes the lock of the list each time, and hands it
//! to the batch of those on their way to a list when it is done with it. That is not needed: what
//! keeps others from changing a folio is its lock, which is held from before the first copy until
//! its mappings here are gone and its swap is free. Whoever waits for the lock finds a folio that
//! was not touched, or one as during `munmap()`: without mappings here, while the mmu_gather still
//! has its reference. So a small folio stays on its list until it is freed, with others under one
//! hold of the list's lock. Who may come across it in the meantime:
//!
//! - reverse-map walks, be it for reclaim, migration, KSM, page idle tracking or poison, take the
//!   folio lock, or try to and leave it alone;
//! - aging (MGLRU) comes to entries without the lock, by a neighbour in the same table, under the
//!   ptl. It finds no table, or no entry, and changes nothing but accessed bits;
//! - reclaim, compaction and offlining may take the folio off its list, with a reference of their
//!   own, before or after ours is taken. They then wait for the lock, or give the folio back. If
//!   that is just when we have let go of the lock and not yet of the reference, reclaim may give
//!   swap space to a dead folio, which it frees later; so it is with `munmap()`;
//! - the batches on the way to or between lists (activation, `mlock()`, lazy freeing) have a
//!   reference of their own. If it was there before, the folio is refused; if it comes later, by
//!   another process's mapping, they change flags and lists only;
//! - another process that has the folio mapped since a fork, or brings it in from the swap cache,
//!   may read. To write without a copy it would need the folio lock and the only reference. So
//!   references may appear after the count was compared, but none through which this memory is
//!   written: GUP finds no entry in the table.
//!
//! A large folio is taken off its list as in C: it may be mapped by many entries, and to know it
//! again there has to be one place where it is written down, which is the chain of
//! [`IsolatedFolios`]. It is paid for once for all of its pages.
//!
//! Locks: the folio lock of each member, which is only tried for. The LRU lock, within.
//! Context: does not sleep.
//! Units: folios.
//!
//! C: `release_pte_folio()`, and the part of `__collapse_huge_page_isolate()` that it undoes.

use super::lru::{
    Busy,
    DeadFolios,
    IsolatedFolios, //
};
use crate::{
    bindings,
    mm::{
        folio::Folio,
        region::HPAGE_PMD_NR, //
    },
    prelude::*, //
};
use core::ptr::NonNull;

/// Room for as many folios as a table can map. Made once, as a table may have thousands of entries.
///
/// # Invariants
///
/// There is capacity for [`HPAGE_PMD_NR`] folios. We own the lock of each folio that is in it, and
/// a reference; each is small. Unless a [`HeldFolios`] borrows it there is none.
pub struct FolioRoom(KVVec<NonNull<bindings::folio>>);

// SAFETY: Neither the lock nor a reference of a folio is bound to a task.
unsafe impl Send for FolioRoom {}

impl FolioRoom {
    /// Allocates. Sleeps.
    pub fn new() -> Result<Self> {
        // INVARIANT: Just made.
        Ok(Self(KVVec::with_capacity(HPAGE_PMD_NR, GFP_KERNEL)?))
    }
}

/// Folios that are locked and have a reference of ours. Dropping the value lets go of them; those
/// that nobody else refers to are freed.
#[must_use = "the folios are let go when the value is dropped"]
pub(crate) struct HeldFolios<'h> {
    small: &'h mut FolioRoom,
    large: IsolatedFolios,
}

impl<'h> HeldFolios<'h> {
    /// No folio yet.
    #[inline]
    pub(crate) fn new(room: &'h mut FolioRoom) -> Self {
        Self {
            small: room,
            large: IsolatedFolios::new(),
        }
    }

    /// Locks a folio and makes sure that only page tables refer to it. A large one may be held
    /// already.
    ///
    /// On an error the folio is as it was.
    ///
    /// C: the middle of `__collapse_huge_page_isolate()`.
    #[inline]
    pub(crate) fn hold(&mut self, folio: &Folio) -> Result<(), Busy> {
        if folio.is_large() {
            return self.large.isolate_once(folio);
        }
        let raw = folio.as_raw();
        // SAFETY: The folio is not freed while it is borrowed.
        if !unsafe { bindings::folio_trylock(raw) } {
            return Err(Busy::Locked);
        }
        let held = if folio.has_extra_references() {
            Err(Busy::Referenced)
        } else if !folio.is_on_lru() {
            Err(Busy::NotOnLru)
        } else {
            // There is room for all that a table can map.
            self.small
                .0
                .push_within_capacity(NonNull::from(folio).cast())
                .map_err(|_| Busy::Locked)
        };
        // SAFETY: As above. The lock was just taken; it and the reference belong to `small`, or, on
        // an error, the lock goes.
        unsafe {
            match held {
                Ok(()) => bindings::folio_get(raw),
                Err(_) => bindings::folio_unlock(raw),
            }
        }
        // INVARIANT: What was added was locked and got a reference.
        held
    }

    /// Makes the count of isolated folios visible in `/proc/vmstat`, before work that takes long.
    #[inline]
    pub(crate) fn settle(&mut self) {
        self.large.settle();
    }

    /// Lets go of the folios after their mappings here, or some of them, were removed and the
    /// content copied.
    #[inline]
    pub(crate) fn release_unmapped(&mut self) {
        self.release_small();
        core::mem::replace(&mut self.large, IsolatedFolios::new()).release_unmapped();
    }

    fn release_small(&mut self) {
        let mut freed = DeadFolios::new();
        while let Some(folio) = self.small.0.pop() {
            let folio = folio.as_ptr();
            // SAFETY: By the invariant of the room we own the folio lock, which the first needs and
            // the second gives back, and a reference, which goes to the batch.
            unsafe {
                if bindings::folio_test_swapcache(folio) && !bindings::folio_mapped(folio) {
                    bindings::folio_free_swap(folio);
                }
                bindings::folio_unlock(folio);
                freed.push(folio);
            }
        }
    }
}

impl Drop for HeldFolios<'_> {
    #[inline]
    fn drop(&mut self) {
        // The large ones put themselves back.
        self.release_small();
    }
}
