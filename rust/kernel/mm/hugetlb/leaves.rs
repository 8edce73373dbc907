// SPDX-License-Identifier: GPL-2.0

//! The small leaves of one slot, under their lock: looking at them, filling them, changing their
//! permissions.

use super::{
    Slot,
    SlotFolio, //
};
use crate::{
    bindings,
    mm::region::{
        PteIndex,
        Region, //
    },
    page::PAGE_SIZE,
    types::NotThreadSafe, //
};
use core::mem::ManuallyDrop;

/// What an entry held.
#[derive(Clone, Copy)]
pub struct LeafValue(pub(super) bindings::pte_t);

impl LeafValue {
    /// The page frame that it maps; for what maps one only.
    #[inline]
    pub fn pfn(self) -> usize {
        // SAFETY: Only looks at the value.
        unsafe { bindings::pte_pfn(self.0) }
    }

    /// Whether it was written through.
    #[inline]
    pub fn is_dirty(self) -> bool {
        // SAFETY: Only looks at the value.
        unsafe { bindings::pte_dirty(self.0) }
    }

    /// Whether a userfaultfd protects it.
    #[inline]
    pub fn is_uffd(self) -> bool {
        // SAFETY: Only looks at the value.
        unsafe { bindings::pte_uffd(self.0) }
    }
}

/// What an entry of a table holds.
#[derive(Clone, Copy)]
pub enum Leaf {
    /// Nothing.
    Empty,
    /// A marker that a userfaultfd has left.
    Marker,
    /// Memory that must not be touched.
    Poison,
    /// A page that is on its way to another place.
    Migration(LeafValue),
    /// A page.
    Mapped(LeafValue),
}

impl Leaf {
    /// Tells what a value is.
    #[inline]
    pub fn of(value: bindings::pte_t) -> Self {
        // SAFETY: The functions only look at the value.
        unsafe {
            if bindings::pte_none(value) {
                Leaf::Empty
            } else if bindings::pte_present(value) {
                Leaf::Mapped(LeafValue(value))
            } else if bindings::pte_is_migration(value) {
                Leaf::Migration(LeafValue(value))
            } else if bindings::pte_is_marker(value) && !bindings::pte_is_poison_marker(value) {
                Leaf::Marker
            } else {
                Leaf::Poison
            }
        }
    }
}

/// The table of a slot under its lock.
///
/// # Invariants
///
/// `base` is the first entry of the table of `slot`, and `ptl` its lock, which is held.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct Leaves<'l> {
    pub(super) base: *mut bindings::pte_t,
    ptl: *mut bindings::spinlock_t,
    pub(super) slot: Slot<'l>,
    _nts: NotThreadSafe,
}

impl<'l> Leaves<'l> {
    /// # Safety
    ///
    /// The slot must have a table.
    #[inline]
    pub(super) unsafe fn lock(slot: Slot<'l>) -> Self {
        let pmd = slot.pmd.as_ptr();
        // SAFETY: There is a table, which stays by the invariant of `Slot`.
        unsafe {
            let base = bindings::hgm_table_base(pmd, slot.at.get());
            let ptl = bindings::pte_lockptr(slot.vma.mm(), pmd);
            bindings::spin_lock(ptl);
            // INVARIANT: Locked just now.
            Self {
                base,
                ptl,
                slot,
                _nts: NotThreadSafe,
            }
        }
    }

    /// The lock, which is held and has to be released by the caller.
    #[inline]
    pub(super) fn into_lock(self) -> *mut bindings::spinlock_t {
        ManuallyDrop::new(self).ptl
    }

    /// All entries of a table.
    #[inline]
    pub(super) fn indices(&self) -> impl Iterator<Item = PteIndex> {
        Region::whole_table(self.slot.at).indices()
    }

    /// Where an entry is.
    #[inline]
    pub(super) fn entry(&self, index: PteIndex) -> *mut bindings::pte_t {
        // SAFETY: By the invariants of `PteIndex` and `Leaves` the entry is inside the table.
        unsafe { self.base.add(index.get()) }
    }

    /// The address that an entry is for.
    #[inline]
    pub(super) fn addr(&self, index: PteIndex) -> usize {
        // `PmdAddr` plus an index does not wrap.
        self.slot
            .at
            .get()
            .wrapping_add(index.get().wrapping_mul(PAGE_SIZE))
    }

