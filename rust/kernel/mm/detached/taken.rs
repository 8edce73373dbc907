// SPDX-License-Identifier: GPL-2.0

//! Entries taken out of a PTE table, for folios below the PMD order to take their place.
//!
//! The table is out of its PMD only for as long as it takes to isolate the folios of all regions
//! and to clear their entries ([`OpenTable`]). Then it is hooked in again, the anon_vma lock is
//! dropped, and the pages are copied ([`TakenEntries`]). Who else may touch a table in that state,
//! and what keeps them from the entries that were taken:
//!
//! - page faults, userfaultfd, fork, swapoff, MADV_DONTNEED and the like: they all need the mmap
//!   lock or the VMA lock, and the mmap lock is held for write and the VMA marked as written;
//! - the OOM reaper and page-table walks for aging: they try for the mmap lock, and fail. Aging
//!   that comes from a neighbour's reverse map takes the ptl, and only clears accessed bits of what
//!   is there;
//! - reverse-map walks (reclaim, migration, splitting, hardware poison): they change a folio's
//!   entries only under its folio lock, which we hold for every folio that had an entry taken. The
//!   neighbours of these entries they may change, under the ptl, as ever;
//! - GUP-fast and the CPU: they find no entry. What they knew from before is gone: the TLB was
//!   flushed and [`TableSync`](crate::mm::tlb::TableSync) waited for when the table was out, before
//!   any reference count was looked at.
//!
//! So neither the entries nor the content of the pages change until a new folio is mapped or the
//! old entries are put back, which is what dropping the value does.
//!
//! Locks: as [`detached`](super), but the anon_vma lock is not needed for [`TakenEntries`]. The ptl
//! is only held inside of functions here.
//! Context: does not sleep; but copying takes long, so better preemptible.
//! Units: addresses in bytes, entries by [`PteIndex`].
//!
//! C: the part of `collapse_huge_page()` and its callees for orders below that of the PMD. C copies
//! with the table out and the anon_vma lock held, one region at a time.

use super::{
    isolate,
    Admission,
    DetachedTable, //
};
use crate::{
    bindings,
    mm::{
        folio::FilledFolio,
        internal::{
            held::{
                FolioRoom,
                HeldFolios, //
            },
            lru::Busy, //
        },
        page_copy::FrozenPage,
        pgtable::PmdEntry,
        region::{
            Occupied,
            PteIndex,
            Region,
            HPAGE_PMD_NR, //
        },
        rmap,
        vma::Vma, //
    },
    types::NotThreadSafe,
};
use core::ptr::NonNull;
use pin_init::Zeroable;

/// Room for the entries of one table.
pub struct SavedEntries {
    values: [bindings::pte_t; HPAGE_PMD_NR],
    /// Which of them were taken out of the table, empty ones included.
    taken: Occupied,
}

// SAFETY: All of it is integers; zeroes are entries that map nothing, and no entry taken.
unsafe impl Zeroable for SavedEntries {}

impl SavedEntries {
    /// The value of an entry that was taken.
    #[inline]
    fn get(&self, index: PteIndex) -> Option<bindings::pte_t> {
        if !self.taken.contains(index) {
            return None;
        }
        self.values.get(index.get()).copied()
    }

    /// The page of an entry that was taken; [`None`] if it was empty or the zero page.
    #[inline]
    fn page(&self, index: PteIndex) -> Option<NonNull<bindings::page>> {
        let pte = self.get(index)?;
        // SAFETY: Only looks at a value; what was taken and is not empty is present.
        NonNull::new(unsafe {
            if bindings::pte_none(pte) || bindings::is_zero_pfn(bindings::pte_pfn(pte)) {
                return None;
            }
            bindings::pte_page(pte)
        })
    }

    /// The value of an entry, taken or not.
    #[inline]
    fn slot(&mut self, index: PteIndex) -> &mut bindings::pte_t {
        // SAFETY: By the invariant of `PteIndex`.
        unsafe { self.values.get_unchecked_mut(index.get()) }
    }
}

/// A table out of its PMD, from which entries are being taken.
///
/// Dropping the value puts everything back.
#[must_use = "the entries are put back when the value is dropped"]
pub struct OpenTable<'v, 'r, 's> {
    // The order of the fields is the order of the undoing. The anon_vma is locked throughout.
    taken: TakenEntries<'v, 's>,
    table: DetachedTable<'v, 'r>,
}

impl<'v, 'r> DetachedTable<'v, 'r> {
    /// Begins to take entries, whose values go to `saved`.
    #[inline]
    pub fn open<'s>(
        self,
        saved: &'s mut SavedEntries,
        room: &'s mut FolioRoom,
    ) -> OpenTable<'v, 'r, 's> {
        saved.taken = Occupied::EMPTY;
        OpenTable {
            // INVARIANT: No entry is taken.
            taken: TakenEntries {
                saved,
                folios: HeldFolios::new(room),
                base: self.base,
                ptl: self.ptl,
                entry: self.hook.entry,
                _nts: NotThreadSafe,
            },
            table: self,
        }
    }
}

