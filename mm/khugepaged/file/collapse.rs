// SPDX-License-Identifier: GPL-2.0

//! Collapsing an extent of the page cache.
//!
//! Locks: none on entry and on return. In between the locks of all folios of the extent, and those
//! that [`page_cache`](kernel::mm::page_cache) takes within. No mmap lock is needed, as no process
//! is asked.
//! Context: sleeps, reclaims, compacts, reads and waits for folios that are being read.
//! Units: pages.
//!
//! C: `collapse_file()`.

#![forbid(unsafe_code)]

use crate::{
    collapse::charged_folio,
    context::CollapseContext,
    ffi::trace,
    file::{
        Done,
        Kind, //
    },
    inject::{
        self,
        Step, //
    },
    result::{
        Scan,
        ScanResult, //
    }, //
};
use kernel::mm::{
    folio::FilledFolio,
    internal::lru,
    memcg::ChargedFolio,
    mmap_lock::PinnedMm,
    page_cache::{
        CacheFile,
        CacheFolios,
        Extent,
        FolioRef,
        Gather,
        LockedFolio,
        Refusal,
        Slot, //
    },
    page_copy::{
        CopyError,
        FolioFill, //
    },
    region::Order, //
};

/// How far a collapse has come, for the trace event.
#[derive(Default)]
struct Progress {
    new_pfn: Option<usize>,
    index: usize,
    /// Dirty folios are worth writing for the next time.
    write_back: bool,
    /// A page of a regular file is missing.
    missing: bool,
}

/// What is to be collapsed.
pub(super) struct Plan {
    pub(super) extent: Extent,
    /// Where the process maps it, in bytes.
    pub(super) addr: usize,
    /// Whether a scan has found all of it in the page cache.
    pub(super) is_whole: bool,
    /// How many pages may be missing by the time when all folios are locked.
    pub(super) max_holes: usize,
}

impl Plan {
    /// Whether what is missing may be brought back for it, from swap or from a disk.
    fn may_read(&self) -> bool {
        self.extent.order().is_pmd()
    }
}

/// Collapses an extent.
pub(super) fn collapse_extent(
    mm: PinnedMm<'_>,
    file: &CacheFile,
    plan: &Plan,
    cx: &mut CollapseContext,
) -> Scan<Done> {
    let mut progress = Progress::default();
    let order = plan.extent.order();
    let kind = Kind::of(file.mapping());
    let result = match try_collapse_extent(mm, kind, file, plan, cx, &mut progress) {
        // Somebody has got a huge page there since the scan, or swap had one.
        Err(ScanResult::PteMappedHugepage) if order.is_pmd() => Ok(Done::NeedsRemap),
        result => result,
    };
    trace::collapse_file(
        mm.mm(),
        progress.new_pfn,
        progress.index,
        plan.addr,
        kind == Kind::Shmem,
        file,
        order,
        &result,
    );
    result
}

fn try_collapse_extent(
    mm: PinnedMm<'_>,
    kind: Kind,
    file: &CacheFile,
    plan: &Plan,
    cx: &mut CollapseContext,
    progress: &mut Progress,
) -> Scan<Done> {
    let extent = plan.extent;
    // Allocated first, dropped last: all locks are gone when it is freed.
    let new = charged_folio(mm.mm(), extent.order(), cx)?;
    progress.new_pfn = Some(new.folio().pfn());

    if kind == Kind::Regular && !plan.is_whole {
        read_missing(file, extent, progress)?;
    }
    let mut gathered = gather(kind, file, plan, progress);
    if progress.missing && plan.may_read() {
        // Reclaim was faster.
        read_missing(file, extent, progress)?;
        gathered = gather(kind, file, plan, progress);
    }
    let folios = match gathered {
        Err(ScanResult::PageDirtyOrWriteback) if progress.write_back => {
            // The folios are unlocked by now: writing may have to wait for other locks.
            file.mapping().start_write_back(extent);
            return Err(ScanResult::PageDirtyOrWriteback);
        }
        gathered => gathered?,
    };
    if folios.holes() > 0 && inject::fails(Step::ReserveHoles) {
        return Err(ScanResult::Fail);
    }
    let reserved = folios.reserve().ok_or(ScanResult::Fail)?;
    let new = copy(reserved.folios(), extent, new, progress)?;
    if inject::fails(Step::Install) {
        return Err(ScanResult::StoreFailed);
    }
    reserved.install(new)?.retract_tables();
    Ok(if cx.policy.maps_at_once() {
        Done::NeedsRemap
    } else {
        Done::Collapsed
    })
}

/// How many folios may be taken out under our hands before we give up.
const MAX_LOST: u32 = 16;

