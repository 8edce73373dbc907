// SPDX-License-Identifier: GPL-2.0

//! The knobs and counters under /sys/kernel/mm/transparent_hugepage/khugepaged.
//!
//! Every value is an atomic of its own, written by sysfs and read once per decision; none depends
//! on another.
//!
//! Locks: none.
//! Context: any for the values, process context for the files.
//! Units: pages or PTEs per PMD range, and milliseconds where the name says so.
//!
//! C: `khugepaged_pages_to_scan` and its like, the `*_show()` and `*_store()` functions.
#![forbid(unsafe_code)]

use crate::ffi::group::khugepaged_max_ptes_none as MAX_PTES_NONE;
#[cfg(CONFIG_SYSFS)]
use kernel::{
    mm::internal::thp,
    prelude::*,
    sysfs::{
        parse_u32,
        parse_usize,
        Attribute,
        Emitted,
        Input,
        Output,
        Writable, //
    },
};
use kernel::{
    mm::region::HPAGE_PMD_NR,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// The number of PTEs of a table, of which a few may be none, swapped out or shared.
// CAST: A table has few PTEs.
const NR: u32 = HPAGE_PMD_NR as u32;

/// The highest value of the `max_ptes_*` knobs: at least one PTE has to map a page of its own.
pub(crate) const MAX_PTES_LIMIT: u32 = NR - 1;

static MAX_PTES_SWAP: Atomic<u32> = Atomic::new(0);
static MAX_PTES_SHARED: Atomic<u32> = Atomic::new(0);
static PAGES_TO_SCAN: Atomic<u32> = Atomic::new(0);
static MTHP_PAGE_CACHE: Atomic<u32> = Atomic::new(0);
static PAGES_COLLAPSED: Atomic<u32> = Atomic::new(0);
static FULL_SCANS: Atomic<u32> = Atomic::new(0);
static SCAN_SLEEP_MILLISECS: Atomic<u32> = Atomic::new(10_000);
static ALLOC_SLEEP_MILLISECS: Atomic<u32> = Atomic::new(60_000);

/// Sets the values that depend on the size of a huge page.
pub(crate) fn set_defaults() {
    PAGES_TO_SCAN.store(NR * 8, Relaxed);
    MAX_PTES_NONE.store(MAX_PTES_LIMIT, Relaxed);
    MAX_PTES_SWAP.store(NR / 8, Relaxed);
    MAX_PTES_SHARED.store(NR / 2, Relaxed);
}

/// How many PTEs may be none, or map the zero page.
pub(crate) fn max_ptes_none() -> u32 {
    MAX_PTES_NONE.load(Relaxed)
}

/// How many pages may have to be swapped in.
pub(crate) fn max_ptes_swap() -> u32 {
    MAX_PTES_SWAP.load(Relaxed)
}

/// How many pages may be shared with other processes.
pub(crate) fn max_ptes_shared() -> u32 {
    MAX_PTES_SHARED.load(Relaxed)
}

/// Whether the page cache has folios below the PMD order made of it.
pub(crate) fn mthp_page_cache() -> bool {
    MTHP_PAGE_CACHE.load(Relaxed) != 0
}

/// How much progress ends one round of the daemon.
pub(crate) fn pages_to_scan() -> u32 {
    PAGES_TO_SCAN.load(Relaxed)
}

/// How long the daemon sleeps after a round.
pub(crate) fn scan_sleep_millisecs() -> u32 {
    SCAN_SLEEP_MILLISECS.load(Relaxed)
}

/// How long the daemon sleeps when there is no huge page to be had.
pub(crate) fn alloc_sleep_millisecs() -> u32 {
    ALLOC_SLEEP_MILLISECS.load(Relaxed)
}

/// Counts a collapse by the daemon.
pub(crate) fn count_collapsed() {
    PAGES_COLLAPSED.add(1, Relaxed);
}

/// Counts a pass over all registered address spaces.
pub(crate) fn count_full_scan() {
    FULL_SCANS.add(1, Relaxed);
}

/// Takes a number of PTEs. Whatever is wrong with it, the answer is `EINVAL`.
#[cfg(CONFIG_SYSFS)]
pub(crate) fn store_ptes(knob: &Atomic<u32>, text: &CStr) -> Result {
    let ptes = parse_usize(text)
        .ok()
        .and_then(|ptes| u32::try_from(ptes).ok())
        .filter(|ptes| *ptes <= MAX_PTES_LIMIT)
        .ok_or(EINVAL)?;
    knob.store(ptes, Relaxed);
    Ok(())
}

/// Takes a number of pages that is not zero.
#[cfg(CONFIG_SYSFS)]
pub(crate) fn store_pages(knob: &Atomic<u32>, text: &CStr) -> Result {
    let pages = parse_u32(text)
        .ok()
        .filter(|pages| *pages != 0)
        .ok_or(EINVAL)?;
    knob.store(pages, Relaxed);
    Ok(())
}

/// Takes 0 or 1.
#[cfg(CONFIG_SYSFS)]
fn store_switch(knob: &Atomic<u32>, text: &CStr) -> Result {
    let on = parse_u32(text).ok().filter(|on| *on <= 1).ok_or(EINVAL)?;
    knob.store(on, Relaxed);
    Ok(())
}

/// Takes a time to sleep, and ends a sleep that was begun with another one.
#[cfg(CONFIG_SYSFS)]
fn store_sleep(knob: &Atomic<u32>, text: &CStr) -> Result {
    let millisecs = parse_u32(text).map_err(|_| EINVAL)?;
    knob.store(millisecs, Relaxed);
    crate::daemon::end_sleep();
    Ok(())
}

/// Makes the file of an atomic: its type, its name, the atomic, and what takes a write.
#[cfg(CONFIG_SYSFS)]
macro_rules! file {
    ($(#[$meta:meta])* $type:ident, $name:literal, $value:ident $(, $store:ident)?) => {
        $(#[$meta])*
        pub(crate) struct $type;

        impl Attribute for $type {
            const NAME: &'static CStr = $name;

            fn show(out: Output<'_>) -> Result<Emitted> {
                Ok(out.emit_u32($value.load(Relaxed)))
            }
        }

        $(impl Writable for $type {
            fn store(input: &Input<'_>) -> Result {
                $store(&$value, input.text())
            }
        })?
    };
}

#[cfg(CONFIG_SYSFS)]
mod files {
    use super::*;

    file! {
        /// How many PTEs may be none: more means more huge pages, and more memory used by them.
        MaxPtesNone, c"max_ptes_none", MAX_PTES_NONE, store_ptes
    }
    file! {
        /// How many pages may be swapped in for one huge page.
        MaxPtesSwap, c"max_ptes_swap", MAX_PTES_SWAP, store_ptes
    }
    file! {
        /// How many pages of one huge page may be shared between processes.
        MaxPtesShared, c"max_ptes_shared", MAX_PTES_SHARED, store_ptes
    }
    file! {
        /// How much to scan in a round.
        PagesToScan, c"pages_to_scan", PAGES_TO_SCAN, store_pages
    }
    file! {
        /// Whether to make folios below the PMD order of shmem and files. C has no such file.
        MthpPageCache, c"mthp_page_cache", MTHP_PAGE_CACHE, store_switch
    }
    file! {
        /// How many huge pages the daemon has made.
        PagesCollapsed, c"pages_collapsed", PAGES_COLLAPSED
    }
    file! {
        /// How many times all registered address spaces have been scanned.
        FullScans, c"full_scans", FULL_SCANS
    }
    file! {
        /// How long to sleep between rounds.
        ScanSleep, c"scan_sleep_millisecs", SCAN_SLEEP_MILLISECS, store_sleep
    }
    file! {
        /// How long to sleep after a failed allocation.
        AllocSleep, c"alloc_sleep_millisecs", ALLOC_SLEEP_MILLISECS, store_sleep
    }

    /// Whether the daemon may reclaim and compact memory for a huge page.
    pub(crate) struct Defrag;

    impl Attribute for Defrag {
        const NAME: &'static CStr = c"defrag";

        fn show(out: Output<'_>) -> Result<Emitted> {
            thp::Flag::DEFRAG_KHUGEPAGED.show(out)
        }
    }

    impl Writable for Defrag {
        fn store(input: &Input<'_>) -> Result {
            thp::Flag::DEFRAG_KHUGEPAGED.store(input)
        }
    }
}
#[cfg(CONFIG_SYSFS)]
pub(crate) use files::{
    AllocSleep,
    Defrag,
    FullScans,
    MaxPtesNone,
    MaxPtesShared,
    MaxPtesSwap,
    MthpPageCache,
    PagesCollapsed,
    PagesToScan,
    ScanSleep, //
};
