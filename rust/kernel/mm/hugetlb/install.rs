// SPDX-License-Identifier: GPL-2.0

//! Collapse: one huge leaf in the place of a table of small ones.
//!
//! The folio is the same before and after, nothing is copied. What makes it delicate is who may have the
//! table in hand, and that nothing of the leaves may be lost. All is looked at under both page-table locks
//! before anything is changed; then the slot is cleared and flushed *before* the huge leaf is there, so
//! that no CPU has entries of both sizes, and no GUP-fast walk trusts what it found in the old table.
//!
//! Locks: fault mutex, VMA lock and `i_mmap_rwsem` for write, folio lock; then pmd lock, page-table lock.

use super::{
    Leaf,
    OwnedSlot,
    SlotFolio, //
};
use crate::{
    bindings,
    mm::{
        region::{
            Region,
            HPAGE_PMD_NR, //
        },
        retract::{
            PmdAndTableLock,
            RetractedTable, //
        }, //
    }, //
};

/// What a collapse came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collapsed {
    /// There was no table.
    Already,
    /// The table had no leaf: it is gone, and the slot empty.
    Emptied,
    /// A huge leaf maps the folio.
    Huge,
}

/// Why there was no collapse. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Some of the memory has failed, or must not be touched.
    Poisoned,
    /// A userfaultfd protects some of it.
    Protected,
    /// A part of it is under migration.
    Migrating,
    /// There are holes, which must not be filled.
    Holes,
    /// A leaf does not map what the page cache has.
    Strange,
}

/// What is in a table.
#[derive(Clone, Copy)]
struct Found {
    leaves: u32,
    dirty: bool,
}

impl OwnedSlot<'_> {
    /// Looks at all entries. The table must be locked.
    fn survey(
        &self,
        base: *mut bindings::pte_t,
        folio: Option<&SlotFolio<'_>>,
    ) -> Result<Found, Unfit> {
        let mut found = Found {
            leaves: 0,
            dirty: false,
        };
        for index in Region::whole_table(self.at).indices() {
            // SAFETY: By the invariant of `PteIndex` the entry is inside the table.
            match Leaf::of(unsafe { bindings::ptep_get(base.add(index.get())) }) {
                Leaf::Empty => (),
                Leaf::Marker => return Err(Unfit::Protected),
                Leaf::Poison => return Err(Unfit::Poisoned),
                Leaf::Migration(_) => return Err(Unfit::Migrating),
                Leaf::Mapped(value) if value.is_uffd() => return Err(Unfit::Protected),
                Leaf::Mapped(value) => {
                    let first = value.pfn().wrapping_sub(index.get());
                    if folio.is_none_or(|folio| folio.pfn() != first) {
                        return Err(Unfit::Strange);
                    }
                    found.leaves = found.leaves.wrapping_add(1);
                    found.dirty |= value.is_dirty();
                }
            }
        }
        Ok(found)
    }

    /// Clears the entries of a table that is not in its slot any more, and collects what CPUs have
    /// written of late.
    fn harvest(&self, base: *mut bindings::pte_t) -> bool {
        let mut dirty = false;
        let region = Region::whole_table(self.at);
        for index in region.indices() {
            // SAFETY: The table is ours, and the entry inside of it.
            unsafe {
                let ptep = base.add(index.get());
                if bindings::pte_present(bindings::ptep_get(ptep)) {
                    let addr = region.addr_of(index);
                    let last = bindings::ptep_get_and_clear(self.vma.mm(), addr, ptep);
                    dirty |= bindings::pte_dirty(last);
                }
            }
        }
        dirty
    }

    /// Collapses the table. `folio` is what the page cache has for the slot; `fill` says whether pages of it
    /// that no leaf maps may be mapped.
    pub fn collapse(&self, folio: Option<&SlotFolio<'_>>, fill: bool) -> Result<Collapsed, Unfit> {
        if folio.is_some_and(|folio| !folio.is_for(self)) {
            return Err(Unfit::Strange);
        }
        if folio.is_some_and(|folio| folio.is_hwpoisoned()) {
            return Err(Unfit::Poisoned);
        }
        let (vma, mm, pmd) = (self.vma.as_ptr(), self.vma.mm(), self.pmd.as_ptr());
        // SAFETY: By the type invariant the slot is valid.
        let Some(locks) = (unsafe { PmdAndTableLock::lock(mm, pmd) }) else {
            return Ok(Collapsed::Already);
        };
        // SAFETY: There is a table, which stays, as it is locked.
        let base = unsafe { bindings::hgm_table_base(pmd, self.at.get()) };
        let found = self.survey(base, folio)?;
        let holes = HPAGE_PMD_NR.wrapping_sub(found.leaves as usize);
        if !fill && holes > 0 && found.leaves > 0 {
            return Err(Unfit::Holes);
        }
        // SAFETY: The slot has a table, of which both locks are held, and which nobody else has in hand
        // but GUP-fast. That looks at the slot again once it has a reference.
        let table = unsafe { RetractedTable::unhook(vma, pmd, self.at, &locks) };
        let Some(folio) = folio.filter(|_| found.leaves > 0) else {
            drop(locks);
            drop(table);
            return Ok(Collapsed::Emptied);
        };
        let dirty = self.harvest(base) | found.dirty;
        // One leaf's reference and share in the map count become those of the huge leaf, so that neither
        // is ever zero in between.
        let spare = found.leaves.wrapping_sub(1);
        // SAFETY: The slot is empty, flushed and locked; the folio is that of the slot, and locked, so it
        // cannot be truncated. The leaves had as many shares in the map count.
        unsafe {
            bindings::hugetlb_remove_leaves(folio.as_raw(), spare);
            bindings::hugetlb_count_add(holes as isize, mm);
            if dirty {
                bindings::folio_mark_dirty(folio.as_raw());
            }
            let leaf = bindings::hgm_make_leaf(vma, folio.as_raw(), 0, true);
            bindings::hgm_set_huge_leaf(vma, self.at.get(), pmd, leaf);
        }
        drop(locks);
        drop(table);
        // SAFETY: The references were the leaves'; ours is another.
        unsafe { bindings::folio_put_refs(folio.as_raw(), spare as i32) };
        Ok(Collapsed::Huge)
    }
}
