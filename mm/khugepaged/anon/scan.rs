// SPDX-License-Identifier: GPL-2.0

//! Finding out whether a table of anonymous memory is worth a collapse.
//!
//! Locks: the mmap lock for read, held on entry; the page-table lock, within. A scan that ends
//! well drops the mmap lock, since what follows allocates.
//! Context: may sleep before and after the walk of the table, which is atomic.
//! Units: PTEs.
//!
//! C: `collapse_scan_pmd()`.

#![forbid(unsafe_code)]

use crate::{
    anon::{
        collapse::collapse_table,
        regions::Surveyed, //
    },
    audit::Audit,
    context::CollapseContext,
    ffi::trace,
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
    }, //
};
use kernel::mm::{
    mmap_lock::{
        LockedVma,
        Read, //
    },
    pgtable::{
        MappedPage,
        PmdView,
        PteTable,
        PteView, //
    },
    region::{
        Order,
        PmdAddr,
        Region,
        HPAGE_PMD_NR, //
    }, //
};

/// What a scan has to tell the trace event.
struct Findings {
    audit: Audit,
    /// The folio that ended the scan.
    failed_pfn: Option<usize>,
}

/// Scans the table at `at` and collapses what it can. The locked VMA comes back if the mmap lock
/// was not dropped.
///
/// Most of what khugepaged comes across is huge already or was never touched, so that is found out
/// before anything else.
#[inline]
pub(crate) fn scan_and_collapse<'mm>(
    vma: LockedVma<'mm, Read>,
    at: PmdAddr,
    cx: &mut CollapseContext,
) -> (Option<LockedVma<'mm, Read>>, Scan) {
    let result = match vma.pmd(at) {
        PmdView::Table(_) => return scan_found_table(vma, at, cx),
        PmdView::Huge => Err(ScanResult::PmdMapped),
        PmdView::NoTable => Err(ScanResult::NoPteTable),
    };
    cx.advance(1);
    trace::scan_pmd(vma.pinned_mm().mm(), None, 0, 0, &result, 0);
    (Some(vma), result)
}

#[inline(never)]
fn scan_found_table<'mm>(
    vma: LockedVma<'mm, Read>,
    at: PmdAddr,
    cx: &mut CollapseContext,
) -> (Option<LockedVma<'mm, Read>>, Scan) {
    let mm = vma.pinned_mm();
    let orders = cx.policy.possible_orders(&vma);
    // Smaller regions have limits of their own, for which the whole table has to be seen.
    let work = cx.regions.take_if(|_| orders.any_below(Order::PMD));
    let limits = match work {
        Some(_) => Limits::NONE,
        None => cx.policy.limits_in(Order::PMD, &vma),
    };
    let mut findings = Findings {
        audit: Audit::new(cx.policy, limits, Order::PMD, &vma),
        failed_pfn: None,
    };

    let (vma, result) = match work {
        None => {
            let scanned = scan_table(&vma, at, cx, &mut findings, scan_entries);
            let audit = &findings.audit;
            match scanned.and_then(|()| enough_used(cx.policy, audit)) {
                Err(result) => (Some(vma), Err(result)),
                Ok(()) => {
                    let mm = vma.unlock();
                    let result = collapse_table(mm, at, audit.referenced, audit.swapped, cx);
                    (None, result)
                }
            }
        }
        Some(mut work) => {
            work.survey.start();
            let scanned = scan_table(&vma, at, cx, &mut findings, |ptes, at, cx, findings| {
                survey_entries(ptes, at, cx, findings, &mut work.survey)
            });
            let audit = &findings.audit;
            let collapsed = match scanned {
                Err(result) => (Some(vma), Err(result)),
                Ok(()) if cx.policy.wants_referenced() && audit.referenced == 0 => {
                    (Some(vma), Err(ScanResult::LackReferencedPage))
                }
                Ok(()) => {
                    let surveyed = Surveyed {
                        at,
                        orders,
                        watched: vma.uffd_armed(),
                        referenced: audit.referenced,
                        swapped: audit.swapped,
                    };
                    surveyed.collapse(vma, &mut work, cx)
                }
            };
            cx.regions = Some(work);
            collapsed
        }
    };
    let audit = &findings.audit;
    trace::scan_pmd(
        mm.mm(),
        findings.failed_pfn,
        audit.referenced,
        audit.none,
        &result,
        audit.swapped,
    );
    (vma, result)
}

