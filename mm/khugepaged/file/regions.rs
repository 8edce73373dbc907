// SPDX-License-Identifier: GPL-2.0

//! Making large folios of parts of an extent of the page cache, where a knob allows that.
//!
//! C has nothing like it: it makes huge pages of files, or nothing. What is here follows the rules of
//! anonymous memory below the PMD order: a region is judged by what a scan has written down of its
//! pages, what is in the way of one is not in the way of the others, and nothing may be added to
//! memory unless `max_ptes_none` is at its maximum. Pages of a regular file may never be missing, as
//! they would have to be read; and nothing is brought back from swap. A region lies in the file as a
//! whole. What is there already in folios of the right size costs a scan.
//!
//! Below the PMD order no table is taken away: the folios were unmapped page by page, and the next
//! fault maps the new one in the same table.
//!
//! Locks: none; RCU within the scan. The VMA has been asked under the mmap lock before.
//! Context: sleeps, except within the scan.
//! Units: pages.

#![forbid(unsafe_code)]

use crate::{
    collapse::counted,
    context::{
        CollapseContext,
        RegionWork, //
    },
    ffi::trace,
    file::{
        collapse::{
            collapse_extent,
            Plan, //
        },
        scan::can_be_taken,
        Done,
        Kind, //
    },
    policy::{
        Limits,
        Policy, //
    },
    result::{
        Scan,
        ScanResult, //
    },
    survey::{
        Seen,
        SeenPage,
        Survey, //
    },
    walk::{
        walk_with,
        Verdict,
        Worth, //
    }, //
};
use core::ops::Range;
use kernel::mm::{
    internal::lru,
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
        Orders,
        PmdAddr,
        PteIndex,
        Region,
        HPAGE_PMD_NR, //
    },
    vma::Vma, //
};

/// Where a process maps a part of a file, and which folios may be made of it.
pub(crate) struct Parts {
    at: PmdAddr,
    /// The page of the file that is mapped there. The VMA maps as many from there on as a table has
    /// entries.
    first: usize,
    /// The orders that the VMA may have, that of a huge page maybe among them.
    pub(crate) orders: Orders,
    /// Whether a userfaultfd waits for missing pages.
    watched: bool,
}

/// What a scan has to tell the trace event.
#[derive(Default)]
struct Findings {
    present: u32,
    swapped: u32,
    /// The folio that ended the scan.
    failed_pfn: Option<usize>,
}

impl Parts {
    /// Asks the VMA. [`None`] if nothing but huge pages may be made here.
    pub(crate) fn of(vma: &Vma, at: PmdAddr, policy: Policy) -> Option<Self> {
        if !policy.splits_extents() {
            return None;
        }
        let orders = policy.possible_orders(vma);
        let supported = vma.mapping()?.folio_orders();
        let lesser = orders.and(supported).without(Order::PMD);
        if lesser.is_empty() {
            return None;
        }
        Some(Self {
            at,
            first: vma.page_index_at(at)?,
            orders: if orders.contains(Order::PMD) {
                lesser.with(Order::PMD)
            } else {
                lesser
            },
            watched: vma.uffd_armed(),
        })
    }

    /// Collapses the regions that are worth it. `tried` is why there is no huge page, if that was
    /// tried.
    pub(crate) fn collapse(
        &self,
        mm: PinnedMm<'_>,
        file: &CacheFile,
        tried: Option<Scan>,
        cx: &mut CollapseContext,
    ) -> Scan {
        let Some(mut work) = cx.regions.take() else {
            return tried.unwrap_or(Err(ScanResult::Fail));
        };
        if tried.is_some() {
            // What was put back may be on its way to the LRU still. The scan was counted.
            lru::drain();
        } else {
            cx.advance(HPAGE_PMD_NR as u32);
        }
        let mut findings = Findings::default();
        let result = self
            .survey(file, &mut work.survey, cx, &mut findings)
            .and_then(|()| self.collapse_regions(mm, file, &work, cx));
        cx.regions = Some(work);
        trace::scan_file(
            mm.mm(),
            findings.failed_pfn,
            file,
            findings.present,
            findings.swapped,
            &result.map(|()| Done::Collapsed),
        );
        match (result, tried) {
            // For want of memory khugepaged waits, whatever the size.
            (Err(ScanResult::AllocHugePageFail), _) | (Ok(()), _) | (_, None) => result,
            (_, Some(tried)) => tried,
        }
    }

