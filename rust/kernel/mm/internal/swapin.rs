// SPDX-License-Identifier: GPL-2.0

//! Bringing a region back from swap, ahead of a collapse.
//!
//! Locks: the mmap lock for read, which a fault may drop when it has to wait for I/O or for a
//! folio; the caller's VMA is gone then. No page-table lock is held on entry.
//! Context: sleeps.
//!
//! C: `__collapse_huge_page_swapin()`.

use crate::{
    bindings,
    mm::{
        internal::lru,
        mmap_lock::{
            LockedVma,
            Read, //
        },
        pgtable::{
            MappedPtes,
            PmdEntry,
            PmdView, //
        },
        region::Region, //
    }, //
};

/// Why not everything was brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapinStop {
    /// The PTE table has gone.
    NoTable,
    /// The fault had to wait and dropped the mmap lock.
    Retry,
    /// The fault failed: no memory, an I/O error, poison.
    Failed,
}

impl<'mm> LockedVma<'mm, Read> {
    /// Faults in all swap entries of a region.
    ///
    /// Returns how many were brought back, and the VMA if the mmap lock is still held and nothing
    /// failed. The lock is dropped in all other cases.
    pub fn swap_in(self, region: &Region) -> (u32, Result<LockedVma<'mm, Read>, SwapinStop>) {
        let mut swapped_in = 0;
        let done = |this: &LockedVma<'mm, Read>| {
            let PmdView::Table(entry) = this.pmd(region.pmd()) else {
                return Ok(Err(SwapinStop::NoTable));
            };
            swap_in_entries(&entry, region, &mut swapped_in)
        };
        // SAFETY: `swap_in_entries` returns `Err` only after a fault dropped the mmap lock.
        let result = match unsafe { self.may_unlock(done) } {
            Ok((vma, Ok(()))) => Ok(vma),
            // Here the VMA is dropped and with it the lock.
            Ok((_, Err(stop))) => Err(stop),
            Err(stop) => Err(stop),
        };
        if result.is_ok() && swapped_in > 0 {
            // The faults left the folios in this CPU's cache, whose reference would look like a pin.
            lru::drain();
        }
        (swapped_in, result)
    }
}

/// The outer error says that the mmap lock was dropped, the inner one that it was not.
fn swap_in_entries(
    entry: &PmdEntry<'_>,
    region: &Region,
    swapped_in: &mut u32,
) -> Result<Result<(), SwapinStop>, SwapinStop> {
    let mut mapped: Option<MappedPtes<'_>> = None;
    for index in region.indices() {
        let ptes = match mapped.take().or_else(|| entry.map_ptes()) {
            Some(ptes) => ptes,
            None => return Ok(Err(SwapinStop::NoTable)),
        };
        let Some(orig) = ptes.swap_entry(index) else {
            mapped = Some(ptes);
            continue;
        };
        // SAFETY: The mmap lock is held for read; a retry is reported to the caller as its loss.
        let fault = unsafe { ptes.swap_in(region, index, orig) };
        if fault & bindings::vm_fault_reason_VM_FAULT_RETRY != 0 {
            return Err(SwapinStop::Retry);
        }
        if fault & bindings::COLLAPSE_FAULT_ERROR != 0 {
            return Ok(Err(SwapinStop::Failed));
        }
        *swapped_in = swapped_in.wrapping_add(1);
    }
    Ok(Ok(()))
}
