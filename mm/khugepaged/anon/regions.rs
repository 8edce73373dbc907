// SPDX-License-Identifier: GPL-2.0

//! Making large folios of regions of a table, where orders below the PMD's are allowed.
//!
//! Locks: the mmap lock for read, held on entry. It is dropped if there is something to do, since
//! that allocates; memory that is as it should be costs a look and keeps the lock.
//! Context: sleeps if the lock is dropped.
//! Units: PTEs.
//!
//! C: `mthp_collapse()` and its caller.

#![forbid(unsafe_code)]

use crate::{
    anon::{
        batch::Outcome,
        collapse::{
            collapse_table,
            ready_folio, //
        }, //
    },
    collapse::{
        counted,
        refusal_event, //
    },
    context::{
        CollapseContext,
        RegionWork, //
    },
    ffi::trace,
    policy::Policy,
    result::{
        Scan,
        ScanResult, //
    },
    survey::Survey,
    walk::{
        walk,
        Walked,
        Worth, //
    }, //
};
use kernel::mm::{
    mmap_lock::{
        LockedVma,
        PinnedMm,
        Read, //
    },
    region::{
        Orders,
        PmdAddr,
        Region, //
    }, //
};

/// A table that was surveyed.
pub(super) struct Surveyed {
    /// Where.
    pub(super) at: PmdAddr,
    /// The orders that are allowed.
    pub(super) orders: Orders,
    /// Whether a userfaultfd watches the memory.
    pub(super) watched: bool,
    /// How many entries were used of late.
    pub(super) referenced: u32,
    /// How many are swapped out.
    pub(super) swapped: u32,
}

impl Surveyed {
    fn judge(&self, survey: &Survey, region: &Region, policy: Policy) -> Worth {
        let limits = policy.limits(region.order()).without_holes_if(self.watched);
        survey.judge(region, &limits, policy)
    }

    /// Whether any region is worth a try; if not, why. Decides, and does nothing.
    fn look(&self, survey: &Survey, policy: Policy) -> Scan {
        let mut found = false;
        let mut exceeded = false;
        let walked = walk(
            self.at,
            self.orders,
            |region| {
                let worth = self.judge(survey, region, policy);
                exceeded |=
                    matches!(worth, Worth::Refused(refusal) if refusal_event(refusal).is_some());
                worth
            },
            |_| {
                found = true;
                // This ends the walk.
                Err(ScanResult::Fail)
            },
        );
        if found {
            return Ok(());
        }
        // There will be no other walk that counts.
        if exceeded {
            walk(
                self.at,
                self.orders,
                |region| counted(self.judge(survey, region, policy), region),
                |_| Err(ScanResult::Fail),
            );
        }
        Err(walked.last)
    }

    /// Collapses what it can. The locked VMA comes back if there is nothing to do.
    pub(super) fn collapse<'mm>(
        &self,
        vma: LockedVma<'mm, Read>,
        work: &mut RegionWork,
        cx: &mut CollapseContext,
    ) -> (Option<LockedVma<'mm, Read>>, Scan) {
        match self.look(&work.survey, cx.policy) {
            Err(result) => (Some(vma), Err(result)),
            Ok(()) => (None, self.collapse_unlocked(vma.unlock(), work, cx)),
        }
    }

    fn collapse_unlocked(
        &self,
        mm: PinnedMm<'_>,
        work: &mut RegionWork,
        cx: &mut CollapseContext,
    ) -> Scan {
        let RegionWork {
            survey,
            batch,
            saved,
        } = work;
        let policy = cx.policy;
        let mut outcome = Outcome::default();
        let walked = walk(
            self.at,
            self.orders,
            |region| counted(self.judge(survey, region, policy), region),
            |region| {
                if region.is_whole_table() {
                    let result = collapse_table(mm, self.at, self.referenced, self.swapped, cx);
                    outcome.any |= result.is_ok();
                    return result;
                }
                let mut new = ready_folio(mm, region.order(), cx);
                if new.as_ref().err() == Some(&ScanResult::CgroupChargeFail) && !batch.is_empty() {
                    // What the batch frees makes room for this one.
                    outcome = outcome.then(batch.run(mm, policy, saved, &mut cx.room));
                    if let Some(result) = outcome.stopped {
                        return Err(result);
                    }
                    new = ready_folio(mm, region.order(), cx);
                }
                let planned = new.and_then(|new| batch.push(region, new));
                if planned.is_err() {
                    trace::collapse_huge_page(mm.mm(), &planned, region.order());
                }
                planned
            },
        );
        if !batch.is_empty() {
            outcome = outcome.then(batch.run(mm, policy, saved, &mut cx.room));
        }
        // What the walk took on was only planned.
        Walked {
            any: outcome.any,
            last: outcome.last.unwrap_or(walked.last),
            ..walked
        }
        .result()
    }
}