fn scan_table(
    vma: &LockedVma<'_, Read>,
    at: PmdAddr,
    cx: &mut CollapseContext,
    findings: &mut Findings,
    mut entries: impl FnMut(&PteTable<'_>, PmdAddr, &mut CollapseContext, &mut Findings) -> (u32, Scan),
) -> Scan {
    cx.start_table();
    // The PMD may have changed since it was looked at, so it is looked at again.
    let ptes = match vma.pmd(at) {
        PmdView::Table(entry) => entry.lock_ptes(),
        _ => None,
    };
    let Some(ptes) = ptes else {
        cx.advance(1);
        return Err(ScanResult::NoPteTable);
    };
    let (seen, scanned) = entries(&ptes, at, cx, findings);
    drop(ptes);
    cx.advance(seen);
    scanned
}

/// Looks at entries until one refuses. Tells how many it saw.
///
/// A function of its own because it is where the time of a scan goes: the compiler keeps more of
/// it in registers this way.
#[inline(never)]
fn scan_entries(
    ptes: &PteTable<'_>,
    at: PmdAddr,
    cx: &mut CollapseContext,
    findings: &mut Findings,
) -> (u32, Scan) {
    let table = Region::whole_table(at);
    let mut seen: u32 = 0;
    for index in table.indices() {
        seen = seen.wrapping_add(1);
        let admitted = match ptes.view(index) {
            PteView::None | PteView::ZeroPage => findings.audit.none(),
            PteView::Swap { uffd } => findings.audit.swap(uffd),
            PteView::Uffd => Err(ScanResult::PteUffd),
            PteView::NoPage => Err(ScanResult::PageNull),
            PteView::Mapped(page) => {
                let admitted = findings
                    .audit
                    .mapped(&page)
                    .and_then(|()| admit_folio(&page, cx));
                match admitted {
                    Ok(()) => {
                        let addr = table.addr_of(index);
                        findings.audit.note_use(ptes.vma(), addr, &page);
                    }
                    Err(_) => findings.failed_pfn = Some(page.folio().pfn()),
                }
                admitted
            }
        };
        if admitted.is_err() {
            return (seen, admitted);
        }
    }
    (seen, Ok(()))
}

/// Looks at all entries, and writes down what is in the way of each.
#[inline(never)]
fn survey_entries(
    ptes: &PteTable<'_>,
    at: PmdAddr,
    cx: &mut CollapseContext,
    findings: &mut Findings,
    survey: &mut Survey,
) -> (u32, Scan) {
    let table = Region::whole_table(at);
    let mut nr: u32 = 0;
    for index in table.indices() {
        nr = nr.wrapping_add(1);
        let seen = match ptes.view(index) {
            PteView::None | PteView::ZeroPage => findings
                .audit
                .none()
                .map_or_else(Seen::Blocked, |()| Seen::Empty),
            PteView::Swap { uffd } => findings
                .audit
                .swap(uffd)
                .map_or_else(Seen::Blocked, |()| Seen::Swapped),
            PteView::Uffd => Seen::Blocked(ScanResult::PteUffd),
            PteView::NoPage => Seen::Blocked(ScanResult::PageNull),
            PteView::Mapped(page) => {
                match survey_page(ptes, table.addr_of(index), &page, cx, &mut findings.audit) {
                    Ok(seen) => seen,
                    Err(result) => {
                        findings.failed_pfn = Some(page.folio().pfn());
                        return (nr, Err(result));
                    }
                }
            }
        };
        survey.note(index, seen);
    }
    (nr, Ok(()))
}

/// What is in the way of a page. Fails if no region of the table can be collapsed.
#[inline]
fn survey_page(
    ptes: &PteTable<'_>,
    addr: usize,
    page: &MappedPage<'_>,
    cx: &mut CollapseContext,
    audit: &mut Audit,
) -> Scan<Seen> {
    let (shared, used) = (audit.shared, audit.referenced);
    if let Err(refusal) = audit.mapped(page) {
        return Ok(Seen::Blocked(refusal));
    }
    let busy = match admit_folio(page, cx) {
        Ok(()) => {
            audit.note_use(ptes.vma(), addr, page);
            None
        }
        Err(ScanResult::ScanAbort) => return Err(ScanResult::ScanAbort),
        Err(busy) => Some(busy),
    };
    Ok(Seen::Page(SeenPage {
        // CAST: An order is small.
        order: page.folio().order() as u8,
        shared: audit.shared != shared,
        used: audit.referenced != used,
        busy,
    }))
}

/// What only a scan asks of a folio: cheap hints that an isolation would fail.
#[inline]
fn admit_folio(page: &MappedPage<'_>, cx: &mut CollapseContext) -> Scan {
    let folio = page.folio();
    cx.add_page_on(folio.nid())?;
    if !folio.is_on_lru() {
        return Err(ScanResult::PageLru);
    }
    if folio.is_locked() {
        return Err(ScanResult::PageLock);
    }
    if folio.has_extra_references() {
        return Err(ScanResult::PageCount);
    }
    Ok(())
}

/// khugepaged leaves memory alone that nobody uses, and needs more use if it has to swap in.
fn enough_used(policy: Policy, audit: &Audit) -> Scan {
    let half = HPAGE_PMD_NR as u32 / 2;
    if policy.wants_referenced()
        && (audit.referenced == 0 || (audit.swapped > 0 && audit.referenced < half))
    {
        return Err(ScanResult::LackReferencedPage);
    }
    Ok(())
}
