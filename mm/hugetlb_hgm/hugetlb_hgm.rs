// SPDX-License-Identifier: GPL-2.0

//! High-granularity mapping of HugeTLB memory: 4 KiB leaves for parts of a huge page, and back.
//!
//! Post-copy live migration fills memory page by page while its owner runs, and yet wants huge mappings in
//! the end. `UFFDIO_CONTINUE` maps single pages of a huge page that is in the page cache
//! ([`continuing`]); faults find the rest missing ([`fault`]); `MADV_COLLAPSE` puts the huge leaf there
//! ([`collapse`]). The folio is never split, so allocation, reservation and truncation know nothing
//! of all this. What only goes over the leaves of one slot, such as unmapping, is in
//! [`kernel::mm::hugetlb`], and [`ffi`] calls it.
//!
//! Documentation/mm/hugetlb-hgm.rst has the locks and the invariants.

#![deny(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod collapse;
mod continuing;
mod fault;
// What C links against is public only for the linker.
#[allow(unsafe_code, unreachable_pub)]
mod ffi;
mod register;

/// What `pr_*!` prints in front of each line.
const __LOG_PREFIX: &[u8] = b"hugetlb_hgm\0";
