// SPDX-License-Identifier: GPL-2.0
/*
 * Collapse of one file against everything else that happens to it. Each test
 * runs RACE_SECONDS (30) seconds; "-t NAME" selects one, "-l" lists them. A
 * number as the first argument stands for RACE_SECONDS. RACE_CUT=1 adds what
 * the C implementation deadlocks on: PUNCH_HOLE and truncation on a disk.
 * SWAP_CUT=1 adds truncation of what is on its way to swap.
 * RACE_MTHP=1 has folios below the size of a PMD made, too, where that exists.
 */
#include <ctype.h>

#include "harness.h"
#include "file_race.h"

#define FILE_RACE(name) \
TEST_F_TIMEOUT(file_races, name, 600) \
{ \
	EXPECT_EQ(0, file_race_##name(variant->kind)); \
}

#define CUT_RACE(name) \
TEST_F_TIMEOUT(file_races, name, 600) \
{ \
	if (file_on_disk(variant->kind) && !getenv("RACE_CUT")) \
		SKIP(return, "C deadlocks here: RACE_CUT=1 runs it all the same"); \
	EXPECT_EQ(0, file_race_##name(variant->kind)); \
}

#define SHMEM_RACE(name) \
TEST_F_TIMEOUT(file_races, name, 600) \
{ \
	if (file_on_disk(variant->kind)) \
		SKIP(return, "shared memory only"); \
	EXPECT_EQ(0, file_race_##name(variant->kind)); \
}

#define SWAP_RACE(name) \
TEST_F_TIMEOUT(file_races, name, 600) \
{ \
	if (file_on_disk(variant->kind)) \
		SKIP(return, "shared memory only"); \
	if (!getenv("SWAP_CUT")) \
		SKIP(return, "Linux 7.3 may hang here for ever: SWAP_CUT=1 runs it all the same"); \
	if (!swap_active()) \
		SKIP(return, "no swap: boot with zram"); \
	EXPECT_EQ(0, file_race_##name(variant->kind)); \
}

FIXTURE(file_races) {
};

FIXTURE_VARIANT(file_races) {
	enum file_kind kind;
};

FIXTURE_VARIANT_ADD(file_races, tmpfs) { .kind = TMPFS_FILE };
FIXTURE_VARIANT_ADD(file_races, memfd) { .kind = MEMFD };
FIXTURE_VARIANT_ADD(file_races, ext4) { .kind = EXT4_FILE };
FIXTURE_VARIANT_ADD(file_races, xfs) { .kind = XFS_FILE };

FIXTURE_SETUP(file_races)
{
	const char *missing = file_kind_missing(variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
	if (getenv("FEW_KINDS") && (variant->kind == MEMFD || variant->kind == EXT4_FILE))
		SKIP(return, "left out: FEW_KINDS is set");
}

FIXTURE_TEARDOWN(file_races)
{
}

FILE_RACE(everything)
CUT_RACE(truncate)
FILE_RACE(mremap)
FILE_RACE(exit)
FILE_RACE(faults)
FILE_RACE(split)
FILE_RACE(window)
FILE_RACE(reclaim)
FILE_RACE(extent)
FILE_RACE(private)
FILE_RACE(pin)
FILE_RACE(migrate)
SHMEM_RACE(uffd)
SWAP_RACE(swap)

int main(int argc, char **argv)
{
	if (argc > 1 && isdigit((unsigned char)argv[1][0])) {
		setenv("RACE_SECONDS", argv[1], 1);
		argv[1] = argv[0];
		argv++;
		argc--;
	}
	return harness_run_swapping(argc, argv, 128);
}