impl<'v, 's> OpenTable<'v, '_, 's> {
    /// Holds every folio that a region maps, and takes the entries of the region.
    ///
    /// On a refusal the entries stay. Folios of the region that were locked before it stay locked
    /// and held until all is over: another region may have a part of them, too.
    /// A region of another table, or one of which entries were taken already, is busy.
    pub fn take<A: Admission>(
        &mut self,
        region: &Region,
        admission: &mut A,
    ) -> Result<(), A::Refusal> {
        let taken = &mut self.taken;
        if region.pmd() != taken.entry.at || taken.saved.taken.weight(region) != 0 {
            return Err(admission.busy(Busy::Locked));
        }
        let ptes = self.table.lock_ptes();
        isolate(&ptes, region, &mut taken.folios, admission)?;
        // INVARIANT: Every folio that the entries map is in `folios`.
        //
        // SAFETY: The lock is held.
        unsafe { taken.save_and_clear(region) };
        Ok(())
    }

    /// Hooks the table in again, without the entries that were taken. From here on the anon_vma
    /// lock is not needed.
    ///
    /// The entries were cleared under the lock of the table and the PMD is set under its own, so
    /// whoever walks from the PMD sees them cleared.
    pub fn hook_in(self) -> TakenEntries<'v, 's> {
        let Self { mut taken, table } = self;
        drop(table);
        taken.folios.settle();
        taken
    }
}

/// Entries that were taken out of a table, which is in its PMD. Nobody else changes the entries, or
/// the content of the pages.
///
/// # Invariants
///
/// - `base` is the first entry of the table of `entry`, and `ptl` its lock. It stays for `'v`.
/// - Each entry marked in `saved.taken` is none, and was as saved: none, or of the zero page, or
///   of a page of a member of `folios`, to whose mapping it still stands.
#[must_use = "the entries are put back when the value is dropped"]
pub struct TakenEntries<'v, 's> {
    saved: &'s mut SavedEntries,
    folios: HeldFolios<'s>,
    base: NonNull<bindings::pte_t>,
    ptl: *mut bindings::spinlock_t,
    entry: PmdEntry<'v>,
    _nts: NotThreadSafe,
}

