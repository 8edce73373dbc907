// SPDX-License-Identifier: GPL-2.0

//! The reserve of free memory that keeps page blocks from mixing.
//!
//! Locks: none taken; callers that race settle on the same value.
//! Context: may sleep.
//! Units: pages, and KiB where the name says so.
//!
//! C: `set_recommended_min_free_kbytes()`.

use crate::{
    bindings,
    mm::internal::thp,
    page::PAGE_SHIFT,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// The reserve, in KiB, that avoids fragmentation: for each of `zones`, two free page blocks, and
/// for every pair of the three common migrate types one almost free block to fall back to; but not
/// more than 5 % of the `lowmem` pages.
///
/// # Examples
///
/// ```
/// use kernel::{
///     mm::internal::watermark::recommended_kbytes,
///     page::PAGE_SHIFT,
/// };
///
/// let kib = |pages: usize| pages << (PAGE_SHIFT - 10);
///
/// // Two zones with page blocks of 512 pages: 2 * 512 * (2 + 3 * 3) pages.
/// assert_eq!(recommended_kbytes(2, 512, 1 << 20), kib(11264));
/// // A small machine: 5 % of 65536 pages.
/// assert_eq!(recommended_kbytes(2, 512, 65536), kib(3276));
/// assert_eq!(recommended_kbytes(0, 512, 65536), 0);
/// ```
pub fn recommended_kbytes(zones: usize, block_pages: usize, lowmem: usize) -> usize {
    /// Unmovable, movable and reclaimable.
    const TYPES: usize = bindings::migratetype_MIGRATE_PCPTYPES as usize;
    const BLOCKS: usize = 2 + TYPES * TYPES;

    let pages = block_pages
        .saturating_mul(zones)
        .saturating_mul(BLOCKS)
        .min(lowmem / 20);
    pages.saturating_mul(1 << (PAGE_SHIFT - 10))
}

/// Brings `min_free_kbytes` in line with whether huge pages are wanted: up to what is recommended
/// if they are, back to the usual if not; then sets the watermarks of the zones. Sleeps.
pub fn set_recommended_min_free_kbytes() {
    if thp::hugepage_enabled() {
        raise();
    } else {
        // SAFETY: There is no requirement.
        unsafe { bindings::calculate_min_free_kbytes() };
    }
    // SAFETY: There is no requirement.
    unsafe { bindings::setup_per_zone_wmarks() };
}

fn raise() {
    // SAFETY: Populated zones may come and go, which the count allows for.
    let zones = unsafe { bindings::khugepaged_nr_fragmentable_zones() };
    // SAFETY: Only reads a number that is fixed after boot.
    let block_pages = unsafe { bindings::pageblock_nr_pages() };
    // SAFETY: There is no requirement.
    let lowmem = unsafe { bindings::nr_free_buffer_pages() };
    // CAST: A number of zones fits.
    let wanted = recommended_kbytes(zones as usize, block_pages, lowmem);

    // SAFETY: The variable lives for ever, and C code reads and writes it whole.
    let current = unsafe { Atomic::<i32>::from_ptr(&raw mut bindings::min_free_kbytes) };
    let old = current.load(Relaxed);
    // A negative value would count as a huge one in C's comparison, and be left alone.
    if usize::try_from(old).is_ok_and(|old| wanted > old) {
        // SAFETY: The variable lives for ever, and C code reads and writes it whole.
        let by_user = unsafe { Atomic::<i32>::from_ptr(&raw mut bindings::user_min_free_kbytes) };
        if by_user.load(Relaxed) >= 0 {
            // SAFETY: Only prints.
            unsafe { bindings::khugepaged_report_min_free_kbytes(old, wanted) };
        }
        // 5 % of the low memory is less than 2 TiB on every machine of today.
        current.store(i32::try_from(wanted).unwrap_or(i32::MAX), Relaxed);
    }
}
