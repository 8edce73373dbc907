// SPDX-License-Identifier: GPL-2.0

//! PMD entries and PTE tables of a locked VMA.
//!
//! Who else may touch a table that is hooked into its PMD:
//!
//! - page faults and other readers, under the mmap read lock or the VMA read lock, with the
//!   page-table lock (ptl);
//! - reverse-map walks (reclaim, migration, splitting), under the anon_vma lock, with the ptl;
//! - GUP-fast, with interrupts off and no lock at all;
//! - the CPU, which sets accessed and dirty bits at any time.
//!
//! [`PteTable`] holds the ptl and so excludes the first two while entries are looked at. To take a
//! table away from all four, see [`detached`](super::detached).
//!
//! Locks: mmap lock, then VMA mark, anon_vma, pmd lock, ptl.
//! Context: as each function says. [`PteTable`] is atomic context and an RCU read-side section.
//! Units: addresses in bytes, entries by [`PteIndex`].
//!
//! C headers: [`include/linux/pgtable.h`](srctree/include/linux/pgtable.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::{
    bindings,
    mm::{
        folio::Folio,
        mmap_lock::{
            LockedVma,
            Mode, //
        },
        region::{
            PmdAddr,
            PteIndex,
            Region, //
        },
        vma::Vma, //
    },
    page::PAGE_SIZE,
    types::NotThreadSafe,
};
use core::{
    mem::ManuallyDrop,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

/// What a PMD entry holds.
pub enum PmdView<'v> {
    /// Nothing that could be collapsed.
    NoTable,
    /// A huge page already, maybe one under migration.
    Huge,
    /// A PTE table.
    Table(PmdEntry<'v>),
}

/// A PMD entry that had a PTE table when it was looked at.
///
/// # Invariants
///
/// `pmd` is the entry for `at` in the page tables of the mm of `vma`, where it stays for as long
/// as the mmap lock is held, that is for `'v`.
#[derive(Clone, Copy)]
pub struct PmdEntry<'v> {
    pub(super) pmd: NonNull<bindings::pmd_t>,
    pub(super) vma: &'v Vma,
    pub(super) at: PmdAddr,
}

/// Where a PMD entry was: good for comparing, not for looking at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmdHint(NonNull<bindings::pmd_t>);

impl<M: Mode> LockedVma<'_, M> {
    /// Looks at the PMD entry for `at`. Takes no lock, so the answer may be old at once. There is
    /// no table for a range that the VMA does not span.
    ///
    /// C: `find_pmd_or_thp_or_none()`.
    #[inline]
    pub fn pmd(&self, at: PmdAddr) -> PmdView<'_> {
        if !self.spans(at) {
            return PmdView::NoTable;
        }
        // SAFETY: The mmap lock is held by the invariant of `LockedVma`, so the upper levels of
        // what lies in a VMA stay. (Outside of VMAs they may be freed under the read lock.)
        let pmd = unsafe { bindings::mm_find_pmd(self.mm(), at.get()) };
        let Some(pmd) = NonNull::new(pmd) else {
            return PmdView::NoTable;
        };
        // SAFETY: The entry stays while the mmap lock is held.
        match unsafe { PmdState::of(pmd.as_ptr()) } {
            PmdState::Empty | PmdState::Strange => PmdView::NoTable,
            PmdState::Huge => PmdView::Huge,
            // INVARIANT: Found just now, and the mmap lock is held for the borrow of `self`.
            PmdState::Table => PmdView::Table(PmdEntry { pmd, vma: self, at }),
        }
    }
}

/// What a PMD entry held when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PmdState {
    /// Nothing.
    Empty,
    /// A huge page, maybe one under migration.
    Huge,
    /// A PTE table.
    Table,
    /// Something that is not for us.
    Strange,
}

