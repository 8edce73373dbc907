// SPDX-License-Identifier: GPL-2.0

//! Taking all folios of an extent away from their users.
//!
//! A folio that is locked, off the LRU, unmapped and referred to by nobody but the page cache
//! cannot be changed: to write to it or to map it, one has to find it in the page cache, lock it,
//! and then finds that it is no longer there. References that appear later are those of lookups
//! which will wait for the lock.
//!
//! Locks: [`Gather`] and [`CacheFolios`] hold the locks of all folios of the extent. They are
//! taken in the order of the pages, mostly by trying.
//! Context: sleeps.
//! Units: pages.
//!
//! C: the first half of `collapse_file()`.

use crate::{
    bindings,
    mm::{
        internal::lru::{
            IsolatedFolios,
            Member, //
        },
        page_cache::{
            Extent,
            LockedFolio,
            Mapping, //
        },
        page_copy::FrozenPage,
        tlb::UnmapBatch, //
    },
    sync::barrier::{
        smp_mb,
        Read, //
    }, //
};
use core::mem::ManuallyDrop;

/// Why a folio was not taken. It is put back then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not the folio of the next page.
    Elsewhere,
    /// It is as large as the extent.
    Large,
    /// It is not on an LRU list.
    NotOnLru,
    /// The file system does not give its private data up.
    HasPrivate,
    /// Somebody holds a reference.
    Referenced,
    /// It was written to until now, and is not shmem.
    Dirty,
}

/// The folios of an extent so far, from its first page up to some page.
///
/// # Invariants
///
/// Each page of the extent in front of `next` is in a member of `folios`, or is counted in `holes`.
/// The members are in the page cache of `mapping`, in order, lesser than the extent, and unmapped.
#[must_use = "the folios are put back when the value is dropped"]
pub struct Gather<'m> {
    // The TLB is flushed before the first folio is unlocked.
    batch: UnmapBatch,
    folios: IsolatedFolios,
    mapping: &'m Mapping,
    extent: Extent,
    next: usize,
    holes: usize,
}

impl<'m> Gather<'m> {
    /// Starts with nothing.
    #[inline]
    pub fn new(mapping: &'m Mapping, extent: Extent) -> Self {
        // INVARIANT: There is no page in front of the first one.
        Self {
            batch: UnmapBatch::new(),
            folios: IsolatedFolios::new(),
            mapping,
            extent,
            next: extent.start(),
            holes: 0,
        }
    }

    /// The page that comes next; [`None`] if all are there.
    #[inline]
    pub fn next(&self) -> Option<usize> {
        (self.next < self.extent.end()).then_some(self.next)
    }

    /// How many pages were missing so far.
    #[inline]
    pub fn holes(&self) -> usize {
        self.holes
    }

    /// There is no next page. This is looked at again before anything is replaced.
    #[inline]
    pub fn hole(&mut self) {
        if self.next().is_some() {
            // INVARIANT: The page is counted.
            self.holes = self.holes.wrapping_add(1);
            self.next = self.next.wrapping_add(1);
        }
    }

    /// Takes the folio of the next page: off the LRU, out of all page tables, and without private
    /// data. Sleeps.
    #[inline]
    pub fn take(&mut self, folio: LockedFolio) -> Result<(), Refusal> {
        let nr = folio.nr_pages();
        let behind = self.next.saturating_add(nr);
        if behind > self.extent.end() || folio.index() != self.next || !folio.is_in(self.mapping) {
            return Err(Refusal::Elsewhere);
        }
        if nr >= self.extent.nr_pages() {
            return Err(Refusal::Large);
        }
        let folio = OffLru::isolate(folio)?;
        let raw = folio.0.as_raw();
        // SAFETY: The folio is locked and ours to unmap; the batch takes care of the TLB.
        unsafe {
            if !bindings::filemap_release_folio(raw, bindings::GFP_KERNEL) {
                return Err(Refusal::HasPrivate);
            }
            if bindings::folio_mapped(raw) {
                self.batch.unmap(raw);
            }
        }
        if let Err(refusal) = self.is_ours(&folio.0) {
            // Who cleans the folio once it is unlocked does not know of writes through the TLB.
            self.batch.flush();
            return Err(refusal);
        }
        self.folios.adopt(folio.into_member());
        // INVARIANT: The folio covers the pages up to `behind`.
        self.next = behind;
        Ok(())
    }

