// SPDX-License-Identifier: GPL-2.0

//! How a scan or a collapse ended.
//!
//! The numbers are those of the trace events, and part of the ABI.
//!
//! C: `enum scan_result`, `madvise_collapse_errno()`.

#![forbid(unsafe_code)]

use crate::file::Done;
use kernel::{
    bindings,
    error::{
        code::*,
        Error, //
    },
    mm::{
        detached::Unclaimed,
        internal::{
            lru::Busy,
            swapin::SwapinStop, //
        },
        mmap_lock::Unfit,
        page_cache::{
            InstallError,
            Refusal, //
        },
        page_copy::CopyError,
        retract::Mismatch, //
    }, //
};

/// Success, or why not.
pub(crate) type Scan<T = ()> = Result<T, ScanResult>;

macro_rules! scan_results {
    ($($(#[$doc:meta])* $name:ident = $c:ident,)*) => {
        /// Why a scan or a collapse came to nothing. Success is no variant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(crate) enum ScanResult {
            $($(#[$doc])* $name = bindings::$c,)*
        }

        impl ScanResult {
            /// Every variant, in the order of the numbers.
            #[cfg(CONFIG_KHUGEPAGED_RUST_KUNIT_TEST)]
            pub(crate) const ALL: &'static [ScanResult] = &[$(ScanResult::$name,)*];
        }
    };
}

scan_results! {
    /// Nothing more precise can be said.
    Fail = scan_result_SCAN_FAIL,
    /// The PMD has no PTE table.
    NoPteTable = scan_result_SCAN_NO_PTE_TABLE,
    /// The PMD maps a huge page already.
    PmdMapped = scan_result_SCAN_PMD_MAPPED,
    /// Too many entries map nothing.
    ExceedNonePte = scan_result_SCAN_EXCEED_NONE_PTE,
    /// Too many entries are swapped out.
    ExceedSwapPte = scan_result_SCAN_EXCEED_SWAP_PTE,
    /// Too many entries map shared folios.
    ExceedSharedPte = scan_result_SCAN_EXCEED_SHARED_PTE,
    /// An entry is not present.
    PteNonPresent = scan_result_SCAN_PTE_NON_PRESENT,
    /// A userfaultfd protects an entry.
    PteUffd = scan_result_SCAN_PTE_UFFD,
    /// The folio is as large already.
    PteMappedHugepage = scan_result_SCAN_PTE_MAPPED_HUGEPAGE,
    /// No entry was used of late.
    LackReferencedPage = scan_result_SCAN_LACK_REFERENCED_PAGE,
    /// An entry maps something that has no folio.
    PageNull = scan_result_SCAN_PAGE_NULL,
    /// The pages are on nodes too far from each other.
    ScanAbort = scan_result_SCAN_SCAN_ABORT,
    /// Somebody holds a reference to a page.
    PageCount = scan_result_SCAN_PAGE_COUNT,
    /// A page is not on an LRU list.
    PageLru = scan_result_SCAN_PAGE_LRU,
    /// Somebody has a page locked.
    PageLock = scan_result_SCAN_PAGE_LOCK,
    /// The memory is not anonymous.
    PageAnon = scan_result_SCAN_PAGE_ANON,
    /// A page may be dropped rather than kept.
    PageLazyfree = scan_result_SCAN_PAGE_LAZYFREE,
    /// A page is part of a folio of another size.
    PageCompound = scan_result_SCAN_PAGE_COMPOUND,
    /// The process has gone, or has disabled huge pages.
    AnyProcess = scan_result_SCAN_ANY_PROCESS,
    /// There is no VMA.
    VmaNull = scan_result_SCAN_VMA_NULL,
    /// The VMA may not have a huge page.
    VmaCheck = scan_result_SCAN_VMA_CHECK,
    /// The VMA does not span the range.
    AddressRange = scan_result_SCAN_ADDRESS_RANGE,
    /// A page could not be isolated.
    DelPageLru = scan_result_SCAN_DEL_PAGE_LRU,
    /// No folio could be had.
    AllocHugePageFail = scan_result_SCAN_ALLOC_HUGE_PAGE_FAIL,
    /// The memory control group is at its limit.
    CgroupChargeFail = scan_result_SCAN_CGROUP_CHARGE_FAIL,
    /// The file was truncated.
    Truncated = scan_result_SCAN_TRUNCATED,
    /// The file system holds on to a page.
    PageHasPrivate = scan_result_SCAN_PAGE_HAS_PRIVATE,
    /// The page cache could not be written.
    StoreFailed = scan_result_SCAN_STORE_FAILED,
    /// A page is poisoned.
    CopyMc = scan_result_SCAN_COPY_MC,
    /// A hole was filled meanwhile.
    PageFilled = scan_result_SCAN_PAGE_FILLED,
    /// A page is dirty or being written back.
    PageDirtyOrWriteback = scan_result_SCAN_PAGE_DIRTY_OR_WRITEBACK,
}

/// The number for the trace events.
pub(crate) fn status<T>(scan: &Scan<T>) -> i32 {
    match scan {
        Ok(_) => bindings::scan_result_SCAN_SUCCEED as i32,
        Err(result) => *result as i32,
    }
}

/// The same for an extent of a file. A huge page that is to be mapped yet has the number of one
/// that was found, whoever made it.
pub(crate) fn status_of_file(scan: &Scan<Done>) -> i32 {
    match scan {
        Ok(Done::NeedsRemap) => ScanResult::PteMappedHugepage as i32,
        other => status(other),
    }
}

impl ScanResult {
    /// What MADV_COLLAPSE tells its caller: whether to free memory, to try again, or to give up.
    pub(crate) fn to_errno(self) -> Error {
        match self {
            Self::AllocHugePageFail => ENOMEM,
            Self::CgroupChargeFail | Self::ExceedNonePte => EBUSY,
            Self::PageCount
            | Self::PageLock
            | Self::PageLru
            | Self::DelPageLru
            | Self::PageFilled
            | Self::PageHasPrivate
            | Self::PageDirtyOrWriteback => EAGAIN,
            _ => EINVAL,
        }
    }

    /// Whether MADV_COLLAPSE goes on with the next PMD of its range.
    pub(crate) fn madvise_continues(self) -> bool {
        matches!(
            self,
            Self::NoPteTable
                | Self::PteNonPresent
                | Self::PteUffd
                | Self::LackReferencedPage
                | Self::PageNull
                | Self::PageCount
                | Self::PageLock
                | Self::PageCompound
                | Self::PageLru
                | Self::DelPageLru
        )
    }
}

impl From<Unfit> for ScanResult {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Leaving => Self::AnyProcess,
            Unfit::NoVma => Self::VmaNull,
            Unfit::Range => Self::AddressRange,
            Unfit::NotAllowed => Self::VmaCheck,
            Unfit::NotAnon => Self::PageAnon,
        }
    }
}

impl From<Unclaimed> for ScanResult {
    fn from(unclaimed: Unclaimed) -> Self {
        match unclaimed {
            Unclaimed::NoTable => Self::NoPteTable,
            Unclaimed::Huge => Self::PmdMapped,
            Unclaimed::Moved => Self::Fail,
        }
    }
}

impl From<Busy> for ScanResult {
    fn from(busy: Busy) -> Self {
        match busy {
            Busy::Locked => Self::PageLock,
            Busy::Referenced => Self::PageCount,
            Busy::NotOnLru => Self::DelPageLru,
        }
    }
}

impl From<SwapinStop> for ScanResult {
    fn from(stop: SwapinStop) -> Self {
        match stop {
            SwapinStop::NoTable => Self::NoPteTable,
            SwapinStop::Retry => Self::PageLock,
            SwapinStop::Failed => Self::Fail,
        }
    }
}

impl From<CopyError> for ScanResult {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Poisoned => Self::CopyMc,
            CopyError::Full => Self::Fail,
        }
    }
}

impl From<Refusal> for ScanResult {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Elsewhere => Self::Truncated,
            Refusal::Large => Self::PteMappedHugepage,
            Refusal::NotOnLru => Self::DelPageLru,
            Refusal::HasPrivate => Self::PageHasPrivate,
            Refusal::Referenced => Self::PageCount,
            Refusal::Dirty => Self::PageDirtyOrWriteback,
        }
    }
}

impl From<InstallError> for ScanResult {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::NoMemory => Self::StoreFailed,
            InstallError::Filled => Self::PageFilled,
            InstallError::Watched => Self::ExceedNonePte,
            InstallError::WrongOrder => Self::Fail,
        }
    }
}

impl From<Mismatch> for ScanResult {
    fn from(mismatch: Mismatch) -> Self {
        match mismatch {
            Mismatch::NonPresent => Self::PteNonPresent,
            Mismatch::NoTable | Mismatch::Other => Self::Fail,
        }
    }
}
