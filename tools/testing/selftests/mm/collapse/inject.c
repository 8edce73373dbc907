// SPDX-License-Identifier: GPL-2.0
/* Making one step of a collapse fail, on kernels that can (fail_collapse). */
#include <stdio.h>

#include "collapse.h"

#define FAIL	"/sys/kernel/debug/fail_collapse"

bool inject_there(void)
{
	if (knob_there(FAIL "/step"))
		return true;
	printf("1..0 # SKIP no %s: needs KHUGEPAGED_RUST_FAULT_INJECTION and debugfs\n", FAIL);
	return false;
}

void inject_disarm(void)
{
	knob_set(FAIL "/probability", "0");
	knob_set(FAIL "/space", "0");
	knob_set(FAIL "/step", "0");
}

void inject_arm(unsigned int step, unsigned int nth, int times)
{
	knob_set(FAIL "/probability", "0");
	knob_set(FAIL "/verbose", "0");
	knob_set(FAIL "/interval", "1");
	knob_set_num(FAIL "/step", step);
	/* Each call takes one from the space while more than one is left. */
	knob_set_num(FAIL "/space", nth + 1);
	knob_set(FAIL "/times", times < 0 ? "-1" : "1");
	knob_set(FAIL "/probability", "100");
}

bool inject_spent(void)
{
	return knob_num(FAIL "/times") == 0;
}
