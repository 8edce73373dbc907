// SPDX-License-Identifier: GPL-2.0

//! A slot whose table may come and go.
//!
//! Locks: the HugeTLB VMA lock and the `i_mmap_rwsem`, both for write; then pmd lock, page-table lock. A
//! table is allocated before any of them is taken ([`SpareTable`]), as that may reclaim memory, for which
//! the reverse map is walked.

use super::{
    FaultMutex,
    Gather,
    HgmVma,
    Slot,
    SlotState, //
};
use crate::{
    bindings,
    mm::retract::{
        PmdAndTableLock,
        RetractedTable, //
    },
    prelude::*, //
};
use core::ops::Deref;

/// A table that no slot has yet; it is freed if none gets it.
///
/// # Invariants
///
/// `table` is null, or an empty table of `mm` that is ours; the mm is kept.
pub struct SpareTable {
    mm: *mut bindings::mm_struct,
    table: bindings::pgtable_t,
}

impl SpareTable {
    /// Allocates one. Sleeps. Fails with `ENOMEM`.
    pub fn alloc(vma: &HgmVma) -> Result<Self> {
        let mm = vma.mm();
        // SAFETY: The mm is valid, as its VMA is locked.
        let table = unsafe { bindings::pte_alloc_one(mm) };
        if table.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: Allocated just now. Whoever has the VMA locked keeps the mm.
        Ok(Self { mm, table })
    }
}

impl Drop for SpareTable {
    #[inline]
    fn drop(&mut self) {
        if !self.table.is_null() {
            // SAFETY: By the type invariant the table is ours, and nobody has seen it.
            unsafe { bindings::pte_free(self.mm, self.table) }
        }
    }
}

/// A slot whose table nobody else has in hand, but GUP-fast, which looks at the slot again once it has a
/// reference.
///
/// # Invariants
///
/// The HugeTLB VMA lock of the slot's VMA, which has one, and the `i_mmap_rwsem` of its file are held for
/// write during `'l`.
pub struct OwnedSlot<'l>(Slot<'l>);

impl<'l> OwnedSlot<'l> {
    /// Wraps a slot.
    ///
    /// # Safety
    ///
    /// As the type invariant says.
    #[inline]
    pub unsafe fn new(slot: Slot<'l>) -> Self {
        // INVARIANT: By the requirement of this function.
        Self(slot)
    }

    /// Gives an empty slot this table; one that has a marker loses it. A table that is there already is as
    /// good. Fails with `EEXIST` if something else is there, and with `EINVAL` for a mutex or a table of
    /// somebody else.
    ///
    /// The locks keep away everybody who has looked at the slot, has found no table, and is about to take
    /// what is in it for a huge leaf.
    pub fn install_table(&self, mut spare: SpareTable, mutex: &FaultMutex) -> Result {
        let mm = self.vma.mm();
        if !core::ptr::eq(spare.mm, mm) || !mutex.is_for(self.vma, self.at) {
            return Err(EINVAL);
        }
        if self.state() == SlotState::Marker {
            // SAFETY: By the type invariant the slot is valid. Nothing was mapped, so there is nothing to
            // flush.
            unsafe {
                let pml = bindings::pmd_lock(mm, self.pmd.as_ptr());
                bindings::pmd_clear(self.pmd.as_ptr());
                bindings::spin_unlock(pml);
            }
        }
        match self.state() {
            SlotState::Table => Ok(()),
            SlotState::Marker | SlotState::Leaf => Err(EEXIST),
            SlotState::Empty => {
                // SAFETY: By the type invariant the slot is valid. With the fault mutex nobody else fills
                // it. The function takes the table over and makes the pointer null, or leaves both.
                unsafe { bindings::pmd_install(mm, self.pmd.as_ptr(), &mut spare.table) };
                Ok(())
            }
        }
    }

    /// Frees the table if it has no leaf, so that the slot is empty; false if it has some.
    ///
    /// C: none; tables of HugeTLB memory have only ever been freed with their VMA.
    pub fn free_empty_table(&self) -> bool {
        // SAFETY: By the type invariants the slot is valid, and nobody has its table in hand.
        unsafe {
            let vma = self.vma.as_ptr();
            let Some(locks) = PmdAndTableLock::lock(self.vma.mm(), self.pmd.as_ptr()) else {
                return true;
            };
            let base = bindings::hgm_table_base(self.pmd.as_ptr(), self.at.get());
            if !bindings::collapse_ptes_none(base) {
                return false;
            }
            let table = RetractedTable::unhook(vma, self.pmd.as_ptr(), self.at, &locks);
            drop(locks);
            drop(table);
        }
        true
    }

    /// The same while memory is being unmapped: the table is freed with the pages that it mapped.
    pub fn gather_empty_table(&self, gather: &mut Gather<'_>) {
        // SAFETY: As in `free_empty_table()`. The gather flushes before it frees the table.
        unsafe {
            let mm = self.vma.mm();
            let Some(locks) = PmdAndTableLock::lock(mm, self.pmd.as_ptr()) else {
                return;
            };
            let base = bindings::hgm_table_base(self.pmd.as_ptr(), self.at.get());
            if bindings::collapse_ptes_none(base) {
                let table = bindings::pmd_pgtable(bindings::pmdp_get_lockless(self.pmd.as_ptr()));
                bindings::pmd_clear(self.pmd.as_ptr());
                bindings::mm_dec_nr_ptes(mm);
                drop(locks);
                bindings::hgm_tlb_free_table(gather.as_raw(), table, self.at.get());
            }
        }
    }
}

impl<'l> Deref for OwnedSlot<'l> {
    type Target = Slot<'l>;

    #[inline]
    fn deref(&self) -> &Slot<'l> {
        &self.0
    }
}
