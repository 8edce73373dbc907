// SPDX-License-Identifier: GPL-2.0

//! Letting one folio take the place of all that an extent of the page cache holds.
//!
//! First the holes are closed with entries that make lookups wait. If they are still as many as
//! were counted, nobody has filled one since, so nothing is overwritten; and if no VMA waits for
//! missing pages with a userfaultfd, nobody misses an event: one that registers later finds no hole
//! any more. Then the new folio is stored over everything, locked, so that whoever finds it waits
//! until the old page tables have gone. That is the commit; [`xas`](super::xas) says why it cannot
//! fail, for any order.
//!
//! Locks: `i_mmap_rwsem` for read while VMAs are looked at, then the `i_pages` lock with interrupts
//! off; both are held only within. All old folios are locked, and from here on the new one.
//! Context: may sleep before and after the locks.
//! Units: pages.
//!
//! C: the second half of `collapse_file()`.

use crate::{
    bindings,
    mm::{
        folio::{
            FilledFolio,
            Folio, //
        },
        internal::lru::IsolatedFolios,
        page_cache::{
            xas::{
                CommitCursor,
                LockedEntries, //
            },
            CacheFolios,
            Extent,
            Mapping,
            ReservedExtent, //
        },
        retract,
        rmap::MappingVmas, //
    }, //
};

/// Why the new folio was not installed. Everything is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// There is no memory for an entry.
    NoMemory,
    /// A hole was filled meanwhile.
    Filled,
    /// A userfaultfd wants to know when one of the holes is touched.
    Watched,
    /// The folio is not of the order of the extent.
    WrongOrder,
}

/// Holes that make lookups wait. Dropping it makes them holes again, and drops the lock.
struct ClosedHoles<'m> {
    entries: LockedEntries<'m>,
    extent: Extent,
    /// Whether there is something to undo.
    closed: bool,
}

impl<'m> ClosedHoles<'m> {
    /// Locks the entries and closes the holes, which have to be `nr`.
    #[inline]
    fn close(mapping: &'m Mapping, extent: Extent, nr: usize) -> Result<Self, InstallError> {
        let mut this = Self {
            entries: LockedEntries::lock(mapping),
            extent,
            closed: nr > 0,
        };
        if nr > 0 {
            match this.entries.mark_holes(extent) {
                (_, false) => return Err(InstallError::NoMemory),
                (marked, true) if marked != nr => return Err(InstallError::Filled),
                _ => {}
            }
        }
        Ok(this)
    }
}

impl Drop for ClosedHoles<'_> {
    fn drop(&mut self) {
        if self.closed {
            self.entries.unmark_holes(self.extent);
        }
    }
}

impl<'m> ReservedExtent<'m> {
    /// Replaces what the extent holds by `new`. After this has succeeded it cannot be undone, and
    /// nothing can fail any more.
    pub fn install(self, new: FilledFolio) -> Result<InstalledFolio<'m>, InstallError> {
        // In this order, so that the charge goes before the folios if they are dropped.
        let Self {
            folios,
            cursor,
            charge,
        } = self;
        let (mapping, extent) = (folios.mapping, folios.extent);
        if new.order() != extent.order() {
            return Err(InstallError::WrongOrder);
        }
        if folios.holes() == 0 {
            let holes = ClosedHoles::close(mapping, extent, 0)?;
            return Ok(folios.replace(new, cursor, holes));
        }
        let vmas = MappingVmas::lock(mapping);
        let holes = ClosedHoles::close(mapping, extent, folios.holes())?;
        if vmas
            .of_pages(extent.start(), extent.end())
            .any(|vma| vma.uffd_missing())
        {
            return Err(InstallError::Watched);
        }
        drop(vmas);
        let installed = folios.replace(new, cursor, holes);
        if let Some(charge) = charge {
            charge.spend();
        }
        Ok(installed)
    }
}

