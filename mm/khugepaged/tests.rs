// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the parts that need no memory to work on. Those of the knobs are in
//! [`tests_daemon`](crate::tests_daemon).

#![forbid(unsafe_code)]

use kernel::prelude::*;

#[kunit_tests(rust_khugepaged)]
mod tests {
    use super::*;
    use crate::{
        context::NodeLoad,
        file::Done,
        policy::{
            Limits,
            Policy, //
        },
        result::{
            status,
            status_of_file,
            ScanResult, //
        }, //
    };
    use kernel::{
        bindings,
        mm::{
            page_cache::{
                InstallError,
                Refusal, //
            },
            page_copy::CopyError,
            region::{
                Order,
                HPAGE_PMD_NR,
                HPAGE_PMD_ORDER, //
            },
            retract::Mismatch, //
        }, //
    };

    const NR: u32 = HPAGE_PMD_NR as u32;

    #[test]
    fn results_have_the_numbers_of_the_trace_events() {
        let mut expected = 0;
        for result in ScanResult::ALL {
            // Success has a number, but is no failure.
            if expected == bindings::scan_result_SCAN_SUCCEED {
                expected += 1;
            }
            assert_eq!(*result as u32, expected);
            assert_eq!(status::<()>(&Err(*result)), expected as i32);
            expected += 1;
        }
        assert_eq!(
            expected,
            bindings::scan_result_SCAN_PAGE_DIRTY_OR_WRITEBACK + 1
        );
        assert_eq!(status(&Ok(())), 1);
    }

    #[test]
    fn errors_tell_what_to_do() {
        for result in ScanResult::ALL {
            let expected = match *result as u32 {
                bindings::scan_result_SCAN_ALLOC_HUGE_PAGE_FAIL => ENOMEM,
                bindings::scan_result_SCAN_CGROUP_CHARGE_FAIL
                | bindings::scan_result_SCAN_EXCEED_NONE_PTE => EBUSY,
                bindings::scan_result_SCAN_PAGE_COUNT
                | bindings::scan_result_SCAN_PAGE_LOCK
                | bindings::scan_result_SCAN_PAGE_LRU
                | bindings::scan_result_SCAN_DEL_PAGE_LRU
                | bindings::scan_result_SCAN_PAGE_FILLED
                | bindings::scan_result_SCAN_PAGE_HAS_PRIVATE
                | bindings::scan_result_SCAN_PAGE_DIRTY_OR_WRITEBACK => EAGAIN,
                _ => EINVAL,
            };
            assert_eq!(result.to_errno(), expected);
        }
    }

    #[test]
    fn files_tell_whether_a_pmd_is_missing() {
        assert_eq!(status_of_file(&Ok(Done::Collapsed)), status(&Ok(())));
        assert_eq!(
            status_of_file(&Ok(Done::NeedsRemap)),
            ScanResult::PteMappedHugepage as i32
        );
        for result in ScanResult::ALL.iter().copied() {
            assert_eq!(status_of_file(&Err(result)), result as i32);
        }
    }

    /// What comes from the page cache can be tried again, unless the memory's set-up is in the way.
    #[test]
    fn refusals_of_the_page_cache_have_their_errors() {
        let errno = |result: ScanResult| result.to_errno();
        for (refusal, expected) in [
            (Refusal::Elsewhere, EINVAL),
            (Refusal::Large, EINVAL),
            (Refusal::NotOnLru, EAGAIN),
            (Refusal::HasPrivate, EAGAIN),
            (Refusal::Referenced, EAGAIN),
            (Refusal::Dirty, EAGAIN),
        ] {
            assert_eq!(errno(refusal.into()), expected);
        }
        for (error, expected) in [
            (InstallError::NoMemory, EINVAL),
            (InstallError::Filled, EAGAIN),
            (InstallError::Watched, EBUSY),
            (InstallError::WrongOrder, EINVAL),
        ] {
            assert_eq!(errno(error.into()), expected);
        }
        assert_eq!(errno(Mismatch::NonPresent.into()), EINVAL);
        assert_eq!(errno(CopyError::Poisoned.into()), EINVAL);
    }

    #[test]
    fn madvise_goes_on_after_some_failures() {
        let goes_on = |r: &&ScanResult| r.madvise_continues();
        assert_eq!(ScanResult::ALL.iter().filter(goes_on).count(), 10);
        assert!(ScanResult::PageCount.madvise_continues());
        assert!(ScanResult::PteUffd.madvise_continues());
        assert!(!ScanResult::AllocHugePageFail.madvise_continues());
        assert!(!ScanResult::ExceedNonePte.madvise_continues());
        assert!(!ScanResult::AnyProcess.madvise_continues());
    }

    #[test]
    fn limits_follow_the_knobs() {
        let all = Limits {
            none: NR,
            swap: NR,
            shared: NR,
        };
        for order in (0..=HPAGE_PMD_ORDER).filter_map(Order::new) {
            assert_eq!(Policy::MadvCollapse.limits_for(order, 0, 0, 0), all);
            for none in 0..NR {
                let limits = Policy::Khugepaged.limits_for(order, none, 3, 5);
                if order == Order::PMD {
                    assert_eq!((limits.none, limits.swap, limits.shared), (none, 3, 5));
                } else {
                    let expected = if none == NR - 1 {
                        order.nr_pages() as u32 - 1
                    } else {
                        0
                    };
                    assert_eq!((limits.none, limits.swap, limits.shared), (expected, 0, 0));
                }
            }
        }
    }

    #[test]
    fn nodes_are_chosen_by_load() {
        let load = KBox::init(NodeLoad::new(), GFP_KERNEL);
        assert!(load.is_ok());
        let Ok(mut load) = load else { return };
        assert_eq!(load.busiest(), (0, 0));
        assert!(!load.is_too_far(0, |_, _| true));
        load.add(0);
        load.add(0);
        assert_eq!(load.busiest(), (0, 2));
        // A node that has pages already is never too far; another may be.
        assert!(!load.is_too_far(0, |_, _| true));
        assert!(load.is_too_far(1, |from, to| (from, to) == (1, 0)));
        assert!(!load.is_too_far(1, |_, _| false));
        // No node has this number.
        load.add(usize::MAX);
        assert_eq!(load.busiest(), (0, 2));
        load.clear();
        assert_eq!(load.busiest(), (0, 0));
    }
}