    /// Whether nobody but us can change a folio that we have isolated and unmapped.
    #[inline]
    fn is_ours(&self, folio: &LockedFolio) -> Result<(), Refusal> {
        // SAFETY: We hold references to the folio.
        let references = unsafe { bindings::folio_ref_count(folio.as_raw()) };
        // Ours are one per page, for the page cache, and two: one from finding the folio, and one
        // from the isolation.
        if usize::try_from(references) != Ok(folio.nr_pages().wrapping_add(2)) {
            return Err(Refusal::Referenced);
        }
        // Who drops a PTE or a pin tells the folio of its writes before it drops the reference. So
        // after the count was seen to be ours, they are seen, too.
        smp_mb(Read);
        // From here on nobody can write to it.
        if !self.mapping.is_shmem() && folio.is_dirty() {
            return Err(Refusal::Dirty);
        }
        Ok(())
    }

    /// All pages are there. Flushes the TLB, so that the content cannot change any more.
    ///
    /// [`None`] if there is nothing but holes: then no folio lock is held, and truncation may have
    /// been here and gone.
    #[inline]
    pub fn finish(self) -> Option<CacheFolios<'m>> {
        if self.next().is_some() || self.holes >= self.extent.nr_pages() {
            return None;
        }
        // INVARIANT: That of `Gather`, and `next` is the end of the extent. Dropping the batch
        // flushes the TLB.
        Some(CacheFolios {
            folios: self.folios,
            mapping: self.mapping,
            extent: self.extent,
            holes: self.holes,
        })
    }
}

/// A locked folio that is off the LRU. Dropping it puts it back, and then unlocks it.
struct OffLru(LockedFolio);

impl OffLru {
    #[inline]
    fn isolate(folio: LockedFolio) -> Result<Self, Refusal> {
        // SAFETY: We hold a reference to the folio.
        if unsafe { bindings::folio_isolate_lru(folio.as_raw()) } {
            Ok(Self(folio))
        } else {
            Err(Refusal::NotOnLru)
        }
    }

    /// The folio as a member of [`IsolatedFolios`]: the reference from finding it goes, that of the
    /// isolation stays.
    #[inline]
    fn into_member(self) -> Member {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again.
        let folio = unsafe { core::ptr::read(&this.0) }.into_raw();
        // SAFETY: The folio is locked and isolated, and we own both references: one is dropped, one
        // goes to the member.
        unsafe {
            bindings::folio_put(folio.as_ptr());
            Member::from_raw(folio)
        }
    }
}

impl Drop for OffLru {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The reference of the isolation is ours.
        unsafe { bindings::folio_putback_lru(self.0.as_raw()) }
    }
}

/// All folios of an extent: nobody maps them, writes to them or takes them out of the page cache.
/// Its holes may be filled by others still.
///
/// # Invariants
///
/// Each page of the extent is in a member of `folios`, or is counted in `holes`. The members are
/// in the page cache of `mapping`, in order, and lesser than the extent; no page table maps them,
/// and no TLB.
#[must_use = "the folios are put back when the value is dropped"]
pub struct CacheFolios<'m> {
    pub(super) folios: IsolatedFolios,
    pub(super) mapping: &'m Mapping,
    pub(super) extent: Extent,
    pub(super) holes: usize,
}

impl CacheFolios<'_> {
    /// How many pages are missing.
    #[inline]
    pub fn holes(&self) -> usize {
        self.holes
    }

    /// The pages of the extent, in order; [`None`] for those that are missing.
    pub fn pages(&self) -> impl Iterator<Item = Option<FrozenPage<'_>>> {
        let mut members = self.folios.iter().peekable();
        let mut within = 0;
        (self.extent.start()..self.extent.end()).map(move |index| {
            let folio = *members.peek()?;
            if folio.index() > index {
                return None;
            }
            let page = folio.page(within)?;
            within = within.wrapping_add(1);
            if within >= folio.nr_pages() {
                members.next();
                within = 0;
            }
            // SAFETY: By the type invariant nobody writes to the page, and the folio is ours.
            Some(unsafe { FrozenPage::new(page) })
        })
    }
}
