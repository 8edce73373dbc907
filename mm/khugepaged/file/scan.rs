// SPDX-License-Identifier: GPL-2.0

//! Finding out whether an extent of the page cache is worth a collapse.
//!
//! Locks: none on entry; RCU, within.
//! Context: may sleep before and after the walk of the extent, and wherever it lets others run.
//! Units: pages.
//!
//! C: `collapse_scan_file()`.

#![forbid(unsafe_code)]

use crate::{
    context::CollapseContext,
    ffi::trace,
    file::{
        collapse::{
            collapse_extent,
            Plan, //
        },
        Done, //
    },
    policy::Limits,
    result::{
        Scan,
        ScanResult, //
    }, //
};
use kernel::mm::{
    mmap_lock::PinnedMm,
    page_cache::{
        CacheFile,
        CacheScan,
        Extent,
        FolioRef,
        Found, //
    },
    region::{
        Order,
        PmdAddr,
        HPAGE_PMD_NR, //
    },
    stat::CollapseEvent, //
};

/// What a scan has to tell the trace event.
#[derive(Default)]
struct Findings {
    present: u32,
    swapped: u32,
    /// The folio that ended the scan.
    failed_pfn: Option<usize>,
}

/// Scans an extent that the process maps at `at`, and collapses it if it can.
pub(crate) fn scan_and_collapse(
    mm: PinnedMm<'_>,
    at: PmdAddr,
    file: &CacheFile,
    extent: Extent,
    cx: &mut CollapseContext,
) -> Scan<Done> {
    let limits = cx.policy.limits(Order::PMD);
    let mut findings = Findings::default();

    let scanned = scan_extent(file, extent, &limits, cx, &mut findings);
    let result = match scanned {
        // A huge page that was found at once was no work.
        Err(ScanResult::PteMappedHugepage) => {
            cx.advance(1);
            Ok(Done::NeedsRemap)
        }
        scanned => {
            cx.advance(HPAGE_PMD_NR as u32);
            scanned
                .and_then(|()| enough_present(&limits, &findings))
                .and_then(|()| {
                    let is_whole = findings.present >= HPAGE_PMD_NR as u32;
                    let plan = Plan {
                        extent,
                        addr: at.get(),
                        is_whole,
                        max_holes: HPAGE_PMD_NR,
                    };
                    collapse_extent(mm, file, &plan, cx)
                })
        }
    };
    trace::scan_file(
        mm.mm(),
        findings.failed_pfn,
        file,
        findings.present,
        findings.swapped,
        &result,
    );
    result
}

#[inline(never)]
fn scan_extent(
    file: &CacheFile,
    extent: Extent,
    limits: &Limits,
    cx: &mut CollapseContext,
    findings: &mut Findings,
) -> Scan {
    cx.start_table();
    let mut scan = CacheScan::new(file.mapping(), extent.start()..extent.end());
    while let Some(found) = scan.next() {
        match found {
            Found::Trace { nr } => {
                findings.swapped = findings.swapped.saturating_add(nr);
                if findings.swapped > limits.swap {
                    CollapseEvent::ExceedSwap.count_in_cache();
                    return Err(ScanResult::ExceedSwapPte);
                }
                continue;
            }
            Found::Folio(folio) => {
                if let Err(refusal) = admit(&folio, cx) {
                    findings.failed_pfn = Some(folio.pfn());
                    return Err(refusal);
                }
                findings.present = findings.present.saturating_add(folio.nr_pages() as u32);
            }
        }
        scan.relax();
    }
    Ok(())
}

/// Cheap hints that taking the folio would fail. Whether it was used of late is not asked: PTEs
/// know, and they are too many to ask.
#[inline]
fn admit(folio: &FolioRef, cx: &mut CollapseContext) -> Scan {
    if folio.order() == u32::from(Order::PMD.get()) {
        return Err(ScanResult::PteMappedHugepage);
    }
    cx.add_page_on(folio.nid())?;
    can_be_taken(folio)
}

/// What both kinds of scans ask of a folio.
#[inline]
pub(super) fn can_be_taken(folio: &FolioRef) -> Scan {
    if !folio.is_on_lru() {
        return Err(ScanResult::PageLru);
    }
    if folio.has_other_references() {
        return Err(ScanResult::PageCount);
    }
    Ok(())
}

fn enough_present(limits: &Limits, findings: &Findings) -> Scan {
    if findings.present < (HPAGE_PMD_NR as u32).saturating_sub(limits.none) {
        CollapseEvent::ExceedNone.count_in_cache();
        return Err(ScanResult::ExceedNonePte);
    }
    Ok(())
}
