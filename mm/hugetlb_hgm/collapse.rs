// SPDX-License-Identifier: GPL-2.0

//! `MADV_COLLAPSE`: huge leaves in the place of small ones.
//!
//! Locks: the caller's mmap lock, for read, which keeps the VMA. For one huge page at a time, and in this
//! order: the fault mutex (no fault, no `UFFDIO_CONTINUE`, no removal from the page cache), the notifier,
//! the HugeTLB VMA lock and the `i_mmap_rwsem` for write (no walk, no truncation, no migration has the
//! table in hand), the folio lock. That one is only tried for, as truncation and memory failures take it
//! first.

#![forbid(unsafe_code)]

use kernel::{
    kthread::cond_resched,
    mm::{
        hugetlb::{
            killed,
            Collapsed,
            FaultMutex,
            HgmVma,
            KeepsTables,
            SlotState,
            TablesLock,
            Unfit,
            VmaReadLock, //
        },
        mmu_notifier::InvalidateRange,
        page_cache::FolioRef,
        region::{
            PmdAddr,
            Region, //
        }, //
    },
    prelude::*, //
};

/// How often somebody may be found to have the folio locked.
const TRIES: u32 = 4;

/// Why a huge page was not collapsed: the first of these that is met anywhere in the range, in this order,
/// is what the caller is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// Some of it has failed.
    Poisoned,
    /// The VMA has no lock, as there was no memory for it.
    NoLock,
    /// A userfaultfd protects a part of it, or is to be asked before the rest is mapped.
    Watched,
    /// Somebody else is at work on it.
    Busy,
    /// The leaves do not map what the file has.
    Strange,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Poisoned => EHWPOISON,
            Failure::NoLock => ENOMEM,
            Failure::Watched => EBUSY,
            Failure::Busy => EAGAIN,
            Failure::Strange => EINVAL,
        }
    }
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Poisoned => Failure::Poisoned,
            Unfit::Protected | Unfit::Holes => Failure::Watched,
            Unfit::Migrating => Failure::Busy,
            Unfit::Strange => Failure::Strange,
        }
    }
}

/// Collapses each huge page that lies in the range as a whole. One that cannot be collapsed does not keep
/// the others from it.
pub(crate) fn collapse_range(vma: &HgmVma, start: usize, end: usize) -> Result {
    let mut worst: Option<Failure> = None;
    for at in vma.slots(start, end) {
        if killed() {
            return Err(EINTR);
        }
        if let Err(failure) = collapse_patiently(vma, at) {
            worst = Some(worst.map_or(failure, |worst| worst.min(failure)));
        }
        cond_resched();
    }
    worst.map_or(Ok(()), |failure| Err(failure.into()))
}

fn collapse_patiently(vma: &HgmVma, at: PmdAddr) -> Result<(), Failure> {
    for _ in 0..TRIES {
        match collapse_once(vma, at) {
            Ok(()) => return Ok(()),
            Err(Obstacle::Failure(failure)) => return Err(failure),
            Err(Obstacle::Locked(folio)) => folio.wait_unlocked(),
        }
    }
    Err(Failure::Busy)
}

/// What one try ended at.
enum Obstacle {
    /// Somebody has the folio locked.
    Locked(FolioRef),
    /// There is no use in waiting.
    Failure(Failure),
}

fn collapse_once(vma: &HgmVma, at: PmdAddr) -> Result<(), Obstacle> {
    let is_table = {
        let tables = VmaReadLock::lock(vma);
        let slot = tables.slot(at);
        slot.is_some_and(|slot| slot.state() == SlotState::Table)
    };
    if !is_table {
        return Ok(());
    }
    let _mutex = FaultMutex::lock(vma, at);
    let _invalidate = InvalidateRange::clear(vma, Region::whole_table(at).addrs());
    let tables = TablesLock::lock(vma).ok_or(Obstacle::Failure(Failure::NoLock))?;
    let folio = match vma.try_lock_folio(at) {
        Some(Ok(folio)) => Some(folio),
        Some(Err(folio)) => return Err(Obstacle::Locked(folio)),
        None => None,
    };
    let Some(slot) = tables.slot(at) else {
        return Ok(());
    };
    // Who collapses its own memory says with it that the holes may be filled. Others cannot know what is in
    // them: a page that has not arrived yet, and that the userfaultfd has to bring first.
    let fill = vma.is_of_current() || !vma.uffd_minor();
    match slot.collapse(folio.as_ref(), fill) {
        Ok(Collapsed::Already | Collapsed::Emptied) => Ok(()),
        Ok(Collapsed::Huge) => {
            // The holes are filled, and somebody may wait for one of them.
            vma.wake_uffd(at);
            Ok(())
        }
        Err(unfit) => Err(Obstacle::Failure(unfit.into())),
    }
}