impl PmdState {
    /// Looks at an entry.
    ///
    /// C: `check_pmd_state()`.
    ///
    /// # Safety
    ///
    /// The entry must stay for the call.
    #[inline]
    pub(super) unsafe fn of(pmd: *mut bindings::pmd_t) -> Self {
        // SAFETY: The entry is read in one piece; the rest only looks at the value.
        unsafe {
            let value = bindings::pmdp_get_lockless(pmd);
            if bindings::pmd_none(value) {
                Self::Empty
            } else if bindings::pmd_is_migration_entry(value) {
                // However the migration ends, a huge page will be mapped.
                Self::Huge
            } else if !bindings::pmd_present(value) {
                Self::Strange
            } else if bindings::pmd_trans_huge(value) {
                Self::Huge
            } else if bindings::pmd_bad(value) {
                Self::Strange
            } else {
                Self::Table
            }
        }
    }
}

impl<'v> PmdEntry<'v> {
    /// Where the entry is.
    #[inline]
    pub fn hint(&self) -> PmdHint {
        PmdHint(self.pmd)
    }

    /// Maps and locks the table; [`None`] if it has gone since.
    ///
    /// C: `pte_offset_map_lock()`.
    #[inline]
    pub fn lock_ptes(&self) -> Option<PteTable<'v>> {
        // SAFETY: By the type invariant the entry is valid.
        unsafe { PteTable::lock(self.vma, self.pmd.as_ptr(), self.at) }
    }

    /// Maps the table to read it without the lock; [`None`] if it has gone since.
    ///
    /// C: `pte_offset_map_ro_nolock()`.
    #[inline]
    pub(crate) fn map_ptes(&self) -> Option<MappedPtes<'v>> {
        let mut ptl = null_mut();
        // SAFETY: By the type invariant the entry is valid.
        let base = unsafe {
            bindings::pte_offset_map_ro_nolock(
                self.vma.mm(),
                self.pmd.as_ptr(),
                self.at.get(),
                &mut ptl,
            )
        };
        // INVARIANT: Mapped just now.
        NonNull::new(base).map(|base| MappedPtes {
            base,
            ptl,
            entry: *self,
            _nts: NotThreadSafe,
        })
    }
}

/// A PTE table under its lock.
///
/// # Invariants
///
/// `base` is the first entry of a mapped table of `vma` for the range at `at`; `ptl` is its lock,
/// which is held.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct PteTable<'t> {
    pub(super) base: NonNull<bindings::pte_t>,
    pub(super) ptl: *mut bindings::spinlock_t,
    pub(super) vma: &'t Vma,
    pub(super) at: PmdAddr,
    pub(super) _nts: NotThreadSafe,
}

impl<'t> PteTable<'t> {
    /// # Safety
    ///
    /// `pmd` must be valid, and be or have been the entry for `at` of the mm of `vma`.
    #[inline]
    unsafe fn lock(vma: &'t Vma, pmd: *mut bindings::pmd_t, at: PmdAddr) -> Option<Self> {
        let mut ptl = null_mut();
        // SAFETY: By the requirement of this function.
        let base = unsafe { bindings::pte_offset_map_lock(vma.mm(), pmd, at.get(), &mut ptl) };
        // INVARIANT: Mapped and locked just now.
        NonNull::new(base).map(|base| Self {
            base,
            ptl,
            vma,
            at,
            _nts: NotThreadSafe,
        })
    }

    /// The VMA that the table maps.
    #[inline]
    pub fn vma(&self) -> &'t Vma {
        self.vma
    }

    /// Where an entry is.
    #[inline]
    pub(super) fn entry(&self, index: PteIndex) -> *mut bindings::pte_t {
        // SAFETY: By the invariants of `PteIndex` and `PteTable` the entry is inside the table.
        unsafe { self.base.as_ptr().add(index.get()) }
    }

    /// Looks at an entry.
    #[inline]
    pub fn view(&self, index: PteIndex) -> PteView<'_> {
        // SAFETY: The entry is valid, and the lock held. The functions only look at its value.
        unsafe {
            let pte = bindings::ptep_get(self.entry(index));
            if bindings::pte_none(pte) {
                return PteView::None;
            }
            if !bindings::pte_present(pte) {
                return PteView::Swap {
                    uffd: bindings::pte_swp_uffd_any(pte),
                };
            }
            if bindings::is_zero_pfn(bindings::pte_pfn(pte)) {
                return PteView::ZeroPage;
            }
            if bindings::pte_uffd(pte) {
                return PteView::Uffd;
            }
            // `PmdAddr` plus an index does not wrap.
            let addr = self.at.get().wrapping_add(index.get() * PAGE_SIZE);
            let page = bindings::vm_normal_page(self.vma.as_ptr(), addr, pte);
            if page.is_null() || bindings::is_zone_device_page(page) {
                return PteView::NoPage;
            }
            PteView::Mapped(MappedPage {
                folio: Folio::from_raw(bindings::page_folio(page)),
                pte,
            })
        }
    }
}

