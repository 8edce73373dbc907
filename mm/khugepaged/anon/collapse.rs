// SPDX-License-Identifier: GPL-2.0

//! Collapsing a whole table of anonymous memory. For lesser regions see [`batch`](super::batch).
//!
//! Locks: none on entry and on return. In between the mmap lock, for read to look and to swap in,
//! then for write.
//! Context: sleeps, reclaims and compacts.
//! Units: PTEs.
//!
//! C: `collapse_huge_page()` at the PMD order.

#![forbid(unsafe_code)]

use crate::{
    anon::session::{
        self,
        Session, //
    },
    collapse::charged_folio,
    context::CollapseContext,
    ffi::trace,
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
    memcg::ChargedFolio,
    mmap_lock::{
        Expect,
        LockedVma,
        PinnedMm,
        Read, //
    },
    pgtable::{
        PmdHint,
        PmdView, //
    },
    region::{
        Order,
        Orders,
        PmdAddr,
        Region, //
    }, //
};

/// Collapses a table of which a scan saw `referenced` entries in use and `swapped` swapped out.
pub(super) fn collapse_table(
    mm: PinnedMm<'_>,
    at: PmdAddr,
    referenced: u32,
    swapped: u32,
    cx: &mut CollapseContext,
) -> Scan {
    let result = try_collapse_table(mm, at, referenced, swapped, cx);
    trace::collapse_huge_page(mm.mm(), &result, Order::PMD);
    result
}

fn try_collapse_table(
    mm: PinnedMm<'_>,
    at: PmdAddr,
    referenced: u32,
    swapped: u32,
    cx: &mut CollapseContext,
) -> Scan {
    let region = &Region::whole_table(at);
    let expect = Expect {
        at,
        orders: Orders::only(Order::PMD),
        tva: cx.policy.tva(),
        anon: true,
    };
    // Allocated first, dropped last: all locks are gone when it is freed.
    let new = ready_folio(mm, Order::PMD, cx)?;

    let vma = mm.lock_vma::<Read>(&expect)?;
    let hint = find_table(&vma, region)?;
    let vma = if swapped > 0 {
        swap_in(vma, region, referenced)?
    } else {
        vma
    };
    let mm = vma.unlock();
    if inject::fails(Step::Revalidate) {
        return Err(ScanResult::VmaCheck);
    }

    let mut session = Session::begin(mm, &expect, cx.policy, Some(hint))?;
    let frozen = session.freeze(region, &mut cx.room)?;
    let new = session::copy(frozen.vma(), region, |index| frozen.page(index), new)?;
    // The folio is of the PMD order.
    frozen.replace(new).map_err(|_| ScanResult::Fail)
}

/// A folio that is charged and has all that it will need. No lock may be held.
pub(super) fn ready_folio(
    mm: PinnedMm<'_>,
    order: Order,
    cx: &mut CollapseContext,
) -> Scan<ChargedFolio> {
    let new = charged_folio(mm.mm(), order, cx)?;
    new.alloc_deferred()
        .map_err(|_| ScanResult::AllocHugePageFail)?;
    Ok(new)
}

/// Where the table of a region is.
fn find_table(vma: &LockedVma<'_, Read>, region: &Region) -> Scan<PmdHint> {
    match vma.pmd(region.pmd()) {
        PmdView::NoTable => Err(ScanResult::NoPteTable),
        PmdView::Huge => Err(ScanResult::PmdMapped),
        PmdView::Table(entry) => Ok(entry.hint()),
    }
}

/// Brings the region back from swap, which only a whole table is worth.
fn swap_in<'mm>(
    vma: LockedVma<'mm, Read>,
    region: &Region,
    referenced: u32,
) -> Scan<LockedVma<'mm, Read>> {
    let mm = vma.pinned_mm();
    let (swapped_in, result) = if inject::fails(Step::SwapIn) {
        (0, Err(ScanResult::Fail))
    } else {
        let (swapped_in, result) = vma.swap_in(region);
        (swapped_in, result.map_err(ScanResult::from))
    };
    trace::collapse_swapin(mm.mm(), swapped_in, referenced, &result, region.order());
    result
}
