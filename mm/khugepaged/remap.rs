// SPDX-License-Identifier: GPL-2.0

//! Mapping a huge folio of a page cache by a PMD, where PTEs map it or nothing does.
//!
//! Nothing is allocated or copied. The table is taken away if it maps nothing but the folio; a
//! private copy, a breakpoint, a guard region or a swap entry keeps it.
//!
//! Locks: the mmap lock, for read at least; in it the folio lock, and what
//! [`retract`](kernel::mm::retract) takes.
//! Context: sleeps.
//!
//! C: `try_collapse_pte_mapped_thp()`.

#![forbid(unsafe_code)]

use crate::{
    policy::Policy,
    result::{
        Scan,
        ScanResult, //
    }, //
};
use kernel::mm::{
    mmap_lock::{
        LockedVma,
        PinnedMm,
        Read, //
    },
    pgtable::PmdView,
    region::{
        Order,
        PmdAddr,
        HPAGE_PMD_SIZE, //
    }, //
};

/// Takes the mmap lock and makes a PMD map what the process has at `at`; or, unless `install` is
/// set, makes it possible for the next fault. A PMD that does so already is a success.
pub(crate) fn remap_extent(mm: PinnedMm<'_>, at: PmdAddr, install: bool) -> Scan {
    let guard = mm.mmap_read().ok_or(ScanResult::AnyProcess)?;
    let vma = match guard.vma_from(at.get()) {
        Ok(vma) => vma,
        Err(_guard) => return Err(ScanResult::VmaCheck),
    };
    match remap_locked(&vma, at, install) {
        Err(ScanResult::PmdMapped) => Ok(()),
        result => result,
    }
}

/// The same for a VMA that is locked already.
pub(crate) fn remap_locked(vma: &LockedVma<'_, Read>, at: PmdAddr, install: bool) -> Scan {
    let spans = vma.start() <= at.get()
        && at
            .get()
            .checked_add(HPAGE_PMD_SIZE)
            .is_some_and(|end| end <= vma.end());
    let mapping = vma.mapping().ok_or(ScanResult::VmaCheck)?;
    if !spans {
        return Err(ScanResult::VmaCheck);
    }
    if let PmdView::Huge = vma.pmd(at) {
        return Err(ScanResult::PmdMapped);
    }
    // The folio is there: whoever faults it in next gets a PMD, whatever sysfs says. So does this.
    if !Policy::MadvCollapse.allows_huge_pages(vma) {
        return Err(ScanResult::VmaCheck);
    }
    // The table remembers what is protected, and a PMD could not.
    if vma.uffd_protected() {
        return Err(ScanResult::PteUffd);
    }
    let extent = vma.extent_at(at).ok_or(ScanResult::VmaCheck)?;
    let folio = mapping
        .lock_folio(extent.start())
        .ok_or(ScanResult::PageNull)?;
    if folio.order() != u32::from(Order::PMD.get()) {
        return Err(ScanResult::PageCompound);
    }
    match vma.pmd(at) {
        PmdView::Huge => return Err(ScanResult::PmdMapped),
        PmdView::NoTable => {}
        PmdView::Table(entry) => entry.retract(&folio)?,
    }
    if install && !vma.map_pmd(at, &folio) {
        return Err(ScanResult::Fail);
    }
    Ok(())
}
