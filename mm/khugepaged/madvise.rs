// SPDX-License-Identifier: GPL-2.0

//! MADV_COLLAPSE: collapsing a range at once, on request.
//!
//! Locks: the caller's mmap read lock, which is dropped and taken again on the way;
//! [`CallerMmap`] gives it back and tells the caller.
//! Context: sleeps.
//! Units: addresses in bytes.
//!
//! C: `madvise_collapse()`.

#![forbid(unsafe_code)]

use crate::{
    collapse::collapse_one,
    context::CollapseContext,
    policy::Policy,
    result::ScanResult, //
};
use kernel::{
    error::code::EINVAL,
    kthread::cond_resched,
    mm::{
        internal::lru,
        mmap_lock::{
            CallerMmap,
            Expect, //
        },
        region::{
            Order,
            Orders,
            PmdAddr, //
        }, //
    },
    prelude::*, //
};

/// Collapses all PMD ranges that lie in `start..end`, in bytes, which is part of the caller's VMA.
///
/// Succeeds if each of them is a huge page on return. Otherwise the error is that of the last
/// failure; after most failures the rest of the range is tried nevertheless.
pub(crate) fn madvise_collapse(caller: &mut CallerMmap<'_>, start: usize, end: usize) -> Result {
    let policy = Policy::MadvCollapse;
    let vma = caller.vma().ok_or(EINVAL)?;
    if !policy.allows_huge_pages(vma) {
        return Err(EINVAL);
    }
    let Some(first) = PmdAddr::align_up(start) else {
        return Ok(());
    };
    let mut end = PmdAddr::align_down(end);
    if first >= end {
        return Ok(());
    }

    let mut cx = CollapseContext::new(policy)?;
    // Pages on their way to the LRU have a reference that looks like a pin.
    lru::drain_all();

    let mut last_fail = None;
    let mut at = first;
    while at < end {
        if caller.vma().is_none() {
            cond_resched();
            let expect = Expect {
                at,
                orders: Orders::only(Order::PMD),
                tva: policy.tva(),
                anon: false,
            };
            if let Err(unfit) = caller.relock(&expect) {
                return Err(ScanResult::from(unfit).to_errno());
            }
        }
        // The VMA may have become smaller while nobody had the lock.
        if let Some(vma) = caller.vma() {
            end = end.min(PmdAddr::align_down(vma.end()));
        }

        let lent = caller.lend(|vma| collapse_one(vma, at, &mut cx));
        match lent.unwrap_or(Err(ScanResult::Fail)) {
            Ok(()) | Err(ScanResult::PmdMapped) => {}
            Err(result) => {
                last_fail = Some(result);
                if !result.madvise_continues() {
                    break;
                }
            }
        }
        match at.next() {
            Some(next) => at = next,
            None => break,
        }
    }
    last_fail.map_or(Ok(()), |result| Err(result.to_errno()))
}
