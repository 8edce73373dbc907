/* SPDX-License-Identifier: GPL-2.0 */
/* What every program with kselftest_harness.h needs here. */
#ifndef COLLAPSE_HARNESS_H
#define COLLAPSE_HARNESS_H

#include "kselftest_harness.h"
#include "collapse.h"

/* Emulated debug kernels are some fifty times slower than real ones. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 180

/* A passage that khugepaged has ample time for, even emulated. */
#define LONG_MS		30000
/* How long to watch for something that must not happen. */
#define QUIET_MS	700

/* The parent process saves the knobs and puts them back when all is done. */
#define COLLAPSE_HARNESS_MAIN				\
int main(int argc, char **argv)				\
{							\
	collapse_init();				\
	return test_harness_run(argc, argv);		\
}

/* The same with @mib MiB of swap, if there is any to be had. */
static inline int harness_run_swapping(int argc, char **argv, unsigned int mib)
{
	int err;

	collapse_init();
	err = swap_setup(mib);
	if (err)
		printf("# no swap and no /dev/zram0: %s\n", strerror(-err));
	atexit(swap_teardown);
	return test_harness_run(argc, argv);
}

#endif /* COLLAPSE_HARNESS_H */