    /// Writes down what the page cache holds.
    fn survey(
        &self,
        file: &CacheFile,
        survey: &mut Survey,
        cx: &mut CollapseContext,
        findings: &mut Findings,
    ) -> Scan {
        let kind = Kind::of(file.mapping());
        let end = self
            .first
            .checked_add(HPAGE_PMD_NR)
            .ok_or(ScanResult::VmaCheck)?;
        survey.start();
        let mut noted = Noted::new(survey, self.first..end);
        cx.start_table();
        let mut scan = CacheScan::new(file.mapping(), self.first..end);
        while let Some(found) = scan.next() {
            match found {
                Found::Trace { nr } => {
                    // CAST: A value of the page cache stands for fewer pages.
                    let start = scan.index() & !(nr as usize).wrapping_sub(1);
                    // What was evicted from a file is missing.
                    if kind == Kind::Shmem {
                        findings.swapped = findings.swapped.saturating_add(nr);
                        noted.pages(start, nr as usize, Seen::Swapped);
                    }
                    continue;
                }
                Found::Folio(folio) => {
                    if let Err(refusal) = cx.add_page_on(folio.nid()) {
                        findings.failed_pfn = Some(folio.pfn());
                        return Err(refusal);
                    }
                    let nr = folio.nr_pages();
                    findings.present = findings.present.saturating_add(nr as u32);
                    noted.pages(folio.index(), nr, see(kind, &folio));
                }
            }
            scan.relax();
        }
        noted.finish();
        Ok(())
    }

    fn limits(&self, kind: Kind, order: Order, policy: Policy) -> Limits {
        policy
            .limits(order)
            .without_holes_if(self.watched || kind == Kind::Regular)
    }

    /// The part of the file that a region maps.
    fn extent_of(&self, region: &Region) -> Option<Extent> {
        let start = self.first.checked_add(region.first().get())?;
        Extent::new(start, region.order())
    }

    fn collapse_regions(
        &self,
        mm: PinnedMm<'_>,
        file: &CacheFile,
        work: &RegionWork,
        cx: &mut CollapseContext,
    ) -> Scan {
        let policy = cx.policy;
        let mapping = file.mapping();
        let kind = Kind::of(mapping);
        let pages = mapping.nr_pages();
        let judge = |region: &Region| match self.extent_of(region) {
            Some(extent) if extent.end() <= pages => {
                let limits = self.limits(kind, region.order(), policy);
                counted(work.survey.judge(region, &limits, policy), region)
            }
            _ => Worth::TooEmpty,
        };
        let collapse = |region: Region| {
            if mm.is_leaving() {
                return Err(ScanResult::AnyProcess);
            }
            let limits = self.limits(kind, region.order(), policy);
            let plan = Plan {
                extent: self.extent_of(&region).ok_or(ScanResult::VmaCheck)?,
                addr: region.start(),
                is_whole: true,
                max_holes: limits.none as usize,
            };
            collapse_extent(mm, file, &plan, cx).map(|_| ())
        };
        let orders = self.orders.without(Order::PMD);
        walk_with(self.at, orders, judge, collapse, after).result()
    }
}

/// What follows from the failure of a region. If there is no memory for it, there may be for less;
/// all else is looked at again in the next pass.
pub(crate) fn after(failure: ScanResult) -> Verdict {
    match failure {
        ScanResult::AllocHugePageFail => Verdict::TrySmaller,
        ScanResult::AnyProcess => Verdict::Stop,
        _ => Verdict::NextRegion,
    }
}

/// What the scan says of a folio, and so of each of its pages.
fn see(kind: Kind, folio: &FolioRef) -> Seen {
    let busy = if folio.is_locked() {
        Some(ScanResult::PageLock)
    } else if kind == Kind::Regular && !folio.is_uptodate() {
        Some(ScanResult::Fail)
    } else if kind == Kind::Regular && (folio.is_dirty() || folio.is_under_writeback()) {
        Some(ScanResult::PageDirtyOrWriteback)
    } else {
        can_be_taken(folio).err()
    };
    Seen::Page(SeenPage {
        // CAST: An order is small.
        order: folio.order() as u8,
        // Neither is asked of the page cache.
        shared: false,
        used: true,
        busy,
    })
}

/// A survey in the making: each page is noted once, in order.
pub(crate) struct Noted<'s> {
    survey: &'s mut Survey,
    /// The page of the file that stands first in the survey.
    first: usize,
    /// The first that was not noted yet.
    next: usize,
    end: usize,
}

impl<'s> Noted<'s> {
    /// Starts with the first page of a range of the file, which is as long as a table.
    pub(crate) fn new(survey: &'s mut Survey, range: Range<usize>) -> Self {
        Self {
            survey,
            first: range.start,
            next: range.start,
            end: range.end,
        }
    }

    /// There are `nr` pages of a kind from `start` on, some of which may be out of the range, or, if
    /// the page cache changes, noted already.
    pub(crate) fn pages(&mut self, start: usize, nr: usize, seen: Seen) {
        self.holes_up_to(start);
        self.note_up_to(start.saturating_add(nr), seen);
    }

    /// There is nothing more.
    pub(crate) fn finish(mut self) {
        self.holes_up_to(self.end);
    }

    fn holes_up_to(&mut self, page: usize) {
        self.note_up_to(page, Seen::Empty);
    }

    fn note_up_to(&mut self, page: usize, seen: Seen) {
        for next in self.next..page.min(self.end) {
            if let Some(index) = PteIndex::new(next.wrapping_sub(self.first)) {
                self.survey.note(index, seen);
            }
        }
        self.next = self.next.max(page.min(self.end));
    }
}
