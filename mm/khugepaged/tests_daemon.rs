// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the knobs. The list of address spaces and the reserve of free memory are tested
//! where they are.
#![forbid(unsafe_code)]

use kernel::prelude::*;

#[kunit_tests(rust_khugepaged_daemon)]
mod tests {
    use super::*;
    use crate::tunables::{
        store_pages,
        store_ptes,
        MAX_PTES_LIMIT, //
    };
    use kernel::{
        mm::region::HPAGE_PMD_NR,
        sync::atomic::{
            Atomic,
            Relaxed, //
        },
    };

    #[test]
    fn numbers_of_ptes_have_a_limit() {
        assert_eq!(MAX_PTES_LIMIT as usize, HPAGE_PMD_NR - 1);

        let knob = Atomic::new(7u32);
        for wrong in [
            c"",
            c"-1",
            c"0x1",
            c"1 2",
            c"99999",
            c"4294967296",
            c"18446744073709551616",
        ] {
            assert_eq!(store_ptes(&knob, wrong), Err(EINVAL));
            assert_eq!(knob.load(Relaxed), 7);
        }
        for (text, value) in [(c"0", 0), (c"1\n", 1), (c"+2\n", 2), (c"003", 3)] {
            assert_eq!(store_ptes(&knob, text), Ok(()));
            assert_eq!(knob.load(Relaxed), value);
        }
    }

    #[test]
    fn numbers_of_pages_are_not_zero() {
        let knob = Atomic::new(7u32);
        for wrong in [c"0", c"0\n", c"4294967296", c"-1", c"many", c"\n"] {
            assert_eq!(store_pages(&knob, wrong), Err(EINVAL));
            assert_eq!(knob.load(Relaxed), 7);
        }
        assert_eq!(store_pages(&knob, c"4294967295\n"), Ok(()));
        assert_eq!(knob.load(Relaxed), u32::MAX);
    }
}