impl<'v> TakenEntries<'v, '_> {
    /// The VMA that the table maps.
    #[inline]
    pub fn vma(&self) -> &'v Vma {
        self.entry.vma
    }

    #[inline]
    fn ptep(&self, index: PteIndex) -> *mut bindings::pte_t {
        // SAFETY: By the invariants of `PteIndex` and the type the entry is in the table.
        unsafe { self.base.as_ptr().add(index.get()) }
    }

    /// Saves and clears the entries of a region. They stand to their mappings, so no count changes.
    ///
    /// # Safety
    ///
    /// The page-table lock must be held; every folio that the entries map must be in `folios`.
    #[inline]
    unsafe fn save_and_clear(&mut self, region: &Region) {
        let mm = self.vma().mm();
        let end = region.first().get().saturating_add(region.nr_pages());
        let mut done = 0;
        for index in region.indices() {
            if index.get() < done {
                continue;
            }
            let ptep = self.ptep(index);
            // SAFETY: The entry is valid and locked. Nobody else can reach the table, so no bit of
            // it changes between these lines, and no TLB has it. What is not none maps the zero
            // page or a page of a member of `folios`.
            unsafe {
                let pte = bindings::ptep_get(ptep);
                *self.saved.slot(index) = pte;
                if bindings::pte_none(pte) {
                    continue;
                }
                let mut nr = 1;
                if !bindings::is_zero_pfn(bindings::pte_pfn(pte)) {
                    let folio = bindings::page_folio(bindings::pte_page(pte));
                    if bindings::folio_test_large(folio) {
                        let room = end.saturating_sub(index.get());
                        // CAST: A table has few entries.
                        nr = bindings::folio_pte_batch(folio, ptep, pte, room as u32);
                    }
                }
                done = index.get().saturating_add(nr as usize);
                // All of a run before any of it is cleared: some architectures keep bits for a
                // block of entries, and would have to take it apart.
                for next in (index.get()..done).skip(1).filter_map(PteIndex::new) {
                    *self.saved.slot(next) = bindings::ptep_get(self.ptep(next));
                }
                bindings::clear_ptes(mm, region.addr_of(index), ptep, nr);
            }
        }
        self.saved.taken.set_all(region);
    }

    /// The page of an entry that was taken; [`None`] if its content is zeroes, or if the entry was
    /// not taken, in which case no folio can be [installed](Self::install) for it.
    #[inline]
    pub fn page(&self, index: PteIndex) -> Option<FrozenPage<'_>> {
        let page = self.saved.page(index)?;
        // SAFETY: By the type invariant the page is of a held folio that had no references but
        // those of page tables, and its mapping here is still counted: nobody frees it or writes to
        // it.
        Some(unsafe { FrozenPage::new(page) })
    }

    /// Maps a folio that has the content of all pages of a region in their place. This is the
    /// commit; it does not sleep.
    ///
    /// The folio comes back if it does not fit the region, or if not all of it was taken.
    pub fn install(&mut self, region: &Region, folio: FilledFolio) -> Result<(), FilledFolio> {
        if region.pmd() != self.entry.at
            || region.is_whole_table()
            || region.order() != folio.order()
            || self.saved.taken.weight(region) != region.nr_pages()
        {
            return Err(folio);
        }
        let vma = self.vma();
        // SAFETY: By the type invariant `ptl` is the lock of the table; it is unlocked at the end. The
        // region was taken, all of it, so its entries are none. Their VMA is marked as written, as
        // it was when the table was detached, which also wanted an anon_vma. The folio is new,
        // charged, up to date, and less than a whole table.
        let filled = unsafe {
            bindings::spin_lock(self.ptl);
            let filled = self.forget(region);
            let ptep = self.ptep(region.first());
            rmap::map_new_ptes(folio.into_raw(), ptep, vma, region.start());
            bindings::spin_unlock(self.ptl);
            filled
        };
        if filled != 0 {
            // SAFETY: The mm is valid.
            unsafe { bindings::add_mm_counter(vma.mm(), bindings::MM_ANONPAGES as i32, filled) };
        }
        Ok(())
    }

    /// Forgets the mappings of a region. Returns how many entries mapped nothing, or the zero page.
    ///
    /// # Safety
    ///
    /// The page-table lock must be held, and all of the region be taken. The caller fills the
    /// entries, which are not put back any more.
    unsafe fn forget(&mut self, region: &Region) -> isize {
        let vma = self.vma();
        let mut filled: isize = 0;
        let mut run: Option<Run> = None;
        for index in region.indices() {
            let Some(page) = self.saved.page(index) else {
                filled = filled.wrapping_add(1);
                if let Some(pte) = self.saved.get(index) {
                    // SAFETY: Only looks at the value, and counts if KSM made the zero page of it.
                    unsafe {
                        if !bindings::pte_none(pte) {
                            bindings::ksm_might_unmap_zero_page(vma.mm(), pte);
                        }
                    }
                }
                continue;
            };
            match &mut run {
                Some(run) if run.goes_on_with(page) => run.nr = run.nr.wrapping_add(1),
                _ => {
                    if let Some(run) = run.replace(Run::of(page)) {
                        // SAFETY: The caller holds the lock, and by the type invariant the entries
                        // of the run are cleared.
                        unsafe { run.unmap(vma) };
                    }
                }
            }
        }
        if let Some(run) = run {
            // SAFETY: As above.
            unsafe { run.unmap(vma) };
        }
        // INVARIANT: The entries are taken no more.
        self.saved.taken.clear(region);
        filled
    }

    /// Puts the entries back that were not replaced.
    fn put_back(&mut self) {
        let whole = Region::whole_table(self.entry.at);
        if self.saved.taken.weight(&whole) == 0 {
            return;
        }
        let mm = self.vma().mm();
        // SAFETY: By the type invariant `ptl` is the lock of the table; unlocked below.
        unsafe { bindings::spin_lock(self.ptl) };
        for index in whole.indices() {
            let Some(pte) = self.saved.get(index) else {
                continue;
            };
            // SAFETY: The lock is held. By the type invariant the entry is none, and its value
            // stands for a mapping that is counted.
            unsafe {
                if !bindings::pte_none(pte) {
                    bindings::set_pte_at(mm, whole.addr_of(index), self.ptep(index), pte);
                }
            }
        }
        self.saved.taken = Occupied::EMPTY;
        // SAFETY: Locked above.
        unsafe { bindings::spin_unlock(self.ptl) };
    }
}

impl Drop for TakenEntries<'_, '_> {
    fn drop(&mut self) {
        self.put_back();
        // Folios that have lost their last mapping are freed.
        self.folios.release_unmapped();
    }
}

/// Successive pages of one folio.
struct Run {
    folio: *mut bindings::folio,
    first: NonNull<bindings::page>,
    first_pfn: usize,
    nr: u32,
}

impl Run {
    /// Begins with the page of an entry that was taken.
    #[inline]
    fn of(first: NonNull<bindings::page>) -> Self {
        // SAFETY: The page is kept by its mapping.
        unsafe {
            Self {
                folio: bindings::page_folio(first.as_ptr()),
                first,
                first_pfn: bindings::page_to_pfn(first.as_ptr()),
                nr: 1,
            }
        }
    }

    /// Whether `page`, that of the next entry, is the next page of the folio.
    #[inline]
    fn goes_on_with(&self, page: NonNull<bindings::page>) -> bool {
        // SAFETY: The page is kept by its mapping.
        unsafe {
            bindings::page_to_pfn(page.as_ptr()) == self.first_pfn.wrapping_add(self.nr as usize)
                && bindings::page_folio(page.as_ptr()) == self.folio
        }
    }

    /// Forgets the mappings.
    ///
    /// # Safety
    ///
    /// The page-table lock must be held, and the entries of these pages be cleared.
    #[inline]
    unsafe fn unmap(self, vma: &Vma) {
        // SAFETY: The caller cleared the entries under the lock. The folio is held, so that is
        // not the last reference.
        unsafe { rmap::unmap_pages(self.folio, self.first.as_ptr(), self.nr, vma) }
    }
}
