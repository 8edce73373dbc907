// SPDX-License-Identifier: GPL-2.0

//! Unmapping the leaves of a slot: the pages, and the table itself, are given back after a flush that is
//! shared with everything else that goes.

use super::{
    Leaf,
    Leaves,
    Slot, //
};
use crate::{
    bindings,
    mm::folio::Folio, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Pages and tables that are freed once the TLB was flushed.
///
/// # Invariants
///
/// `tlb` is a gather for the mm at hand that has been started and not finished, during `'g`.
///
/// C: `struct mmu_gather`.
pub struct Gather<'g> {
    tlb: NonNull<bindings::mmu_gather>,
    _gather: PhantomData<&'g mut ()>,
}

impl Gather<'_> {
    /// Wraps a pointer.
    ///
    /// # Safety
    ///
    /// The gather must have been started for the mm that is worked on, and be used by nobody else
    /// during `'g`.
    #[inline]
    pub unsafe fn from_raw(tlb: NonNull<bindings::mmu_gather>) -> Self {
        // INVARIANT: By the requirements of this function.
        Self {
            tlb,
            _gather: PhantomData,
        }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::mmu_gather {
        self.tlb.as_ptr()
    }
}

/// References to a folio that page tables had. A TLB may still have the leaves.
#[must_use = "the references are lost"]
struct Unmapped {
    folio: *mut bindings::folio,
    nr: u32,
}

impl Leaves<'_> {
    /// Empties all entries.
    ///
    /// C: `__unmap_hugepage_range()`.
    fn clear(&mut self, gather: &mut Gather<'_>) -> Option<Unmapped> {
        let mm = self.slot.vma.mm();
        let (mut folio, mut nr, mut dirty) = (None, 0u32, false);
        for index in self.indices() {
            let (addr, ptep) = (self.addr(index), self.entry(index));
            match self.leaf(index) {
                Leaf::Empty => (),
                // These have no reference, nor are they counted.
                Leaf::Marker | Leaf::Poison | Leaf::Migration(_) => {
                    // SAFETY: The table is locked.
                    unsafe { bindings::pte_clear(mm, addr, ptep) }
                }
                Leaf::Mapped(value) => {
                    // SAFETY: The table is locked. What a leaf maps has a reference.
                    unsafe {
                        folio = Some(bindings::pfn_folio(value.pfn()));
                        let last = bindings::ptep_get_and_clear(mm, addr, ptep);
                        bindings::hgm_tlb_remove_entry(gather.as_raw(), ptep, addr);
                        dirty |= bindings::pte_dirty(last);
                    }
                    nr = nr.wrapping_add(1);
                }
            }
        }
        let folio = folio?;
        // SAFETY: The leaves, all of one folio, had as many references and shares in its map count, and
        // counted for the mm as so many pages.
        unsafe {
            if dirty {
                bindings::folio_mark_dirty(folio);
            }
            bindings::hugetlb_remove_leaves(folio, nr);
            bindings::hugetlb_count_add(-(nr as isize), mm);
        }
        Some(Unmapped { folio, nr })
    }
}

impl Slot<'_> {
    /// Unmaps all leaves, if they map `only`, if that is given. The table stays.
    ///
    /// # Safety
    ///
    /// The gather must be for the mm of the slot, and the `i_mmap_rwsem` be held for write.
    pub unsafe fn zap(&self, gather: &mut Gather<'_>, only: Option<&Folio>) {
        if only.is_some_and(|folio| !self.maps(folio.pfn())) {
            return;
        }
        let Some(mut leaves) = self.leaves() else {
            return;
        };
        let unmapped = leaves.clear(gather);
        drop(leaves);
        if let Some(Unmapped { folio, nr }) = unmapped {
            // SAFETY: The references are ours; they are dropped behind the flush.
            unsafe { bindings::hgm_tlb_remove_refs(gather.as_raw(), folio, nr) };
        }
    }
}
