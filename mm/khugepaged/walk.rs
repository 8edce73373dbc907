// SPDX-License-Identifier: GPL-2.0

//! Which regions of a table to collapse, and what to try after each.
//!
//! Pure: no locks, any context. Units: PTEs.
//!
//! C: `mthp_collapse()`, `max_order_from_offset()`.

#![forbid(unsafe_code)]

use crate::result::{
    Scan,
    ScanResult, //
};
use kernel::mm::region::{
    Order,
    Orders,
    PmdAddr,
    PteIndex,
    Region, //
};

/// What is known of a region beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// Nothing is in the way.
    Try,
    /// Too few of its entries map a page.
    TooEmpty,
    /// Something is in the way.
    Refused(ScanResult),
}

/// What to do after a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on behind the region.
    NextRegion,
    /// A smaller region at the same place might do.
    TrySmaller,
    /// Nothing more can be done in this table.
    Stop,
}

impl ScanResult {
    /// What the failure of one region means for the others.
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::PteMappedHugepage => Verdict::NextRegion,
            Self::AllocHugePageFail
            | Self::LackReferencedPage
            | Self::ExceedNonePte
            | Self::ExceedSwapPte
            | Self::ExceedSharedPte
            | Self::PageLock
            | Self::PageCount
            | Self::PageNull
            | Self::DelPageLru
            | Self::PteNonPresent
            | Self::PteUffd
            | Self::PageLazyfree => Verdict::TrySmaller,
            _ => Verdict::Stop,
        }
    }
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Whether a region was taken on.
    pub(crate) any: bool,
    /// Whether there was no memory for one.
    pub(crate) alloc_failed: bool,
    /// The last failure.
    pub(crate) last: ScanResult,
}

impl Walked {
    /// What is told of the whole. One success makes it a success; else a failed allocation is told,
    /// which makes khugepaged wait; else the last failure.
    pub(crate) fn result(self) -> Scan {
        if self.any {
            Ok(())
        } else if self.alloc_failed {
            Err(ScanResult::AllocHugePageFail)
        } else {
            Err(self.last)
        }
    }
}

/// Takes on the regions of a table that are worth it, large ones first.
///
/// `judge` tells what is known of a region of one of the `orders`, and can end nothing; `collapse`
/// does the work, or the part of it that decides whether a smaller region is tried instead.
pub(crate) fn walk(
    at: PmdAddr,
    orders: Orders,
    judge: impl FnMut(&Region) -> Worth,
    collapse: impl FnMut(Region) -> Scan,
) -> Walked {
    walk_with(at, orders, judge, collapse, ScanResult::verdict)
}

/// The same, where `verdict` tells what follows from a failure of `collapse`.
pub(crate) fn walk_with(
    at: PmdAddr,
    orders: Orders,
    mut judge: impl FnMut(&Region) -> Worth,
    mut collapse: impl FnMut(Region) -> Scan,
    verdict: impl Fn(ScanResult) -> Verdict,
) -> Walked {
    let mut walked = Walked {
        any: false,
        alloc_failed: false,
        last: ScanResult::Fail,
    };
    let mut first = PteIndex::ZERO;
    let mut order = Order::PMD;

    while let Some(region) = Region::new(at, first, order) {
        let worth = if orders.contains(order) {
            judge(&region)
        } else {
            Worth::TooEmpty
        };
        let (failure, next) = match worth {
            Worth::TooEmpty => (None, Verdict::TrySmaller),
            // Whatever it is, it lies in this region.
            Worth::Refused(result) if result.verdict() == Verdict::Stop => {
                (Some(result), Verdict::TrySmaller)
            }
            Worth::Refused(result) => (Some(result), result.verdict()),
            Worth::Try => match collapse(region) {
                Ok(()) => {
                    walked.any = true;
                    (None, Verdict::NextRegion)
                }
                Err(result) => (Some(result), verdict(result)),
            },
        };
        if let Some(result) = failure {
            if next != Verdict::NextRegion {
                walked.last = result;
            }
            walked.alloc_failed |= result == ScanResult::AllocHugePageFail;
        }
        match next {
            Verdict::Stop => break,
            Verdict::TrySmaller if order > Order::MIN_ANON && orders.any_below(order) => {
                match order.smaller() {
                    Some(smaller) => order = smaller,
                    None => break,
                }
            }
            _ => {
                let next = first.get().wrapping_add(region.nr_pages());
                match PteIndex::new(next) {
                    Some(next) => first = next,
                    None => break,
                }
                order = Order::largest_at(first);
            }
        }
    }
    walked
}
