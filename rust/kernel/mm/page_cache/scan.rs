// SPDX-License-Identifier: GPL-2.0

//! Walking over what a range of the page cache holds.
//!
//! Locks: RCU, for as long as the walk lives.
//! Context: atomic, except [`CacheScan::relax`], which may sleep.
//! Units: pages.
//!
//! C: the loop of `collapse_scan_file()`.

use crate::{
    bindings,
    mm::page_cache::{
        xas::XaState,
        FolioRef,
        Mapping, //
    },
    sync::rcu, //
};
use core::{
    ops::Range,
    ptr::NonNull, //
};

/// A walk over the entries of a range. Holes are passed over.
pub struct CacheScan<'m> {
    xas: XaState<'m>,
    last: usize,
    _rcu: rcu::Guard,
}

/// What a walk comes across.
pub enum Found {
    /// What is left of pages that were swapped out or evicted.
    Trace {
        /// How many.
        nr: u32,
    },
    /// A folio.
    Folio(FolioRef),
}

impl<'m> CacheScan<'m> {
    /// A walk over the pages from `range.start` up to `range.end`, which is not zero.
    #[inline]
    pub fn new(mapping: &'m Mapping, range: Range<usize>) -> Self {
        Self {
            xas: XaState::new(mapping, range.start, 0),
            last: range.end.wrapping_sub(1),
            _rcu: rcu::read_lock(),
        }
    }

    /// The page that the walk has come to. What was found there may begin before it.
    #[inline]
    pub fn index(&self) -> usize {
        // SAFETY: The state is valid, and nobody else's.
        unsafe { (*self.xas.as_raw()).xa_index }
    }

    /// Lets others run if they want to. The walk goes on where it was.
    #[inline]
    pub fn relax(&mut self) {
        // SAFETY: The walk is inside an RCU read-side section, and `xas_pause()` makes it forget
        // every node that it has seen there.
        unsafe {
            if bindings::collapse_need_resched() {
                bindings::xas_pause(self.xas.as_raw());
                bindings::cond_resched_rcu();
            }
        }
    }
}

impl Iterator for CacheScan<'_> {
    type Item = Found;

    #[inline]
    fn next(&mut self) -> Option<Found> {
        let xas = self.xas.as_raw();
        loop {
            // SAFETY: The state is valid, and RCU keeps the nodes that it looks at.
            let entry = unsafe { bindings::xas_next_entry(xas, self.last) };
            let folio = NonNull::new(entry.cast())?;
            // SAFETY: As above. A folio is not reused for something else before its reference
            // count was zero, so if the count could be raised and the entry is still the same, the
            // reference is one to the folio that is in the cache.
            unsafe {
                if bindings::xas_retry(xas, entry) {
                    continue;
                }
                if bindings::xa_is_value(entry) {
                    let nr = 1u32 << (bindings::xas_get_order(xas) & 31);
                    return Some(Found::Trace { nr });
                }
                if !bindings::folio_try_get(folio.as_ptr()) {
                    bindings::xas_reset(xas);
                    continue;
                }
                let folio = FolioRef::from_raw(folio);
                if bindings::xas_reload(xas) != entry {
                    bindings::xas_reset(xas);
                    continue;
                }
                return Some(Found::Folio(folio));
            }
        }
    }
}