impl Drop for PteTable<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the table is locked and mapped.
        unsafe {
            bindings::spin_unlock(self.ptl);
            bindings::pte_unmap(self.base.as_ptr());
        }
    }
}

/// What a PTE holds.
pub enum PteView<'t> {
    /// Nothing.
    None,
    /// The page of zeroes that everybody shares.
    ZeroPage,
    /// A swap entry, or something else that is not present (migration, poison, a marker).
    Swap {
        /// Whether a userfaultfd wants to know when it is touched.
        uffd: bool,
    },
    /// A page that a userfaultfd protects.
    Uffd,
    /// Memory without a `struct page` that could be collapsed.
    NoPage,
    /// A page of a folio.
    Mapped(MappedPage<'t>),
}

/// A page that a PTE maps, for as long as the table is locked.
#[derive(Clone, Copy)]
pub struct MappedPage<'t> {
    folio: &'t Folio,
    pte: bindings::pte_t,
}

impl<'t> MappedPage<'t> {
    /// The folio of the page.
    #[inline]
    pub fn folio(&self) -> &'t Folio {
        self.folio
    }

    /// Whether it was accessed through this entry.
    #[inline]
    pub fn is_young(&self) -> bool {
        // SAFETY: Only looks at a value.
        unsafe { bindings::pte_young(self.pte) }
    }

    /// Whether it was written through this entry.
    #[inline]
    pub fn is_dirty(&self) -> bool {
        // SAFETY: Only looks at a value.
        unsafe { bindings::pte_dirty(self.pte) }
    }
}

/// A PTE table that is mapped but not locked: entries may change while they are read.
///
/// # Invariants
///
/// `base` is the first entry of the mapped table of `entry`; `ptl` is its lock, which is not held.
pub(crate) struct MappedPtes<'t> {
    base: NonNull<bindings::pte_t>,
    ptl: *mut bindings::spinlock_t,
    entry: PmdEntry<'t>,
    _nts: NotThreadSafe,
}

impl MappedPtes<'_> {
    /// The entry at `index`, if it is neither none nor present.
    #[inline]
    pub(crate) fn swap_entry(&self, index: PteIndex) -> Option<bindings::pte_t> {
        // SAFETY: By the type invariant, and that of `PteIndex`, the entry is inside the table. It
        // is read in one piece.
        unsafe {
            let pte = bindings::ptep_get_lockless(self.base.as_ptr().add(index.get()));
            (!bindings::pte_none(pte) && !bindings::pte_present(pte)).then_some(pte)
        }
    }

    /// Faults in the swap entry `orig`. The mapping ends; so does the mmap lock if the result has
    /// `VM_FAULT_RETRY`. Sleeps.
    ///
    /// # Safety
    ///
    /// The mmap lock must be held for read, and the caller must account for its loss.
    #[inline]
    pub(crate) unsafe fn swap_in(
        self,
        region: &Region,
        index: PteIndex,
        orig: bindings::pte_t,
    ) -> bindings::vm_fault_t {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant the entry is mapped; `do_swap_page()` unmaps it, and looks
        // at it again under the lock. The caller takes care of the mmap lock.
        unsafe {
            bindings::khugepaged_swapin_pte(
                this.entry.vma.as_ptr(),
                region.addr_of(index),
                this.entry.pmd.as_ptr(),
                this.base.as_ptr().add(index.get()),
                orig,
                this.ptl,
            )
        }
    }
}

impl Drop for MappedPtes<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the table is mapped.
        unsafe { bindings::pte_unmap(self.base.as_ptr()) }
    }
}
