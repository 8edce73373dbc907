// SPDX-License-Identifier: GPL-2.0

//! The entry for one huge page, and the table that it may have.

use super::{
    FaultMutex,
    HgmVma,
    Leaf,
    Leaves, //
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
        }, //
    },
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

/// The folio that the page cache has for a slot, locked: it is not truncated.
///
/// # Invariants
///
/// `folio` is in the page cache of the file that `vma` maps, where `at` is; so it has the size of a PMD.
#[must_use = "the folio is unlocked when the value is dropped"]
pub struct SlotFolio<'v> {
    vma: &'v HgmVma,
    at: PmdAddr,
    folio: LockedFolio,
}

impl<'v> SlotFolio<'v> {
    /// Wraps a folio.
    ///
    /// # Safety
    ///
    /// The page cache must have it where the type invariant says. As it is locked, it stays there.
    #[inline]
    pub(super) unsafe fn new(vma: &'v HgmVma, at: PmdAddr, folio: LockedFolio) -> Self {
        // INVARIANT: By the requirement of this function.
        Self { vma, at, folio }
    }

    /// Whether it is the one for this slot.
    #[inline]
    pub(super) fn is_for(&self, slot: &Slot<'_>) -> bool {
        core::ptr::eq(self.vma, slot.vma) && self.at == slot.at
    }
}

impl Deref for SlotFolio<'_> {
    type Target = LockedFolio;

    #[inline]
    fn deref(&self) -> &LockedFolio {
        &self.folio
    }
}

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

    /// Empties the entries of its table, if it has one, that are for memory which has failed: to be called
    /// when the page cache has no such folio (any more).
    pub fn forget_poison(&self) {
        if let Some(mut leaves) = self.leaves() {
            leaves.forget_poison();
        }
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

    /// Maps the whole huge page where there is nothing yet, the way it is done for all HugeTLB memory.
    /// Takes over the folio. Fails with `EEXIST` or `EIO`.
    pub fn continue_whole(&self, mutex: &FaultMutex, flags: bindings::uffd_flags_t) -> Result {
        if !mutex.is_for(self.vma, self.at) {
            return Err(EINVAL);
        }
        let mut none = core::ptr::null_mut();
        // SAFETY: By the type invariant the slot is valid, and the fault mutex is held. For UFFDIO_CONTINUE
        // the function looks up and locks the folio itself, and does not use the source address nor the
        // last argument.
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
    /// there already. Returns how many were mapped: none if the folio is for another slot.
    pub fn map_small(&self, folio: &SlotFolio<'_>, first: PteIndex, nr: usize) -> usize {
        let Some(mut leaves) = self.leaves().filter(|_| folio.is_for(self)) else {
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
