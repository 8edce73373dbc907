// SPDX-License-Identifier: GPL-2.0

//! The trace events of `include/trace/events/huge_memory.h`, called as C calls them.
//!
//! C: `trace_mm_khugepaged_scan_pmd()` and its like.

use crate::{
    file::Done,
    result::{
        status,
        status_of_file,
        Scan, //
    }, //
};
use core::ptr::null_mut;
use kernel::{
    bindings,
    mm::{
        page_cache::CacheFile,
        region::Order,
        Mm, //
    },
    prelude::*,
    tracepoint::declare_trace, //
};

declare_trace! {
    /// # Safety
    ///
    /// `mm` is only printed.
    unsafe fn mm_khugepaged_scan(mm: *mut bindings::mm_struct, progress: c_uint, full: bool);

    /// # Safety
    ///
    /// `mm` is only printed.
    unsafe fn mm_khugepaged_scan_pmd(
        mm: *mut bindings::mm_struct,
        pfn: usize,
        referenced: c_int,
        none_or_zero: c_int,
        status: c_int,
        unmapped: c_int,
    );

    /// # Safety
    ///
    /// `mm` is only printed.
    unsafe fn mm_collapse_huge_page(
        mm: *mut bindings::mm_struct,
        isolated: c_int,
        status: c_int,
        order: c_uint,
    );

    /// # Safety
    ///
    /// `folio` is null or the folio of a page frame; it is not looked into.
    unsafe fn mm_collapse_huge_page_isolate(
        folio: *mut bindings::folio,
        none_or_zero: c_int,
        referenced: c_int,
        status: c_int,
        order: c_uint,
    );

    /// # Safety
    ///
    /// `mm` is only printed.
    unsafe fn mm_collapse_huge_page_swapin(
        mm: *mut bindings::mm_struct,
        swapped_in: c_int,
        referenced: c_int,
        ret: c_int,
        order: c_uint,
    );

    /// # Safety
    ///
    /// `mm` is only printed; the file must be valid.
    unsafe fn mm_khugepaged_scan_file(
        mm: *mut bindings::mm_struct,
        pfn: usize,
        file: *mut bindings::file,
        present: c_int,
        swap: c_int,
        result: c_int,
    );

    /// # Safety
    ///
    /// `mm` is only printed; the file must be valid.
    unsafe fn mm_khugepaged_collapse_file(
        mm: *mut bindings::mm_struct,
        new_pfn: usize,
        index: usize,
        addr: usize,
        is_shmem: bool,
        file: *mut bindings::file,
        nr: c_int,
        result: c_int,
    );
}

/// khugepaged leaves a process, after `progress`; `full` if it was the last of a round.
#[inline]
pub(crate) fn khugepaged_scan(mm: &Mm, progress: u32, full: bool) {
    // SAFETY: The mm is valid.
    unsafe { mm_khugepaged_scan(mm.as_raw(), progress, full) }
}

/// A table was scanned, and maybe collapsed. `pfn` is that of the folio that ended the scan.
#[inline]
pub(crate) fn scan_pmd<T>(
    mm: &Mm,
    pfn: Option<usize>,
    referenced: u32,
    none_or_zero: u32,
    result: &Scan<T>,
    unmapped: u32,
) {
    // SAFETY: The mm is valid.
    unsafe {
        mm_khugepaged_scan_pmd(
            mm.as_raw(),
            pfn.unwrap_or(usize::MAX),
            referenced as c_int,
            none_or_zero as c_int,
            status(result),
            unmapped as c_int,
        )
    }
}

/// A collapse has ended.
#[inline]
pub(crate) fn collapse_huge_page<T>(mm: &Mm, result: &Scan<T>, order: Order) {
    // SAFETY: The mm is valid.
    unsafe {
        mm_collapse_huge_page(
            mm.as_raw(),
            result.is_ok().into(),
            status(result),
            order.get().into(),
        )
    }
}

/// The folios of a table were isolated, or not. `pfn` is that of the folio looked at last.
#[inline]
pub(crate) fn collapse_isolate<T>(
    pfn: Option<usize>,
    none_or_zero: u32,
    referenced: u32,
    result: &Scan<T>,
    order: Order,
) {
    // SAFETY: Turns the number of a page frame into its address; the frame exists.
    let folio = pfn.map_or(null_mut(), |pfn| unsafe { bindings::pfn_folio(pfn) });
    // SAFETY: The folio, freed or not, is that of a page frame.
    unsafe {
        mm_collapse_huge_page_isolate(
            folio,
            none_or_zero as c_int,
            referenced as c_int,
            status(result),
            order.get().into(),
        )
    }
}

/// Entries were brought back from swap, or not all of them.
#[inline]
pub(crate) fn collapse_swapin<T>(
    mm: &Mm,
    swapped_in: u32,
    referenced: u32,
    result: &Scan<T>,
    order: Order,
) {
    // SAFETY: The mm is valid.
    unsafe {
        mm_collapse_huge_page_swapin(
            mm.as_raw(),
            swapped_in as c_int,
            referenced as c_int,
            status(result),
            order.get().into(),
        )
    }
}

/// An extent of a file was scanned, and maybe collapsed. `pfn` is that of the folio that ended the
/// scan.
#[inline]
pub(crate) fn scan_file(
    mm: &Mm,
    pfn: Option<usize>,
    file: &CacheFile,
    present: u32,
    swap: u32,
    result: &Scan<Done>,
) {
    // SAFETY: The mm and the file are valid.
    unsafe {
        mm_khugepaged_scan_file(
            mm.as_raw(),
            pfn.unwrap_or(usize::MAX),
            file.as_raw(),
            present as c_int,
            swap as c_int,
            status_of_file(result),
        )
    }
}

/// A collapse of an extent of a file has ended, at page `index`. The process maps the extent at
/// `addr`, in bytes.
#[inline]
pub(crate) fn collapse_file(
    mm: &Mm,
    new_pfn: Option<usize>,
    index: usize,
    addr: usize,
    is_shmem: bool,
    file: &CacheFile,
    order: Order,
    result: &Scan<Done>,
) {
    // SAFETY: The mm and the file are valid.
    unsafe {
        mm_khugepaged_collapse_file(
            mm.as_raw(),
            new_pfn.unwrap_or(usize::MAX),
            index,
            addr,
            is_shmem,
            file.as_raw(),
            order.nr_pages() as c_int,
            status_of_file(result),
        )
    }
}
