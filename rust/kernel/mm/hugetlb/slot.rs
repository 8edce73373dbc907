// SPDX-License-Identifier: GPL-2.0

//! The entry for one huge page, and the table that it may have.

use super::{
    FaultMutex,
    Gather,
    HgmVma,
    Leaf,
    Leaves,
    TablesLock, //
};
use crate::{
    bindings,
    error::to_result,
    mm::{
        page_cache::LockedFolio,
        region::{
            PmdAddr,
            PteIndex,
            Region, //
        },
        retract::{
            PmdAndTableLock,
            RetractedTable, //
        }, //
    },
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing.
    Empty,
    /// A marker that is left of a userfaultfd which protected the slot: as good as nothing.
    Marker,
    /// A table.
    Table,
    /// A huge leaf, or what stands for one: an entry for migration or for poisoned memory.
    Leaf,
}

/// A slot.
///
/// # Invariants
///
/// `pmd` is the entry for `at` in the page tables of `vma`. It stays for `'l`, and so does its table, if it
/// has one: a lock that keeps tables is held (see the parent module).
#[derive(Clone, Copy)]
pub struct Slot<'l> {
    pub(super) vma: &'l HgmVma,
    pub(super) at: PmdAddr,
    pub(super) pmd: NonNull<bindings::pmd_t>,
    _lock: PhantomData<&'l ()>,
}

impl<'l> Slot<'l> {
    /// Wraps what `hugetlb_walk()` has found.
    ///
    /// # Safety
    ///
    /// The slot must be that for `at` in the page tables of `vma`; the HugeTLB VMA lock or the
    /// `i_mmap_rwsem` must be held during `'l`.
    #[inline]
    pub unsafe fn from_raw(vma: &'l HgmVma, at: PmdAddr, slot: NonNull<bindings::pte_t>) -> Self {
        // INVARIANT: By the requirements of this function; a slot of a huge page of this size is a PMD.
        Self {
            vma,
            at,
            pmd: slot.cast(),
            _lock: PhantomData,
        }
    }

    /// The pointer for C.
    #[inline]
    pub(super) fn as_pte_ptr(&self) -> *mut bindings::pte_t {
        self.pmd.as_ptr().cast()
    }

    /// The address that it maps.
    #[inline]
    pub fn at(&self) -> PmdAddr {
        self.at
    }

    /// Looks at it, without a lock: only a table is sure to stay.
    pub fn state(&self) -> SlotState {
        // SAFETY: By the type invariant the slot is valid. It is read in one piece; the rest looks at
        // the value.
        unsafe {
            let value = bindings::pmdp_get_lockless(self.pmd.as_ptr());
            if bindings::pmd_none(value) {
                return SlotState::Empty;
            }
            if bindings::pmd_present(value) {
                return if bindings::pmd_leaf(value) {
                    SlotState::Leaf
                } else {
                    SlotState::Table
                };
            }
            let value =
                bindings::huge_ptep_get(self.vma.as_ptr(), self.at.get(), self.as_pte_ptr());
            if bindings::pte_is_marker(value) && !bindings::pte_is_poison_marker(value) {
                SlotState::Marker
            } else {
                SlotState::Leaf
            }
        }
    }

