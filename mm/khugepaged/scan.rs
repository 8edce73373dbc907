// SPDX-License-Identifier: GPL-2.0

//! The walk of the daemon over one address space.
//!
//! Progress is what the knob pages_to_scan limits: a collapse counts what it looked at, by itself;
//! here each mm counts 1, and so does each VMA that is passed over. The walk ends where the mmap
//! lock was dropped, or where the round has made enough progress, and goes on there next time.
//!
//! Locks: mmap_lock for read, given up before the slot is.
//! Context: may sleep.
//! Units: addresses in bytes; progress in PTEs, or as just said.
//!
//! C: `collapse_scan_mm_slot()`.
#![forbid(unsafe_code)]

use crate::{
    collapse::collapse_one,
    context::CollapseContext,
    ffi::trace,
    policy::Policy,
    result::{
        Scan,
        ScanResult, //
    },
    tunables,
};
use kernel::{
    kthread::cond_resched,
    mm::{
        mmap_lock::{
            LockedVma,
            Read,
            Unavailable, //
        },
        region::PmdAddr,
        slots::{
            Next,
            ScanTicket, //
        },
    },
};

/// Scans the mm of the ticket until the progress in `cx` reaches `limit`, the mmap lock is lost or
/// the mm ends. Returns the result of the last collapse that was tried.
pub(crate) fn scan_mm(ticket: ScanTicket<'_>, cx: &mut CollapseContext, limit: u32) -> Scan {
    let before = cx.progress;
    let mut result = Err(ScanResult::Fail);

    let next = walk(&ticket, cx, limit, &mut result);

    let done = ticket.finish(next);
    if done.wrapped {
        tunables::count_full_scan();
    }
    trace::khugepaged_scan(&done.mm, cx.progress.wrapping_sub(before), done.wrapped);
    result
}

/// What became of a VMA.
enum Walked<'mm> {
    /// All of it was seen.
    Whole(LockedVma<'mm, Read>),
    /// The walk ends here.
    Ended(Next),
}

fn walk(ticket: &ScanTicket<'_>, cx: &mut CollapseContext, limit: u32, result: &mut Scan) -> Next {
    // A contended lock is not waited for. The mm has its turn again in the next pass.
    let guard = match ticket.mm().try_mmap_read() {
        Ok(guard) => guard,
        Err(Unavailable::Contended) => return Next::Advance,
        Err(Unavailable::Leaving) => {
            add_progress(cx);
            return Next::Advance;
        }
    };
    add_progress(cx);

    let mut address = ticket.address();
    let mut vma = guard.vma_from(address);
    while let Ok(current) = vma {
        cond_resched();
        if current.pinned_mm().is_leaving() {
            add_progress(cx);
            break;
        }
        match walk_vma(current, &mut address, cx, limit, result) {
            Walked::Whole(current) => vma = current.next(),
            Walked::Ended(next) => return next,
        }
    }
    Next::Advance
}

/// Collapses what lies in the VMA from `address` on.
fn walk_vma<'mm>(
    vma: LockedVma<'mm, Read>,
    address: &mut usize,
    cx: &mut CollapseContext,
    limit: u32,
    result: &mut Scan,
) -> Walked<'mm> {
    let first = match PmdAddr::align_up(vma.start()) {
        Some(first) if !Policy::Khugepaged.possible_orders(&vma).is_empty() => first,
        _ => {
            add_progress(cx);
            return Walked::Whole(vma);
        }
    };
    let end = PmdAddr::align_down(vma.end());
    // The address may be past this VMA: the one before ended in the same PMD range.
    if *address > end.get() {
        add_progress(cx);
        return Walked::Whole(vma);
    }

    let mut vma = vma;
    let mut at = PmdAddr::align_down(*address).max(first);
    *address = at.get();
    while at < end {
        cond_resched();
        if vma.pinned_mm().is_leaving() {
            return Walked::Ended(Next::Advance);
        }

        let (locked, collapsed) = collapse_one(vma, at, cx);
        *result = collapsed;
        // `at` is below the aligned end of a VMA, so there is an address after it.
        at = at.next().unwrap_or(end);
        *address = at.get();
        // Before a huge page is allocated the lock is dropped. So a failed allocation ends the walk
        // and is the result that the caller sees.
        match locked {
            None => return Walked::Ended(Next::Resume(*address)),
            Some(_) if cx.progress >= limit => return Walked::Ended(Next::Resume(*address)),
            Some(locked) => vma = locked,
        }
    }
    Walked::Whole(vma)
}

fn add_progress(cx: &mut CollapseContext) {
    cx.progress = cx.progress.wrapping_add(1);
}