impl<'m> CacheFolios<'m> {
    /// The commit. By the type invariant, and as the holes are closed, the members and the holes
    /// are all that the extent holds.
    #[inline]
    fn replace(
        self,
        new: FilledFolio,
        cursor: CommitCursor<'m>,
        mut holes: ClosedHoles<'m>,
    ) -> InstalledFolio<'m> {
        let (mapping, extent) = (self.mapping, self.extent);
        let new = new.into_raw();
        // CAST: A folio has fewer pages.
        let nr = extent.nr_pages() as i32;
        // Nothing is left to be undone: the markers are overwritten.
        holes.closed = false;
        // SAFETY: The folio is ours alone, so it may be set up without atomics; it has its content
        // and its charge. The reference that it was allocated with becomes one of those of the page
        // cache.
        unsafe {
            bindings::__folio_set_locked(new);
            bindings::collapse_folio_set_place(new, mapping.as_raw(), extent.start());
            bindings::folio_ref_add(new, nr.wrapping_sub(1));
            count(new, mapping, nr);
            let thps = if mapping.is_shmem() {
                bindings::__folio_set_swapbacked(new);
                bindings::folio_mark_dirty(new);
                bindings::node_stat_item_NR_SHMEM_THPS
            } else {
                bindings::node_stat_item_NR_FILE_THPS
            };
            if extent.order().is_pmd() {
                bindings::lruvec_stat_mod_folio(new, thps, nr);
            }
            bindings::folio_add_lru(new);
        }
        // SAFETY: The entries are those of the mapping. Each page of the extent has a member, which
        // is locked and lesser than the extent, or a marker; the members' references are dropped
        // with them.
        unsafe { cursor.store(&holes.entries, new.cast()) };
        drop(holes);
        InstalledFolio {
            new,
            old: Some(self.folios),
            mapping,
            extent,
        }
    }
}

/// Changes the counts of page cache pages by `nr` pages of a folio.
///
/// # Safety
///
/// The folio must be valid.
#[inline]
unsafe fn count(folio: *mut bindings::folio, mapping: &Mapping, nr: i32) {
    // SAFETY: By the requirement of this function.
    unsafe {
        bindings::lruvec_stat_mod_folio(folio, bindings::node_stat_item_NR_FILE_PAGES, nr);
        if mapping.is_shmem() {
            bindings::lruvec_stat_mod_folio(folio, bindings::node_stat_item_NR_SHMEM, nr);
        }
    }
}

/// A folio in the page cache that is locked still, and those that it has replaced. Dropping the
/// value unlocks the one and frees the others.
///
/// # Invariants
///
/// `new` is in the page cache of `mapping`, in the place of the extent, and locked by us. The
/// members of `old` are in no page cache and no page table, though they do not know it yet.
pub struct InstalledFolio<'m> {
    new: *mut bindings::folio,
    old: Option<IsolatedFolios>,
    mapping: &'m Mapping,
    extent: Extent,
}

impl InstalledFolio<'_> {
    /// Takes away the tables that map nothing of the extent any more, so that it can be mapped by a
    /// PMD. A folio of a lesser order is mapped in the tables that are there. Sleeps.
    #[inline]
    pub fn retract_tables(&self) {
        if !self.extent.order().is_pmd() {
            return;
        }
        // SAFETY: By the type invariant the folio of the extent is locked, and the old ones are
        // unmapped.
        unsafe { retract::retract_tables(self.mapping, self.extent) }
    }

    /// Takes the old folios out of the counts of page cache pages. Most have node and control group
    /// in common with the one before, so one update serves them all.
    fn uncount(&self, old: &IsolatedFolios) {
        let mut run: Option<(&Folio, i32)> = None;
        for folio in old.iter() {
            // CAST: A folio in an extent has fewer pages.
            let nr = folio.nr_pages() as i32;
            let same = run.is_some_and(|(first, _)| {
                // SAFETY: The folios are valid and locked, so they keep their control groups.
                unsafe { bindings::collapse_same_lruvec(first.as_raw(), folio.as_raw()) }
            });
            run = match run {
                Some((first, sum)) if same => Some((first, sum.wrapping_add(nr))),
                other => {
                    self.uncount_run(other);
                    Some((folio, nr))
                }
            };
        }
        self.uncount_run(run);
    }

    #[inline]
    fn uncount_run(&self, run: Option<(&Folio, i32)>) {
        if let Some((folio, nr)) = run {
            // SAFETY: The folio is valid.
            unsafe { count(folio.as_raw(), self.mapping, nr.wrapping_neg()) };
        }
    }
}

impl Drop for InstalledFolio<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is ours. The page cache has the references.
        unsafe { bindings::folio_unlock(self.new) };
        if let Some(old) = self.old.take() {
            self.uncount(&old);
            // SAFETY: By the type invariant the members are not in the page cache any more, which
            // had one reference per page.
            unsafe { old.release_replaced() };
        }
    }
}
