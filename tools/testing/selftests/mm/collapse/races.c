// SPDX-License-Identifier: GPL-2.0
/*
 * Collapse against everything else that happens to memory; once more with the
 * daemon making folios below the size of a PMD. Each test runs
 * RACE_SECONDS (30) seconds; "-t NAME" selects one, "-l" lists them. A
 * number as the first argument stands for RACE_SECONDS.
 */
#include <ctype.h>

#include "harness.h"
#include "race.h"

/* Beyond the race itself: set-up, last checks, swapoff, slow machines. */
#define RACE(name) \
TEST_F_TIMEOUT(races, name, 600) \
{ \
	EXPECT_EQ(0, race_##name()); \
}

FIXTURE(races) {
};

FIXTURE_VARIANT(races) {
	bool sizes;
};

FIXTURE_VARIANT_ADD(races, huge) { .sizes = false };
FIXTURE_VARIANT_ADD(races, sizes) { .sizes = true };

FIXTURE_SETUP(races)
{
	race_sizes = variant->sizes;
}

FIXTURE_TEARDOWN(races)
{
}

RACE(remap)
RACE(mremap)
RACE(fork)
RACE(exit)
RACE(core)
RACE(discard)
RACE(tables)
RACE(mprotect)
RACE(uffd)
RACE(pin)
RACE(ksm)
RACE(swap)
RACE(migrate)
RACE(memcg_oom)
RACE(collapsers)
RACE(readers)

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--receive") == 0)
		return core_receive(argv[2]);
	if (argc > 1 && isdigit((unsigned char)argv[1][0])) {
		setenv("RACE_SECONDS", argv[1], 1);
		argv[1] = argv[0];
		argv++;
		argc--;
	}
	collapse_init();
	return test_harness_run(argc, argv);
}
