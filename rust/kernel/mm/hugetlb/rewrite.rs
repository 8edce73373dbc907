// SPDX-License-Identifier: GPL-2.0

//! Putting something else in the place of leaves, for migration and after memory has failed, and back.
//!
//! The callers walk the reverse map of a locked folio, with the `i_mmap_rwsem` for write, so a table stays
//! and nobody else does the same to it. All leaves are rewritten in one hold of their lock and then flushed
//! at once; until then the folio is kept by the caller, and nobody reads or copies it.

use super::{
    leaves::LeafValue,
    Leaf,
    Leaves,
    Slot, //
};
use crate::{
    bindings,
    mm::{
        folio::Folio,
        mmu_notifier::InvalidateRange,
        region::{
            PteIndex,
            Region, //
        }, //
    }, //
};

/// What comes to stand in the place of a leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// An entry for a page on its way. The mm goes on counting it.
    Migration,
    /// An entry for a page that has failed.
    Poison,
}

impl Stand {
    #[inline]
    fn make(self, LeafValue(old): LeafValue) -> bindings::pte_t {
        // SAFETY: Only works on the value, which maps a page.
        unsafe {
            match self {
                Stand::Migration => bindings::hgm_migration_leaf(old),
                Stand::Poison => bindings::hgm_hwpoison_leaf(bindings::pte_pfn(old)),
            }
        }
    }
}

impl Leaves<'_> {
    /// Replaces what maps the folio, flushes, and gives up what the leaves had of the folio.
    fn stand_in(&mut self, folio: &Folio, stand: Stand) {
        let vma = self.slot.vma;
        let (first, mut nr, mut dirty) = (folio.pfn(), 0u32, false);
        for index in self.indices() {
            let Leaf::Mapped(value) = self.leaf(index) else {
                continue;
            };
            if value.pfn().wrapping_sub(index.get()) != first {
                continue;
            }
            let (addr, ptep) = (self.addr(index), self.entry(index));
            // SAFETY: The table is locked. The entry is cleared in one piece with the last look at it, so
            // no bit that the CPU sets is lost.
            unsafe {
                let last = bindings::ptep_get_and_clear(vma.mm(), addr, ptep);
                dirty |= bindings::pte_dirty(last);
                bindings::set_pte_at(vma.mm(), addr, ptep, stand.make(LeafValue(last)));
            }
            nr = nr.wrapping_add(1);
        }
        if nr == 0 {
            return;
        }
        let range = Region::whole_table(self.slot.at).addrs();
        // SAFETY: The VMA is valid. The leaves had as many references, which are not the last ones, and
        // shares in the map count.
        unsafe {
            bindings::hgm_flush_range(vma.as_ptr(), range.start, range.end);
            if dirty {
                bindings::folio_mark_dirty(folio.as_raw());
            }
            bindings::hugetlb_remove_leaves(folio.as_raw(), nr);
            if stand == Stand::Poison {
                bindings::hugetlb_count_add(-(nr as isize), vma.mm());
            }
            bindings::folio_put_refs(folio.as_raw(), nr as i32);
        }
    }

    /// Maps page `index` of `new` where there is an entry for the migration of that of `old`.
    #[inline]
    fn restore(&mut self, index: PteIndex, new: &Folio, old: &Folio) {
        let Leaf::Migration(LeafValue(value)) = self.leaf(index) else {
            return;
        };
        let vma = self.slot.vma;
        // SAFETY: Only looks at the value, which is an entry for migration.
        let pfn = unsafe { bindings::softleaf_pte_pfn(value) };
        if pfn.wrapping_sub(index.get()) != old.pfn() {
            return;
        }
        let (addr, ptep) = (self.addr(index), self.entry(index));
        // SAFETY: The table is locked. The leaf has its own reference, and its own share in the map count.
        unsafe {
            let leaf = bindings::hgm_migrated_leaf(vma.as_ptr(), new.as_raw(), index.get(), value);
            bindings::folio_get(new.as_raw());
            bindings::hugetlb_add_leaves(new.as_raw(), 1);
            bindings::set_pte_at(vma.mm(), addr, ptep, leaf);
            bindings::hgm_mapped(vma.as_ptr(), addr, ptep);
        }
    }
}

impl Slot<'_> {
    /// # Safety
    ///
    /// The folio must be one of huge pages, be locked, and have a reference that is not a leaf's.
    unsafe fn stand_in(&self, folio: &Folio, stand: Stand) {
        let range = Region::whole_table(self.at).addrs();
        let _invalidate = InvalidateRange::clear(self.vma, range);
        if let Some(mut leaves) = self.leaves() {
            leaves.stand_in(folio, stand);
        }
    }

    /// Unmaps the folio for migration: faults wait from now on. If memory has failed in it, which whoever
    /// found out is about to say, it is unmapped for good: a copy that happened to work must not hide it.
    /// Sleeps.
    ///
    /// C: `try_to_migrate_one()`.
    ///
    /// # Safety
    ///
    /// The folio must be one of huge pages, be locked, and have a reference that is not a leaf's.
    pub unsafe fn start_migration(&self, folio: &Folio) {
        let stand = if folio.is_hwpoisoned() {
            Stand::Poison
        } else {
            Stand::Migration
        };
        // SAFETY: By the requirements of this function.
        unsafe { self.stand_in(folio, stand) }
    }

    /// Unmaps the folio for good, as memory has failed in it: faults are told. Sleeps.
    ///
    /// C: `try_to_unmap_poisoned_hugetlb_one()`.
    ///
    /// # Safety
    ///
    /// As for [`Slot::start_migration`].
    pub unsafe fn poison(&self, folio: &Folio) {
        // SAFETY: By the requirements of this function.
        unsafe { self.stand_in(folio, Stand::Poison) }
    }

    /// Maps `new`, which may be the same folio, where `old` was before.
    ///
    /// C: `remove_migration_pte()`.
    ///
    /// # Safety
    ///
    /// Both must be folios of huge pages of the size of the slot, and locked.
    pub unsafe fn end_migration(&self, new: &Folio, old: &Folio) {
        if let Some(mut leaves) = self.leaves() {
            for index in leaves.indices() {
                leaves.restore(index, new, old);
            }
        }
    }
}
