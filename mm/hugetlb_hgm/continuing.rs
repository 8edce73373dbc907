// SPDX-License-Identifier: GPL-2.0

//! `UFFDIO_CONTINUE`: mapping what is in the page cache, in pieces of 4 KiB.
//!
//! Locks: mmap or VMA lock of the caller; for each huge page the fault mutex, and in it the HugeTLB VMA
//! lock for read; then the folio lock, and the lock of the table. A folio that is locked is not truncated,
//! and the fault mutex keeps away everybody else who would fill the slot. A table is allocated with the
//! fault mutex alone, and put into the slot with the VMA lock and the `i_mmap_rwsem` for write; until the
//! former is held for read again, somebody who unmaps the range may have taken it away, as it is empty, so
//! that another is needed.

#![forbid(unsafe_code)]

use kernel::{
    bindings,
    kthread::cond_resched,
    mm::{
        hugetlb::{
            killed,
            FaultMutex,
            HgmVma,
            SlotFolio,
            SlotState,
            SpareTable,
            TablesLock,
            VmaReadLock, //
        },
        region::{
            PmdAddr,
            PteIndex,
            HPAGE_PMD_SIZE, //
        }, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// How often a table that was made for a huge page may be gone at once.
const TRIES: u32 = 8;

/// Maps a range; returns how many bytes, or the error if there are none. `flags` are for C.
pub(crate) fn continue_range(
    vma: &HgmVma,
    start: usize,
    len: usize,
    flags: bindings::uffd_flags_t,
) -> Result<usize> {
    let end = start.checked_add(len).ok_or(EINVAL)?;
    let mut addr = start;
    let mut outcome = Ok(());
    while addr < end && outcome.is_ok() {
        let at = PmdAddr::align_down(addr);
        let piece_end = at.next().map_or(end, |next| next.get().min(end));
        let piece = piece_end.saturating_sub(addr);
        let done = continue_piece(vma, at, addr.saturating_sub(at.get()), piece, flags);
        outcome = match done {
            Ok(done) if done < piece => Err(EEXIST),
            Ok(_) if killed() => Err(EINTR),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        addr = addr.saturating_add(done.unwrap_or(0));
        cond_resched();
    }
    match (addr.saturating_sub(start), outcome) {
        (0, Err(error)) => Err(error),
        (done, _) => Ok(done),
    }
}

/// The same for a piece of one huge page. What is done ends at the first entry that is not empty.
fn continue_piece(
    vma: &HgmVma,
    at: PmdAddr,
    offset: usize,
    len: usize,
    flags: bindings::uffd_flags_t,
) -> Result<usize> {
    let mutex = FaultMutex::lock(vma, at);
    let first = PteIndex::new(offset / PAGE_SIZE).ok_or(EINVAL)?;
    for _ in 0..TRIES {
        {
            let tables = VmaReadLock::lock(vma);
            let slot = tables.slot_or_alloc(at)?;
            match slot.state() {
                SlotState::Table => {
                    let folio = usable_folio(vma, at)?;
                    let done = slot.map_small(&folio, first, len / PAGE_SIZE);
                    return Ok(done.saturating_mul(PAGE_SIZE));
                }
                _ if len == HPAGE_PMD_SIZE => {
                    return slot.continue_whole(&mutex, flags).map(|()| len);
                }
                // Before a table is made: one without a leaf would only be in the way.
                _ => drop(usable_folio(vma, at)?),
            }
        }
        let spare = SpareTable::alloc(vma)?;
        let tables = TablesLock::lock(vma).ok_or(ENOMEM)?;
        let slot = tables.slot(at).ok_or(EAGAIN)?;
        slot.install_table(spare, &mutex)?;
    }
    Err(EAGAIN)
}

/// What the page cache has for the slot, if it may be mapped. The fault mutex keeps it there.
fn usable_folio(vma: &HgmVma, at: PmdAddr) -> Result<SlotFolio<'_>> {
    let folio = vma.lock_folio(at).ok_or(EFAULT)?;
    if folio.is_hwpoisoned() {
        Err(EIO)
    } else if folio.has_too_many_leaves() {
        Err(ENOMEM)
    } else {
        Ok(folio)
    }
}
