/* SPDX-License-Identifier: GPL-2.0 */
/* What every program with kselftest_harness.h needs here. */
#ifndef HGM_HARNESS_H
#define HGM_HARNESS_H

#include "kselftest_harness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hgm.h"

/* Emulated debug kernels are some fifty times slower than real ones. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240

/* How long to wait for what must happen, and to watch for what must not. */
#define LONG_MS		20000
#define QUIET_MS	300

/* HGM_EXPECTED=1: a kernel without HGM is a failure, for whoever built one with it. */
static inline int hgm_skip(const char *why)
{
	if (!why)
		return 0;
	if (getenv("HGM_EXPECTED") && atoi(getenv("HGM_EXPECTED"))) {
		printf("TAP version 13\n1..1\nnot ok 1 hgm_is_there # %s\n", why);
		return 1;
	}
	printf("TAP version 13\n1..0 # SKIP %s\n", why);
	return 4;
}

/* The main of programs whose every test needs HGM. */
#define HGM_HARNESS_MAIN				\
int main(int argc, char **argv)				\
{							\
	int skip;					\
							\
	setvbuf(stdout, NULL, _IOLBF, 0);		\
	skip = hgm_skip(hgm_missing());			\
	if (skip)					\
		return skip;				\
	touch_init();					\
	return test_harness_run(argc, argv);		\
}

#endif /* HGM_HARNESS_H */
