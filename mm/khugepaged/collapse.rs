// SPDX-License-Identifier: GPL-2.0

//! What all back-ends share: the choice among them, and the new folio.
//!
//! Locks: see each function.
//! Context: sleeps.
//!
//! C: `collapse_single_pmd()`, `alloc_charge_folio()`.

#![forbid(unsafe_code)]

use crate::{
    anon,
    context::CollapseContext,
    file::{
        self,
        Done, //
    },
    inject::{
        self,
        Step, //
    },
    policy::Policy,
    remap,
    result::{
        Scan,
        ScanResult, //
    },
    tunables,
    walk::Worth, //
};
use kernel::mm::{
    folio::NewFolio,
    memcg::ChargedFolio,
    mmap_lock::{
        LockedVma,
        PinnedMm,
        Read, //
    },
    page_cache::{
        CacheFile,
        Extent, //
    },
    region::{
        Order,
        PmdAddr,
        Region, //
    },
    stat::CollapseEvent,
    Mm, //
};

/// Collapses the memory at `at`, if that is possible.
///
/// The locked VMA comes back if the mmap lock was not dropped.
#[inline]
pub(crate) fn collapse_one<'mm>(
    vma: LockedVma<'mm, Read>,
    at: PmdAddr,
    cx: &mut CollapseContext,
) -> (Option<LockedVma<'mm, Read>>, Scan) {
    let (vma, result) = if vma.is_anonymous() {
        anon::scan::scan_and_collapse(vma, at, cx)
    } else {
        collapse_file(vma, at, cx)
    };
    if cx.policy == Policy::Khugepaged && result.is_ok() {
        tunables::count_collapsed();
    }
    (vma, result)
}

/// The same for what lies in a page cache. The mmap lock is dropped, unless there is no file.
fn collapse_file<'mm>(
    vma: LockedVma<'mm, Read>,
    at: PmdAddr,
    cx: &mut CollapseContext,
) -> (Option<LockedVma<'mm, Read>>, Scan) {
    let parts = file::regions::Parts::of(&vma, at, cx.policy);
    let whole = match &parts {
        Some(parts) if !parts.orders.contains(Order::PMD) => None,
        _ => vma.extent_at(at),
    };
    let Some(file) = vma.file().filter(|_| whole.is_some() || parts.is_some()) else {
        return (Some(vma), Err(ScanResult::VmaCheck));
    };
    let mm = vma.unlock();
    let result = whole.map(|extent| collapse_whole(mm, at, &file, extent, cx));
    let result = match (result, parts) {
        (Some(Ok(())), _) => Ok(()),
        (result, Some(parts)) => parts.collapse(mm, &file, result, cx),
        (result, None) => result.unwrap_or(Err(ScanResult::Fail)),
    };
    (None, result)
}

/// Makes a huge page of an extent of a file.
fn collapse_whole(
    mm: PinnedMm<'_>,
    at: PmdAddr,
    file: &CacheFile,
    extent: Extent,
    cx: &mut CollapseContext,
) -> Scan {
    let mut result = file::scan::scan_and_collapse(mm, at, file, extent, cx);
    // Who asks for a collapse is spared the question what was written of late.
    if result == Err(ScanResult::PageDirtyOrWriteback)
        && cx.policy.writes_back()
        && file.mapping().can_write_back()
    {
        file.mapping().write_back(extent);
        result = file::scan::scan_and_collapse(mm, at, file, extent, cx);
    }
    match result {
        Ok(Done::Collapsed) => Ok(()),
        Ok(Done::NeedsRemap) => remap::remap_extent(mm, at, cx.policy.maps_at_once()),
        Err(result) => Err(result),
    }
}

/// Allocates a folio where most of the pages are, and charges it to the control group of `mm`.
///
/// No lock may be held: this reclaims and compacts as the policy allows.
pub(crate) fn charged_folio(mm: &Mm, order: Order, cx: &mut CollapseContext) -> Scan<ChargedFolio> {
    let gfp = cx.policy.gfp().for_order(order);
    let (nid, fallback) = cx.target();
    let new = if inject::fails(Step::Allocate) {
        None
    } else {
        NewFolio::alloc(gfp, order, nid, fallback)
    };
    let Some(new) = new else {
        CollapseEvent::AllocFailed.count(order);
        return Err(ScanResult::AllocHugePageFail);
    };
    CollapseEvent::Alloc.count(order);

    if inject::fails(Step::Charge) {
        return Err(ScanResult::CgroupChargeFail);
    }
    let new = new
        .charge(mm, gfp)
        .map_err(|_| ScanResult::CgroupChargeFail)?;
    if order.is_pmd() {
        new.count_collapse_alloc();
    }
    Ok(new)
}

/// What is counted when a region is refused.
pub(crate) fn refusal_event(refusal: ScanResult) -> Option<CollapseEvent> {
    match refusal {
        ScanResult::ExceedNonePte => Some(CollapseEvent::ExceedNone),
        ScanResult::ExceedSwapPte => Some(CollapseEvent::ExceedSwap),
        ScanResult::ExceedSharedPte => Some(CollapseEvent::ExceedShared),
        _ => None,
    }
}

/// The same verdict; a refusal that has a counter is counted.
pub(crate) fn counted(worth: Worth, region: &Region) -> Worth {
    if let Worth::Refused(refusal) = worth {
        if let Some(event) = refusal_event(refusal) {
            event.count(region.order());
        }
    }
    worth
}
