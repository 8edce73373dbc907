// SPDX-License-Identifier: GPL-2.0

//! Taking the PTE tables of a file away for good, so that a PMD can map its huge folio.
//!
//! Unlike those of anonymous memory these tables are freed: what they mapped is in the page cache,
//! and the next fault finds it there. Who else may have a table in hand:
//!
//! - faults and other readers of the mm, under its mmap or VMA read lock: they lock the table and
//!   look at the PMD again. No fault of the extent adds an entry, as its folio is locked;
//! - reverse-map walks of an old folio: there is none, as they are unmapped; of the new one: they
//!   find nothing, or lock the table and look again;
//! - userfaultfd, guard regions, copy-on-write and memory failures, which write entries that are
//!   not in the page cache, under the lock of the table: under that lock a table is seen to be empty
//!   before it goes. What most of them announce in the VMA is asked first, as it is cheap, and says
//!   that the table would be missed even if it is empty now;
//! - mremap(), which moves tables under the pmd locks and the `i_mmap_rwsem` for write;
//! - GUP-fast and others without any lock: the table is freed after an RCU grace period.
//!
//! Locks: the new folio is locked throughout. [`retract_tables`]: `i_mmap_rwsem` for read, no mmap
//! lock. [`PmdEntry::retract`]: the mmap lock, for read at least. Then the pmd lock, and the lock of
//! the table in it.
//! Context: sleeps (notifiers), except under the page-table locks.
//! Units: addresses in bytes, entries by their index.
//!
//! C: `retract_page_tables()`, `try_collapse_pte_mapped_thp()`.

use crate::{
    bindings,
    mm::{
        mmap_lock::{
            LockedVma,
            Mode, //
        },
        mmu_notifier::InvalidateRange,
        page_cache::{
            Extent,
            LockedFolio,
            Mapping, //
        },
        pgtable::{
            PmdEntry,
            PmdState, //
        },
        region::{
            PmdAddr,
            Region, //
        },
        rmap::{
            MappingVma,
            MappingVmas, //
        },
        vma::Vma, //
    },
    types::NotThreadSafe, //
};
use core::ptr::null_mut;

mod entries;

use self::entries::{
    Entries,
    MappedTable, //
};

/// The pmd lock, and in it the lock of the table that the PMD has.
///
/// # Invariants
///
/// Both are held; they may be one and the same.
pub(super) struct PmdAndTableLock {
    pml: *mut bindings::spinlock_t,
    ptl: *mut bindings::spinlock_t,
    _nts: NotThreadSafe,
}

impl PmdAndTableLock {
    /// Takes the locks; [`None`] if there is no table.
    ///
    /// # Safety
    ///
    /// `pmd` must be an entry of the page tables of `mm`, which stay.
    #[inline]
    pub(super) unsafe fn lock(
        mm: *mut bindings::mm_struct,
        pmd: *mut bindings::pmd_t,
    ) -> Option<Self> {
        // SAFETY: The entry is valid. With the pmd lock it does not change between a table and
        // something else, so the table has a lock.
        unsafe {
            let pml = bindings::pmd_lock(mm, pmd);
            if PmdState::of(pmd) != PmdState::Table {
                bindings::spin_unlock(pml);
                return None;
            }
            let ptl = bindings::pte_lockptr(mm, pmd);
            if ptl != pml {
                bindings::collapse_spin_lock_inner(ptl);
            }
            // INVARIANT: Locked just now.
            Some(Self {
                pml,
                ptl,
                _nts: NotThreadSafe,
            })
        }
    }
}

impl Drop for PmdAndTableLock {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the locks are held.
        unsafe {
            if self.ptl != self.pml {
                bindings::spin_unlock(self.ptl);
            }
            bindings::spin_unlock(self.pml);
        }
    }
}