/// Takes all folios of the extent. Those of a regular file have to be there.
fn gather<'m>(
    kind: Kind,
    file: &'m CacheFile,
    plan: &Plan,
    progress: &mut Progress,
) -> Scan<CacheFolios<'m>> {
    let (mapping, extent) = (file.mapping(), plan.extent);
    let mut gather = Gather::new(mapping, extent);
    let mut lost = 0;
    while let Some(index) = gather.next() {
        progress.index = index;
        let slot = mapping.slot(index);
        let locked = match (kind, slot) {
            (Kind::Shmem, Slot::Empty) => {
                if index == extent.start() && mapping.is_hole(extent) {
                    return Err(ScanResult::Truncated);
                }
                gather.hole();
                if gather.holes() > plan.max_holes {
                    return Err(ScanResult::ExceedNonePte);
                }
                continue;
            }
            (Kind::Shmem, Slot::Folio(folio)) if folio.is_uptodate() => lock(folio)?,
            (Kind::Shmem, Slot::Trace) if !plan.may_read() => {
                return Err(ScanResult::ExceedSwapPte);
            }
            (Kind::Shmem, _) => bring_in(file, index)?,
            (Kind::Regular, Slot::Folio(folio)) => lock(refuse_dirty(file, folio, progress)?)?,
            (Kind::Regular, _) => {
                progress.missing = true;
                return Err(ScanResult::Fail);
            }
        };
        if !locked.is_in(mapping) {
            // It was taken out between the lookup and the lock. Something else is there now.
            lost += 1;
            if lost > MAX_LOST {
                return Err(ScanResult::Truncated);
            }
            continue;
        }
        admit(kind, &locked, extent.order())?;
        if locked.index() != index {
            // A folio has come that is larger than the hole that was here.
            return Err(ScanResult::PageFilled);
        }
        for (step, refusal) in [
            (Step::IsolateLru, Refusal::NotOnLru),
            (Step::Release, Refusal::HasPrivate),
            (Step::IsolatePin, Refusal::Referenced),
        ] {
            if inject::fails(step) {
                return Err(refusal.into());
            }
        }
        gather.take(locked)?;
    }
    progress.index = extent.end();
    gather.finish().ok_or(ScanResult::Truncated)
}

/// Tries to lock a folio that is in the page cache.
#[inline]
fn lock(folio: FolioRef) -> Scan<LockedFolio> {
    if inject::fails(Step::IsolateLock) {
        return Err(ScanResult::PageLock);
    }
    folio.try_lock().map_err(|_| ScanResult::PageLock)
}

/// Brings a page of shmem back from swap, or has it cleared if it was only allocated.
fn bring_in(file: &CacheFile, index: usize) -> Scan<LockedFolio> {
    let folio = if inject::fails(Step::SwapIn) {
        None
    } else {
        file.mapping().shmem_folio(index)
    };
    // It may be on its way to the LRU still, with a reference that would look like a pin.
    lru::drain();
    folio.ok_or(ScanResult::Fail)
}

/// Reads what is missing in an extent of a regular file.
///
/// Reading takes the `invalidate_lock`, inside of which truncation waits for folio locks; so it is
/// done before the first folio is locked.
fn read_missing(file: &CacheFile, extent: Extent, progress: &mut Progress) -> Scan {
    let mapping = file.mapping();
    for index in extent.start()..extent.end() {
        if let Slot::Folio(_) = mapping.slot(index) {
            continue;
        }
        progress.index = index;
        if inject::fails(Step::ReadIn) {
            return Err(ScanResult::Fail);
        }
        file.read_ahead(index, extent.end());
        // The lock is waited for, as it is held until the page is read.
        drop(mapping.lock_folio(index).ok_or(ScanResult::Fail)?);
    }
    // They may be on their way to the LRU still, with references that would look like pins.
    lru::drain();
    Ok(())
}

/// Only clean folios of regular files are collapsed. A dirty one is to be written, for the next
/// time, if nobody has the file open to go on writing to it.
#[inline]
fn refuse_dirty(file: &CacheFile, folio: FolioRef, progress: &mut Progress) -> Scan<FolioRef> {
    let dirty = folio.is_dirty();
    if !dirty && !folio.is_under_writeback() {
        return Ok(folio);
    }
    progress.write_back = dirty && !file.mapping().is_open_for_write();
    Err(ScanResult::PageDirtyOrWriteback)
}

/// What is asked of a folio once it is locked.
#[inline]
fn admit(kind: Kind, folio: &LockedFolio, order: Order) -> Scan {
    if !folio.is_uptodate() {
        return Err(ScanResult::Fail);
    }
    // The file was truncated and written again, and somebody has got a large page for it already.
    if folio.order() >= u32::from(order.get()) {
        return Err(ScanResult::PteMappedHugepage);
    }
    if kind == Kind::Regular && (folio.is_dirty() || folio.is_under_writeback()) {
        return Err(ScanResult::PageDirtyOrWriteback);
    }
    Ok(())
}

/// Gives a new folio the content of the extent.
fn copy(
    folios: &CacheFolios<'_>,
    extent: Extent,
    new: ChargedFolio,
    progress: &mut Progress,
) -> Scan<FilledFolio> {
    let mut fill = FolioFill::for_cache(new);
    for (index, page) in (extent.start()..).zip(folios.pages()) {
        progress.index = index;
        let filled = match page {
            None => fill.zero(),
            Some(_) if inject::fails(Step::Copy) => Err(CopyError::Poisoned),
            Some(page) => fill.copy(&page),
        };
        filled?;
    }
    progress.index = extent.end();
    fill.finish().ok_or(ScanResult::Fail)
}