    /// Locks the table, if there is one.
    #[inline]
    pub fn leaves(&self) -> Option<Leaves<'l>> {
        (self.state() == SlotState::Table).then(|| {
            // SAFETY: There is a table, which by the type invariant stays.
            unsafe { Leaves::lock(*self) }
        })
    }

    /// What maps `addr`, which must lie in what the slot is for, as it was a moment ago.
    #[inline]
    pub fn peek(&self, addr: usize) -> bindings::pte_t {
        match self.state() {
            SlotState::Table => {
                let index = PteIndex::of_addr(addr);
                // SAFETY: There is a table, which by the type invariant stays, and an entry of it is
                // read in one piece.
                unsafe {
                    let base = bindings::hgm_table_base(self.pmd.as_ptr(), self.at.get());
                    bindings::ptep_get_lockless(base.add(index.get()))
                }
            }
            // SAFETY: By the type invariant the slot is valid.
            _ => unsafe {
                bindings::huge_ptep_get(self.vma.as_ptr(), self.at.get(), self.as_pte_ptr())
            },
        }
    }

    /// Gives an empty slot a table; one that has a marker loses it. Sleeps. Fails with `ENOMEM`, or with
    /// `EEXIST` if something is there that is not a table.
    ///
    /// The locks keep away everybody who has looked at the slot, has found no table, and is about to take
    /// what is in it for a huge leaf.
    pub fn alloc_table(&self, _locks: &TablesLock<'_>, _mutex: &FaultMutex) -> Result {
        if self.state() == SlotState::Marker {
            // SAFETY: By the type invariant the slot is valid. Nothing was mapped, so there is nothing to
            // flush.
            unsafe {
                let pml = bindings::pmd_lock(self.vma.mm(), self.pmd.as_ptr());
                bindings::pmd_clear(self.pmd.as_ptr());
                bindings::spin_unlock(pml);
            }
        }
        match self.state() {
            SlotState::Table => Ok(()),
            SlotState::Marker | SlotState::Leaf => Err(EEXIST),
            // SAFETY: By the type invariant the slot is valid. With the fault mutex nobody else fills it.
            SlotState::Empty => unsafe {
                match bindings::hgm_alloc_table(self.vma.mm(), self.pmd.as_ptr()) {
                    0 => Ok(()),
                    _ => Err(ENOMEM),
                }
            },
        }
    }

    /// Maps the whole huge page where there is nothing yet, the way it is done for all HugeTLB memory.
    /// Takes over the folio. Fails with `EEXIST` or `EIO`.
    pub fn continue_whole(&self, flags: bindings::uffd_flags_t) -> Result {
        let mut none = core::ptr::null_mut();
        // SAFETY: By the type invariant the slot is valid. For UFFDIO_CONTINUE the function looks up and
        // locks the folio itself, and does not use the source address nor the last argument.
        to_result(unsafe {
            bindings::hugetlb_mfill_atomic_pte(
                self.as_pte_ptr(),
                self.vma.as_ptr(),
                self.at.get(),
                0,
                flags,
                &mut none,
            )
        })
    }

    /// Frees the table if it has no leaf, so that the slot is empty; false if it has some.
    ///
    /// C: none; tables of HugeTLB memory have only ever been freed with their VMA.
    pub fn free_empty_table(&self, _locks: &TablesLock<'_>) -> bool {
        // SAFETY: By the type invariant the slot is valid, and its table stays; nobody but GUP-fast, which
        // looks again at the slot, can have the table in hand.
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
    pub(super) fn gather_empty_table(&self, gather: &mut Gather<'_>) {
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

    /// Moves the table to another slot, of the same mm, and flushes; false, and nothing is done, if that
    /// one is not empty. The leaves stay what they are, so there is nothing that could fail half-way.
    ///
    /// C: `move_normal_pmd()`.
    ///
    /// # Safety
    ///
    /// The mmap lock must be held for write and the VMAs of both slots be marked; the locks that
    /// [`TablesLock`] stands for must be held, but that of the VMA may be missing.
    pub unsafe fn move_table(&self, to: &Slot<'_>) -> bool {
        let mm = self.vma.mm();
        let (from_pmd, to_pmd) = (self.pmd.as_ptr(), to.pmd.as_ptr());
        // SAFETY: By the type invariants both slots are valid, and by the requirement of this function
        // nobody fills the new one, or has the table in hand. The order of the two pmd locks is that of
        // mremap() elsewhere: the new one first.
        unsafe {
            let to_pml = bindings::pmd_lock(mm, to_pmd);
            let from_pml = bindings::hgm_pmd_lockptr(mm, from_pmd);
            if from_pml != to_pml {
                bindings::collapse_spin_lock_inner(from_pml);
            }
            let fits = to.state() == SlotState::Empty && self.state() == SlotState::Table;
            if fits {
                let table = bindings::pmd_pgtable(bindings::pmdp_get_lockless(from_pmd));
                bindings::pmd_clear(from_pmd);
                let range = Region::whole_table(self.at).addrs();
                bindings::hgm_flush_range(self.vma.as_ptr(), range.start, range.end);
                bindings::pmd_populate(mm, to_pmd, table);
            }
            if from_pml != to_pml {
                bindings::spin_unlock(from_pml);
            }
            bindings::spin_unlock(to_pml);
            fits
        }
    }

    /// Whether a leaf maps a page of the huge page that starts with page frame `pfn`.
    pub fn maps(&self, pfn: usize) -> bool {
        let Some(leaves) = self.leaves() else {
            return false;
        };
        Region::whole_table(self.at)
            .indices()
            .any(|index| match leaves.leaf(index) {
                Leaf::Mapped(value) => value.pfn().wrapping_sub(index.get()) == pfn,
                _ => false,
            })
    }

    /// Maps page after page of the folio by small leaves, from `first` on, until `nr` are done or one is
    /// there already. Returns how many were mapped.
    pub fn map_small(&self, folio: &LockedFolio, first: PteIndex, nr: usize) -> usize {
        let Some(mut leaves) = self.leaves() else {
            return 0;
        };
        let indices = Region::whole_table(self.at).indices();
        indices
            .skip(first.get())
            .take(nr)
            .take_while(|index| leaves.map(*index, folio))
            .count()
    }
}

impl PteIndex {
    /// The index of the entry for an address.
    #[inline]
    pub(super) const fn of_addr(addr: usize) -> Self {
        let at = PmdAddr::align_down(addr).get();
        match Self::new((addr - at) / crate::page::PAGE_SIZE) {
            Some(index) => index,
            // Less than the size of a PMD, so that does not happen.
            None => Self::ZERO,
        }
    }
}