/// An empty table that nobody finds any more. Dropping it frees it, after a grace period.
///
/// # Invariants
///
/// `table` was the PMD entry for `at` of `mm` and was cleared.
pub(super) struct RetractedTable {
    mm: *mut bindings::mm_struct,
    table: bindings::pmd_t,
    at: PmdAddr,
}

impl RetractedTable {
    /// Clears the PMD entry and flushes the TLB.
    ///
    /// # Safety
    ///
    /// `pmd` must be the entry for `at` of the mm of `vma` and have a table that is empty; `_locks`
    /// are its locks. The mm must stay until the value is dropped.
    #[inline]
    pub(super) unsafe fn unhook(
        vma: *mut bindings::vm_area_struct,
        pmd: *mut bindings::pmd_t,
        at: PmdAddr,
        _locks: &PmdAndTableLock,
    ) -> Self {
        // SAFETY: By the requirements of this function.
        unsafe {
            let table = bindings::pmdp_collapse_flush(vma, at.get(), pmd);
            bindings::pmdp_get_lockless_sync();
            // INVARIANT: Cleared just now.
            Self {
                mm: (*vma).vm_mm,
                table,
                at,
            }
        }
    }
}

impl Drop for RetractedTable {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the table belonged to the mm and is ours.
        unsafe {
            bindings::mm_dec_nr_ptes(self.mm);
            bindings::page_table_check_pte_clear_range(self.mm, self.at.get(), self.table);
            bindings::pte_free_defer(self.mm, bindings::pmd_pgtable(self.table));
        }
    }
}

/// Takes the table for an extent away from every process that maps the extent in a way that a PMD
/// could, unless the table holds more than the page cache does.
///
/// # Safety
///
/// The folio that the page cache has for the extent must be locked, and no page table may map any
/// page of the extent.
pub(super) unsafe fn retract_tables(mapping: &Mapping, extent: Extent) {
    let vmas = MappingVmas::lock(mapping);
    let first = extent.start();
    for vma in vmas.of_pages(first, first.wrapping_add(1)) {
        if let Some(at) = vma.addr_of(extent) {
            // SAFETY: By the requirements of this function.
            unsafe { retract_table(&vma, at) };
        }
    }
}

/// # Safety
///
/// As [`retract_tables`], for the extent that `vma` maps at `at`.
unsafe fn retract_table(vma: &MappingVma<'_>, at: PmdAddr) {
    let mm = vma.mm();
    // SAFETY: The VMA is in the tree of its file, so its page tables are not torn down yet.
    let pmd = unsafe { bindings::mm_find_pmd(mm, at.get()) };
    // SAFETY: As above, and the entry stays.
    if pmd.is_null() || unsafe { PmdState::of(pmd) } != PmdState::Table {
        return;
    }
    // SAFETY: The mm is valid as long as the VMA is. If its last user has gone, its exit will take
    // the table.
    if unsafe { bindings::mm_users_read(mm) } == 0 || !vma.has_plain_tables() {
        return;
    }
    // SAFETY: The mm stays as long as the VMA does.
    let _invalidate = unsafe { InvalidateRange::clear_in(mm, Region::whole_table(at).addrs()) };
    // SAFETY: As above.
    let Some(locks) = (unsafe { PmdAndTableLock::lock(mm, pmd) }) else {
        return;
    };
    // SAFETY: The entry has a table, which is locked.
    if vma.has_plain_tables() && unsafe { is_empty(mm, pmd, at) } {
        // SAFETY: The table is empty. It may be another one than before, but that does not matter.
        let table = unsafe { RetractedTable::unhook(vma.as_raw(), pmd, at, &locks) };
        drop(locks);
        drop(table);
    }
}

