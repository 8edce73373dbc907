// SPDX-License-Identifier: GPL-2.0

//! khugepaged and MADV_COLLAPSE: joining small pages into transparent huge pages.
//!
//! Two doors lead here. The khugepaged thread ([`daemon`]) walks all registered processes in the
//! background ([`scan`]); `madvise(MADV_COLLAPSE)` ([`madvise`]) asks for a range at once. Both
//! call [`collapse::collapse_one`] for one PMD at a time.
//!
//! Words:
//!
//! - *region*: a naturally aligned run of `1 << order` entries in one PTE table;
//! - *survey*: what a scan saw, entry by entry, where regions below the PMD order are allowed;
//! - *batch*: the regions of one table that are collapsed under one hold of the locks;
//! - *session*: the locks that make one table ours;
//! - *extent*: the part of a page cache that one folio is to hold;
//! - *back-end*: what kind of memory is collapsed: [`anon`] works on page tables, [`file`] on the
//!   page cache of shmem and regular files, and [`remap`] maps what is in there by a PMD.
//!
//! A collapse is a transaction. Its stages are values, each made from the one before:
//! new folio ([`NewFolio`](kernel::mm::folio::NewFolio)), session, frozen table
//! ([`FrozenTable`](kernel::mm::detached::FrozenTable)), huge page; or, for files, new folio, all
//! old folios ([`CacheFolios`](kernel::mm::page_cache::CacheFolios)), a reservation for the holes
//! ([`ReservedExtent`](kernel::mm::page_cache::ReservedExtent)), huge folio. Whatever a stage did is undone
//! when its value is dropped, so every early return is a complete rollback.
//!
//! Lock order: mmap lock, folio lock, VMA write mark, `i_mmap_rwsem`, anon_vma, pmd lock, page-table
//! lock, `i_pages` lock, `lru_lock`. Inside the anon_vma lock folio locks are only tried for. The lock of the registered processes ([`kernel::mm::slots`]) nests in
//! nothing and holds nothing.
//!
//! `unsafe` is for [`ffi`] alone; the rest of the crate stands on the abstractions of
//! [`kernel::mm`].

#![deny(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod anon;
mod audit;
mod collapse;
mod context;
mod daemon;
// What C links against is public only for the linker.
#[allow(unsafe_code, unreachable_pub)]
mod ffi;
mod file;
mod inject;
mod madvise;
mod policy;
mod remap;
mod result;
mod scan;
mod survey;
#[cfg(CONFIG_KHUGEPAGED_RUST_KUNIT_TEST)]
mod tests;
#[cfg(CONFIG_KHUGEPAGED_RUST_KUNIT_TEST)]
mod tests_cache;
#[cfg(CONFIG_KHUGEPAGED_RUST_KUNIT_TEST)]
mod tests_daemon;
#[cfg(CONFIG_KHUGEPAGED_RUST_KUNIT_TEST)]
mod tests_regions;
mod tunables;
mod walk;

/// What `pr_*!` prints in front of each line.
const __LOG_PREFIX: &[u8] = b"khugepaged\0";