    /// Reads an entry.
    #[inline]
    pub(super) fn raw(&self, index: PteIndex) -> bindings::pte_t {
        // SAFETY: The entry is valid.
        unsafe { bindings::ptep_get(self.entry(index)) }
    }

    /// Looks at an entry.
    #[inline]
    pub fn leaf(&self, index: PteIndex) -> Leaf {
        Leaf::of(self.raw(index))
    }

    /// Maps a page of the folio, which must be the one for the slot; false if something is there.
    #[inline]
    pub(super) fn map(&mut self, index: PteIndex, folio: &SlotFolio<'_>) -> bool {
        if !matches!(self.leaf(index), Leaf::Empty | Leaf::Marker) {
            return false;
        }
        let (vma, addr, ptep) = (self.slot.vma, self.addr(index), self.entry(index));
        // SAFETY: The table is locked, and the entry empty. The folio cannot be truncated while it is
        // locked; the leaf has its own reference, and its own share in the map count.
        unsafe {
            let leaf = bindings::hgm_make_leaf(vma.as_ptr(), folio.as_raw(), index.get(), true);
            bindings::folio_get(folio.as_raw());
            bindings::hugetlb_add_leaves(folio.as_raw(), 1);
            bindings::hugetlb_count_add(1, vma.mm());
            bindings::set_pte_at(vma.mm(), addr, ptep, bindings::pte_mkdirty(leaf));
            bindings::hgm_mapped(vma.as_ptr(), addr, ptep);
        }
        true
    }

    /// Empties the entries for memory that has failed. They stand for nothing, so nobody has to be told; who
    /// touches what they were for finds out anew whether it has failed.
    pub(super) fn forget_poison(&mut self) {
        for index in self.indices() {
            if matches!(self.leaf(index), Leaf::Poison) {
                // SAFETY: The table is locked, and the entry is not present.
                unsafe {
                    bindings::pte_clear(self.slot.vma.mm(), self.addr(index), self.entry(index))
                };
            }
        }
    }

    /// Lets the leaf do what the VMA allows, after an access to it has failed.
    ///
    /// C: the end of `hugetlb_fault()`, and `hugetlb_wp()` for shared memory.
    #[inline]
    pub fn access(&mut self, index: PteIndex, write: bool) {
        if !matches!(self.leaf(index), Leaf::Mapped(_)) {
            return;
        }
        let (vma, addr, ptep) = (self.slot.vma, self.addr(index), self.entry(index));
        // SAFETY: The table is locked, and the entry maps a page.
        unsafe {
            if bindings::hgm_access(vma.as_ptr(), addr, ptep, write) {
                bindings::hgm_mapped(vma.as_ptr(), addr, ptep);
            }
        }
    }

    /// Gives all leaves other permissions; what is under migration may lose the right to be written.
    /// Returns how many have changed. The caller flushes.
    ///
    /// C: `hugetlb_change_protection()`.
    pub fn protect(&mut self, prot: bindings::pgprot_t) -> usize {
        let vma = self.slot.vma;
        let mut changed: usize = 0;
        for index in self.indices() {
            let (addr, ptep) = (self.addr(index), self.entry(index));
            match self.leaf(index) {
                Leaf::Empty | Leaf::Marker | Leaf::Poison => continue,
                Leaf::Mapped(_) => {
                    // SAFETY: The table is locked, and the entry maps a page.
                    unsafe { bindings::hgm_protect_leaf(vma.as_ptr(), addr, ptep, prot) };
                }
                Leaf::Migration(LeafValue(mut value)) => {
                    // SAFETY: Only works on the value, which is an entry for migration.
                    if !unsafe { bindings::hgm_migration_wrprotect(&mut value) } {
                        continue;
                    }
                    // SAFETY: The table is locked.
                    unsafe { bindings::set_pte_at(vma.mm(), addr, ptep, value) };
                }
            }
            changed = changed.wrapping_add(1);
        }
        changed
    }
}

impl Drop for Leaves<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held.
        unsafe { bindings::spin_unlock(self.ptl) }
    }
}
