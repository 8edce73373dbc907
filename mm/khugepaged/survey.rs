// SPDX-License-Identifier: GPL-2.0

//! What a scan saw in a table, entry by entry, and what that means for each region.
//!
//! C finds out by trying: it allocates a folio, takes the locks, takes the table away and looks,
//! for each region of each order and on each pass. Here the same questions are asked of what the
//! scan wrote down, so a region that cannot be collapsed costs neither memory nor a flush, and what
//! is in the way in one region does not matter in the others.
//!
//! Pure: no locks, any context. Units: PTEs.
//!
//! C: the rules of `__collapse_huge_page_isolate()`, and of `mthp_collapse()` on how full a region
//! has to be.

#![forbid(unsafe_code)]

use crate::{
    policy::{
        Limits,
        Policy, //
    },
    result::ScanResult,
    walk::Worth, //
};
use kernel::{
    mm::region::{
        Occupied,
        Order,
        PteIndex,
        Region,
        HPAGE_PMD_NR, //
    },
    prelude::*, //
};

/// One entry, as a scan saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing, or the zero page.
    Empty,
    /// A swap entry, or something else that is not present.
    Swapped,
    /// Something that no region may have.
    Blocked(ScanResult),
    /// A page.
    Page(SeenPage),
}

/// A page, as a scan saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenPage {
    /// The order of its folio.
    pub(crate) order: u8,
    /// Whether another process may map it.
    pub(crate) shared: bool,
    /// Whether it was used of late.
    pub(crate) used: bool,
    /// Why the folio could not be isolated.
    pub(crate) busy: Option<ScanResult>,
}

/// All entries of a table.
pub(crate) struct Survey {
    seen: [Seen; HPAGE_PMD_NR],
    /// Which of them are pages.
    occupied: Occupied,
    swapped: u32,
}

impl Survey {
    /// A table that maps nothing. Made in place: it may take 100 KiB.
    pub(crate) fn new() -> impl Init<Self, Error> {
        pin_init::init!(Self {
            seen <- pin_init::init_array_from_fn(|_| Seen::Empty),
            occupied: Occupied::EMPTY,
            swapped: 0,
        }? Error)
    }

    /// Forgets the table before. Every entry has to be noted after this.
    pub(crate) fn start(&mut self) {
        self.occupied = Occupied::EMPTY;
        self.swapped = 0;
    }

    /// Writes down an entry.
    #[inline]
    pub(crate) fn note(&mut self, index: PteIndex, seen: Seen) {
        match seen {
            Seen::Page(_) => self.occupied.set(index),
            Seen::Swapped => self.swapped = self.swapped.wrapping_add(1),
            Seen::Empty | Seen::Blocked(_) => {}
        }
        if let Some(entry) = self.seen.get_mut(index.get()) {
            *entry = seen;
        }
    }

    /// Whether a region is worth a try within these limits.
    pub(crate) fn judge(&self, region: &Region, limits: &Limits, policy: Policy) -> Worth {
        let order = region.order();
        let mut filled = self.occupied.weight(region);
        if order.is_pmd() {
            filled = filled.saturating_add(self.swapped as usize);
        }
        if filled.saturating_add(limits.none as usize) < region.nr_pages() {
            return Worth::TooEmpty;
        }
        match self.refusal(region, order, limits, policy) {
            None => Worth::Try,
            Some(refusal) => Worth::Refused(refusal),
        }
    }

    fn of(&self, region: &Region) -> impl Iterator<Item = &Seen> {
        self.seen
            .iter()
            .skip(region.first().get())
            .take(region.nr_pages())
    }

    /// The first thing that is in the way.
    fn refusal(
        &self,
        region: &Region,
        order: Order,
        limits: &Limits,
        policy: Policy,
    ) -> Option<ScanResult> {
        // Nothing is brought back from swap below the PMD order, which is asked before all else.
        if !order.is_pmd() && self.swapped > 0 && self.of(region).any(|seen| *seen == Seen::Swapped)
        {
            return Some(ScanResult::ExceedSwapPte);
        }
        let (mut none, mut swapped, mut shared, mut used) = (0u32, 0u32, 0u32, 0u32);
        for seen in self.of(region) {
            match seen {
                Seen::Empty => {
                    none = none.wrapping_add(1);
                    if none > limits.none {
                        return Some(ScanResult::ExceedNonePte);
                    }
                }
                Seen::Swapped => {
                    swapped = swapped.wrapping_add(1);
                    if swapped > limits.swap {
                        return Some(ScanResult::ExceedSwapPte);
                    }
                }
                Seen::Blocked(refusal) => return Some(*refusal),
                Seen::Page(page) => {
                    shared = shared.wrapping_add(page.shared.into());
                    if shared > limits.shared {
                        return Some(ScanResult::ExceedSharedPte);
                    }
                    if !order.is_pmd() && page.order >= order.get() {
                        return Some(ScanResult::PteMappedHugepage);
                    }
                    if page.busy.is_some() {
                        return page.busy;
                    }
                    used = used.wrapping_add(page.used.into());
                }
            }
        }
        // What has to be swapped in has to be in demand.
        let wanted = if swapped > 0 {
            HPAGE_PMD_NR as u32 / 2
        } else {
            1
        };
        if policy.wants_referenced() && used < wanted {
            return Some(ScanResult::LackReferencedPage);
        }
        None
    }
}
