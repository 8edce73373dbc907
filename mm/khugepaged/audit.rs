// SPDX-License-Identifier: GPL-2.0

//! Which entries may become part of a huge page: the rules that a scan and an isolation share.
//!
//! Locks: the page-table lock, held by who calls.
//! Context: atomic.
//! Units: PTEs.

#![forbid(unsafe_code)]

use crate::{
    policy::{
        Limits,
        Policy, //
    },
    result::{
        Scan,
        ScanResult, //
    }, //
};
use kernel::mm::{
    folio::Folio,
    mmu_notifier,
    pgtable::MappedPage,
    region::Order,
    stat::CollapseEvent,
    vma::Vma, //
};

/// Counts what a region maps and refuses what there is too much of.
pub(crate) struct Audit {
    policy: Policy,
    limits: Limits,
    order: Order,
    /// VM_DROPPABLE memory stays droppable, so it need not be protected from a collapse.
    protects_lazyfree: bool,
    pub(crate) none: u32,
    pub(crate) swapped: u32,
    pub(crate) shared: u32,
    pub(crate) referenced: u32,
}

impl Audit {
    pub(crate) fn new(policy: Policy, limits: Limits, order: Order, vma: &Vma) -> Self {
        Self {
            policy,
            limits,
            order,
            protects_lazyfree: policy.protects_lazyfree() && !vma.is_droppable(),
            none: 0,
            swapped: 0,
            shared: 0,
            referenced: 0,
        }
    }

    /// An entry maps nothing, or the zero page.
    #[inline]
    pub(crate) fn none(&mut self) -> Scan {
        self.none = self.none.wrapping_add(1);
        if self.none > self.limits.none {
            CollapseEvent::ExceedNone.count(self.order);
            return Err(ScanResult::ExceedNonePte);
        }
        Ok(())
    }

    /// An entry is swapped out.
    #[inline]
    pub(crate) fn swap(&mut self, uffd: bool) -> Scan {
        self.swapped = self.swapped.wrapping_add(1);
        if self.swapped > self.limits.swap {
            CollapseEvent::ExceedSwap.count(self.order);
            return Err(ScanResult::ExceedSwapPte);
        }
        if uffd {
            return Err(ScanResult::PteUffd);
        }
        Ok(())
    }

    /// An entry maps a page.
    #[inline]
    pub(crate) fn mapped(&mut self, page: &MappedPage<'_>) -> Scan {
        let folio = page.folio();
        if self.protects_lazyfree && folio.is_lazyfree() && !page.is_dirty() {
            return Err(ScanResult::PageLazyfree);
        }
        if !folio.is_anon() {
            return Err(ScanResult::PageAnon);
        }
        if folio.is_maybe_shared() {
            self.shared = self.shared.wrapping_add(1);
            if self.shared > self.limits.shared {
                CollapseEvent::ExceedShared.count(self.order);
                return Err(ScanResult::ExceedSharedPte);
            }
        }
        if !self.order.is_pmd() && folio.order() >= u32::from(self.order.get()) {
            return Err(ScanResult::PteMappedHugepage);
        }
        Ok(())
    }

    /// Counts the page if it was used of late, through whatever mapping.
    #[inline]
    pub(crate) fn note_use(&mut self, vma: &Vma, addr: usize, page: &MappedPage<'_>) {
        if self.policy.wants_referenced() && was_used(page.folio(), vma, addr, page) {
            self.referenced = self.referenced.wrapping_add(1);
        }
    }
}

/// C: `folio_pte_referenced()`.
#[inline]
fn was_used(folio: &Folio, vma: &Vma, addr: usize, page: &MappedPage<'_>) -> bool {
    folio.is_young()
        || folio.is_referenced()
        || page.is_young()
        || mmu_notifier::test_young(vma, addr)
}
