// SPDX-License-Identifier: GPL-2.0

//! A page fault where there are small leaves.
//!
//! Everything is decided by the one leaf that was touched. A table with any leaf that maps something has a
//! folio in the page cache, so no memory is ever allocated here: a table without any is taken away, and the
//! next try finds an empty slot, which is for the code that knows nothing of small leaves.
//!
//! Entries for memory that has failed count only as long as the page cache has the folio that failed. They
//! can outlive it: truncation does not come back for what is not mapped.
//!
//! Locks: the fault mutex, and in it the HugeTLB VMA lock for read, which are given up as soon as they
//! are not needed; the folio lock; the lock of the table.

#![forbid(unsafe_code)]

use kernel::{
    bindings::vm_fault_t,
    mm::{
        hugetlb::{
            Fault,
            FaultMutex,
            HgmVma,
            KeepsTables,
            Leaf,
            Slot,
            TablesLock,
            VmaReadLock, //
        },
        region::{
            PmdAddr,
            PteIndex, //
        }, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// What a fault is told.
pub(crate) enum Answer {
    /// Whatever was to be done is done: try again.
    Retry,
    /// There is nothing that could be mapped.
    Bus,
    /// What C answers.
    Raw(vm_fault_t),
}

/// What a missing leaf needs.
enum Missing {
    /// Nothing more: it is there now, or was all the time.
    Mapped,
    /// The owner of the userfaultfd.
    User,
    /// Another kind of slot, as there is nothing in the page cache.
    NoFolio,
    /// Nothing: the memory has failed.
    Poisoned,
    /// Fewer leaves of the folio.
    TooMany,
}

/// Handles a fault in a slot that has a table.
pub(crate) fn handle(fault: Fault<'_>, tables: VmaReadLock<'_>, mutex: FaultMutex) -> Answer {
    let (vma, at, addr) = (fault.vma(), fault.at(), fault.addr());
    let Some(slot) = tables.slot(at) else {
        return Answer::Retry;
    };
    let found = Leaf::of(slot.peek(addr));
    match found {
        Leaf::Migration(_) => {
            drop(mutex);
            tables.wait_for_migration(addr);
            Answer::Retry
        }
        Leaf::Mapped(_) => {
            if let Some(mut leaves) = slot.leaves() {
                leaves.access(index_of(at, addr), fault.is_write());
            }
            Answer::Retry
        }
        Leaf::Empty | Leaf::Marker | Leaf::Poison => {
            match fill(vma, &slot, index_of(at, addr), found) {
                Missing::Mapped => Answer::Retry,
                Missing::User => Answer::Raw(fault.wait_for_user(tables, mutex)),
                Missing::Poisoned => Answer::Raw(fault.poisoned()),
                // To try again would be to try for ever.
                Missing::TooMany => Answer::Bus,
                Missing::NoFolio => {
                    drop(tables);
                    free_dead_table(vma, at, &mutex).map_or(Answer::Bus, |()| Answer::Retry)
                }
            }
        }
    }
}

/// Which leaf of the slot is for an address.
fn index_of(at: PmdAddr, addr: usize) -> PteIndex {
    PteIndex::new(addr.saturating_sub(at.get()) / PAGE_SIZE).unwrap_or(PteIndex::ZERO)
}

/// Maps a page of what is in the page cache, unless somebody wants to be asked. `found` is what is there now.
fn fill(vma: &HgmVma, slot: &Slot<'_>, index: PteIndex, found: Leaf) -> Missing {
    let Some(folio) = vma.lock_folio(slot.at()) else {
        return Missing::NoFolio;
    };
    if folio.is_hwpoisoned() {
        return Missing::Poisoned;
    }
    if matches!(found, Leaf::Poison) {
        slot.forget_poison();
    }
    if vma.uffd_minor() {
        // An entry that is being rewritten for migration looks empty for a moment, and nobody shall be told
        // of a fault that there is not.
        match slot.leaves().map(|leaves| leaves.leaf(index)) {
            Some(Leaf::Empty | Leaf::Marker) => Missing::User,
            _ => Missing::Mapped,
        }
    } else if folio.has_too_many_leaves() {
        Missing::TooMany
    } else {
        slot.map_small(&folio, index, 1);
        Missing::Mapped
    }
}

/// Makes a slot empty, if it has a table without any leaf that counts. Fails with `EEXIST` if it has some, and
/// with `ENOMEM` if the VMA has not the lock that this needs. With the fault mutex it is not the table that
/// somebody has just made in order to fill it, and nothing comes into the page cache or goes.
pub(crate) fn free_dead_table(vma: &HgmVma, at: PmdAddr, _mutex: &FaultMutex) -> Result {
    let tables = TablesLock::lock(vma).ok_or(ENOMEM)?;
    let Some(slot) = tables.slot(at) else {
        return Ok(());
    };
    if !vma.has_folio(at) {
        slot.forget_poison();
    }
    if slot.free_empty_table() {
        Ok(())
    } else {
        Err(EEXIST)
    }
}