/// Whether a table has nothing but empty entries. Poison is what may be left: memory that failed,
/// and `UFFDIO_POISON`.
///
/// # Safety
///
/// `pmd` must be the entry for `at` of `mm` and have a table that is locked.
#[inline]
unsafe fn is_empty(mm: *mut bindings::mm_struct, pmd: *mut bindings::pmd_t, at: PmdAddr) -> bool {
    let (mut ptl, mut value) = (null_mut(), bindings::pmd_t::default());
    // SAFETY: By the requirements of this function. A table has as many entries as the helper
    // looks at.
    unsafe {
        let base = bindings::pte_offset_map_rw_nolock(mm, pmd, at.get(), &mut value, &mut ptl);
        if base.is_null() {
            return false;
        }
        let empty = bindings::collapse_ptes_none(base);
        bindings::pte_unmap(base);
        empty
    }
}

/// Why a table was not taken away. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// There is no table any more.
    NoTable,
    /// An entry is neither empty nor present.
    NonPresent,
    /// An entry maps something else.
    Other,
}

impl<'v> PmdEntry<'v> {
    /// Takes the table away and frees it, if it maps nothing but pages of the folio, each in its
    /// place. Sleeps.
    ///
    /// All is looked at and cleared in one hold of both locks, so there is no half of it to be
    /// undone. The pmd lock is needed from the start: `UFFDIO_COPY` may fill private memory without
    /// asking for the folio.
    pub fn retract(&self, folio: &LockedFolio) -> Result<(), Mismatch> {
        let (vma, at) = (self.vma, self.at);
        let mm = vma.mm();
        let pmd = self.pmd.as_ptr();
        if vma.is_anonymous()
            || vma.uffd_protected()
            || folio.nr_pages() != Region::whole_table(at).nr_pages()
        {
            return Err(Mismatch::Other);
        }
        // SAFETY: The mm is valid.
        if unsafe { bindings::mm_has_notifiers(mm) } != 0 {
            // Nobody is told of what will not happen. What is found is looked at again below.
            let ptes = self.lock_ptes().ok_or(Mismatch::NoTable)?;
            Entries::of(&ptes).map_only(folio)?;
        }
        let _invalidate = InvalidateRange::clear(vma, Region::whole_table(at).addrs());
        // SAFETY: By the type invariant the entry is valid.
        let locks = unsafe { PmdAndTableLock::lock(mm, pmd) }.ok_or(Mismatch::NoTable)?;
        // SAFETY: The entry is valid, and its table stays while it is locked.
        let mapped = unsafe { MappedTable::map(*self) }.ok_or(Mismatch::NoTable)?;
        let unmapped = mapped.0.map_only(folio)?.clear();
        drop(mapped);
        // SAFETY: The table is empty now, and its locks are held.
        let table = unsafe { RetractedTable::unhook(vma.as_ptr(), pmd, at, &locks) };
        drop(locks);
        if unmapped > 0 {
            // SAFETY: The entries had one reference each; ours is another. The mm is valid.
            unsafe {
                bindings::folio_put_refs(folio.as_raw(), unmapped as i32);
                let counter = bindings::mm_counter_file(folio.as_raw());
                bindings::add_mm_counter(mm, counter, -(unmapped as isize));
            }
        }
        drop(table);
        Ok(())
    }
}

impl<M: Mode> LockedVma<'_, M> {
    /// Maps a folio of the page cache by a PMD at `at`, where there may be nothing yet; `false` if
    /// that cannot be done. Sleeps.
    ///
    /// C: `set_huge_pmd()`.
    pub fn map_pmd(&self, at: PmdAddr, folio: &LockedFolio) -> bool {
        let vma: &Vma = self;
        if !vma.spans(at) {
            return false;
        }
        let fits = vma.extent_at(at).zip(vma.mapping());
        let is_there = |(extent, mapping): (Extent, &Mapping)| {
            folio.index() == extent.start() && folio.is_in(mapping)
        };
        if !fits.is_some_and(is_there) {
            return false;
        }
        // SAFETY: The mmap lock is held; the folio is locked and is that of the extent.
        unsafe { bindings::khugepaged_map_file_pmd(vma.as_ptr(), at.get(), folio.as_raw()) }
    }
}
