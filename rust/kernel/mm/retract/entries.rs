// SPDX-License-Identifier: GPL-2.0

//! The entries of a table that may map a huge folio, and nothing else.
//!
//! Locks: the page-table lock, held by the caller.
//! Context: atomic.
//! Units: entries by their index, addresses in bytes.

use super::Mismatch;
use crate::{
    bindings,
    mm::{
        page_cache::LockedFolio,
        pgtable::{
            PmdEntry,
            PteTable, //
        },
        region::{
            PmdAddr,
            HPAGE_PMD_NR, //
        },
        vma::Vma, //
    },
    page::PAGE_SIZE, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};

/// The entries of a table.
///
/// # Invariants
///
/// `base` is the first entry of a mapped and locked table of `vma`, for the range at `at`.
#[derive(Clone, Copy)]
pub(super) struct Entries<'t> {
    base: NonNull<bindings::pte_t>,
    vma: &'t Vma,
    at: PmdAddr,
}

impl<'t> Entries<'t> {
    #[inline]
    pub(super) fn of(ptes: &'t PteTable<'_>) -> Self {
        // INVARIANT: That of `PteTable`.
        Self {
            base: ptes.base,
            vma: ptes.vma,
            at: ptes.at,
        }
    }

    /// The runs of entries that map pages of the folio, each of them one batch. The others have to
    /// be empty.
    #[inline]
    fn runs(
        self,
        folio: &LockedFolio,
    ) -> impl Iterator<Item = Result<Run, Mismatch>> + use<'_, 't> {
        let first = folio.pfn();
        let mut next = 0;
        core::iter::from_fn(move || loop {
            let index = next;
            if index >= HPAGE_PMD_NR {
                return None;
            }
            next += 1;
            // SAFETY: By the type invariant the table is locked, and it has the entry. The folio is
            // of the size of the table, so the page frames follow each other as the entries do.
            unsafe {
                let ptep = self.base.as_ptr().add(index);
                let pte = bindings::ptep_get(ptep);
                if bindings::pte_none(pte) {
                    continue;
                }
                if !bindings::pte_present(pte) {
                    return Some(Err(Mismatch::NonPresent));
                }
                // What a debugger or a private mapping put there is not a page of the folio.
                if bindings::pte_special(pte) || bindings::pte_pfn(pte) != first.wrapping_add(index)
                {
                    return Some(Err(Mismatch::Other));
                }
                let room = (HPAGE_PMD_NR - index) as u32;
                let nr = bindings::folio_pte_batch(folio.as_raw(), ptep, pte, room).max(1);
                next = index.saturating_add(nr as usize);
                return Some(Ok(Run { index, nr }));
            }
        })
    }

    /// Whether the entries map nothing but the pages of the folio, each in its place.
    pub(super) fn map_only<'f>(
        self,
        folio: &'f LockedFolio,
    ) -> Result<FolioEntries<'t, 'f>, Mismatch> {
        self.runs(folio).try_for_each(|run| run.map(|_| ()))?;
        // INVARIANT: Just seen.
        Ok(FolioEntries {
            entries: self,
            folio,
        })
    }
}

/// Entries that map the pages of a folio one after the other.
struct Run {
    /// The first of them.
    index: usize,
    nr: u32,
}

/// The entries of a table that holds nothing else than a folio.
///
/// # Invariants
///
/// Each entry is empty or maps the page of `folio` that has its place.
pub(super) struct FolioEntries<'t, 'f> {
    entries: Entries<'t>,
    folio: &'f LockedFolio,
}

impl FolioEntries<'_, '_> {
    /// Clears all entries and forgets the mappings; what they knew of writes is told to the folio,
    /// under the lock, as munmap() does. The TLB is flushed with the PMD. Returns how many pages
    /// were mapped.
    pub(super) fn clear(self) -> usize {
        let (entries, folio) = (self.entries, self.folio);
        let mut unmapped: usize = 0;
        for Run { index, nr } in entries.runs(folio).flatten() {
            let addr = entries.at.get().wrapping_add(index * PAGE_SIZE);
            // SAFETY: By the type invariants the entries are locked and map `nr` pages of the folio
            // from the page `index` on. The folio is kept by a reference of ours.
            unsafe {
                let ptep = entries.base.as_ptr().add(index);
                let old = bindings::get_and_clear_ptes(entries.vma.mm(), addr, ptep, nr);
                if bindings::pte_dirty(old) && !folio.is_dirty() {
                    bindings::folio_mark_dirty(folio.as_raw());
                }
                let page = bindings::folio_page(folio.as_raw(), index);
                let vma = entries.vma.as_ptr();
                bindings::folio_remove_rmap_ptes(folio.as_raw(), page, nr as i32, vma);
            }
            unmapped = unmapped.wrapping_add(nr as usize);
        }
        unmapped
    }
}

/// A table that is mapped, while somebody else has it locked.
pub(super) struct MappedTable<'v>(pub(super) Entries<'v>);

impl<'v> MappedTable<'v> {
    /// # Safety
    ///
    /// The entry must have a table, which is locked for as long as the value lives.
    #[inline]
    pub(super) unsafe fn map(entry: PmdEntry<'v>) -> Option<Self> {
        let (mut ptl, mut pmd) = (null_mut(), bindings::pmd_t::default());
        // SAFETY: The entry is valid.
        let base = NonNull::new(unsafe {
            bindings::pte_offset_map_rw_nolock(
                entry.vma.mm(),
                entry.pmd.as_ptr(),
                entry.at.get(),
                &mut pmd,
                &mut ptl,
            )
        })?;
        // INVARIANT: Mapped just now, and locked by the caller.
        Some(Self(Entries {
            base,
            vma: entry.vma,
            at: entry.at,
        }))
    }
}

impl Drop for MappedTable<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The table was mapped by `map`.
        unsafe { bindings::pte_unmap(self.0.base.as_ptr()) }
    }
}
