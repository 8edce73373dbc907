// SPDX-License-Identifier: GPL-2.0

//! Walks of page tables: what they do with a slot they do with each leaf of its table.

use super::{
    Slot,
    SlotState, //
};
use crate::{
    bindings,
    mm::region::{
        PteIndex,
        HPAGE_PMD_SIZE, //
    },
    page::{
        PAGE_MASK,
        PAGE_SIZE, //
    },
    prelude::*, //
};
use core::ptr::NonNull;

/// A walk.
///
/// # Invariants
///
/// `walk` is valid, has the operation `hugetlb_entry`, and is in a VMA whose HugeTLB lock is held.
pub struct Walk(NonNull<bindings::mm_walk>);

impl Walk {
    /// Wraps a pointer.
    ///
    /// # Safety
    ///
    /// As the type invariant says, for as long as the value lives.
    #[inline]
    pub unsafe fn from_raw(walk: NonNull<bindings::mm_walk>) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(walk)
    }

    /// Shows the walk each entry of a table in a range of addresses that the slot is for, empty ones too;
    /// stops at the first answer that is not 0, and returns it. May sleep.
    ///
    /// C: `walk_hugetlb_range()`.
    pub fn leaves(&mut self, slot: &Slot<'_>, start: usize, end: usize) -> c_int {
        let walk = self.0.as_ptr();
        // SAFETY: By the type invariant.
        let Some(entry) = (unsafe { (*(*walk).ops).hugetlb_entry }) else {
            return 0;
        };
        if slot.state() != SlotState::Table {
            return 0;
        }
        let limit = slot.at().get().saturating_add(HPAGE_PMD_SIZE);
        let (mut addr, end) = (start, end.min(limit));
        while addr < end {
            let next = (addr & PAGE_MASK).saturating_add(PAGE_SIZE).min(end);
            let index = PteIndex::of_addr(addr);
            // SAFETY: There is a table, which stays while the VMA lock is held, and the entry is inside of
            // it. No lock is held that would forbid to sleep.
            let result = unsafe {
                let base = bindings::hgm_table_base(slot.pmd.as_ptr(), slot.at().get());
                entry(base.add(index.get()), PAGE_MASK, addr, next, walk)
            };
            if result != 0 {
                return result;
            }
            addr = next;
        }
        0
    }
}
