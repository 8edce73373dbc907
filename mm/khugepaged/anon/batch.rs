// SPDX-License-Identifier: GPL-2.0

//! Collapsing several regions of one table, below the PMD order, as one transaction.
//!
//! The folios are allocated and charged before. Then the mmap lock is taken for write once, secondary
//! MMUs are told once, the TLB is flushed once, and one wait for GUP-fast serves all. Each region
//! succeeds or fails by itself.
//!
//! Locks: none on entry and on return. The mmap lock for write in between; see
//! [`session`](super::session).
//! Context: sleeps.
//! Units: PTEs.
//!
//! C: `collapse_huge_page()` for the lesser orders, which does all of this for each region.

#![forbid(unsafe_code)]

use crate::{
    anon::session::{
        self,
        Session, //
    },
    ffi::trace,
    inject::{
        self,
        Step, //
    },
    policy::Policy,
    result::{
        Scan,
        ScanResult, //
    }, //
};
use core::ops::Range;
use kernel::{
    mm::{
        detached::taken::{
            SavedEntries,
            TakenEntries, //
        },
        internal::held::FolioRoom,
        memcg::ChargedFolio,
        mmap_lock::{
            Expect,
            PinnedMm, //
        },
        region::{
            Orders,
            PmdAddr,
            Region, //
        }, //
    },
    prelude::*, //
};

/// One region, and the folio that is to take the place of its pages.
pub(super) struct Part {
    pub(super) region: Region,
    new: Option<ChargedFolio>,
    /// How far it has got: `Ok` as long as nothing was in the way.
    pub(super) result: Scan,
}

/// Regions of one table, in the order of their addresses.
pub(crate) struct Batch(KVec<Part>);

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether a region was collapsed.
    pub(super) any: bool,
    /// The last failure.
    pub(super) last: Option<ScanResult>,
    /// Why there was nothing to be done at all.
    pub(super) stopped: Option<ScanResult>,
}

impl Outcome {
    /// What became of this and of a later one.
    pub(super) fn then(self, later: Self) -> Self {
        Self {
            any: self.any || later.any,
            last: later.last.or(self.last),
            stopped: later.stopped,
        }
    }
}

impl Batch {
    /// No region.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a region behind the others. May sleep.
    pub(super) fn push(&mut self, region: Region, new: ChargedFolio) -> Scan {
        let part = Part {
            region,
            new: Some(new),
            result: Ok(()),
        };
        self.0
            .push(part, GFP_KERNEL)
            .map_err(|_| ScanResult::AllocHugePageFail)
    }

    /// The PMD, and from where to where the regions reach.
    pub(super) fn place(&self) -> Option<(PmdAddr, Range<usize>)> {
        let (first, last) = self.0.first().zip(self.0.last())?;
        Some((first.region.pmd(), first.region.start()..last.region.end()))
    }

    pub(super) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.0.iter_mut()
    }

    fn orders(&self) -> Orders {
        self.0.iter().fold(Orders::EMPTY, |orders, part| {
            orders.with(part.region.order())
        })
    }

    /// Collapses the regions, as far as possible. The batch is empty afterwards.
    pub(super) fn run(
        &mut self,
        mm: PinnedMm<'_>,
        policy: Policy,
        saved: &mut SavedEntries,
        room: &mut FolioRoom,
    ) -> Outcome {
        // The locks are gone before the folios that were not used.
        let stopped = self.try_run(mm, policy, saved, room).err();
        if let Some(result) = stopped {
            self.parts_mut().for_each(|part| part.result = Err(result));
        }
        let mut outcome = Outcome {
            stopped,
            ..Outcome::default()
        };
        for part in self.0.drain_all() {
            trace::collapse_huge_page(mm.mm(), &part.result, part.region.order());
            match part.result {
                Ok(()) => outcome.any = true,
                Err(result) => outcome.last = Some(result),
            }
        }
        outcome
    }

    fn try_run(
        &mut self,
        mm: PinnedMm<'_>,
        policy: Policy,
        saved: &mut SavedEntries,
        room: &mut FolioRoom,
    ) -> Scan {
        let (at, _) = self.place().ok_or(ScanResult::Fail)?;
        let expect = Expect {
            at,
            orders: self.orders(),
            tva: policy.tva(),
            anon: true,
        };
        if inject::fails(Step::Revalidate) {
            return Err(ScanResult::VmaCheck);
        }
        let mut session = Session::begin(mm, &expect, policy, None)?;
        let mut taken = session.take(self, saved, room)?;
        for part in self.parts_mut().filter(|part| part.result.is_ok()) {
            part.result = part.replace(&mut taken);
        }
        Ok(())
    }
}

impl Part {
    /// Copies the pages, and lets the new folio take their place.
    fn replace(&mut self, taken: &mut TakenEntries<'_, '_>) -> Scan {
        let new = self.new.take().ok_or(ScanResult::Fail)?;
        let filled = session::copy(taken.vma(), &self.region, |index| taken.page(index), new)?;
        // The folio has the order of the region, all of which was taken.
        taken
            .install(&self.region, filled)
            .map_err(|_| ScanResult::Fail)
    }
}
