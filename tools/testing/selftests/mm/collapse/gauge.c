// SPDX-License-Identifier: GPL-2.0
/* Gauges: instructions, interrupts, allocations and flushes of one task. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collapse.h"

#define EVENTS "/sys/kernel/tracing/events/"

const char *gauge_name[NR_GAUGES] = {
	"insn", "page_alloc", "slab_alloc", "mmap_write", "ipi_tlb", "ipi_call", "tlb_flush",
};

static double clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		die("clock_gettime: %s", strerror(errno));
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static double interrupts(const char *name)
{
	char line[1024], *p;
	FILE *f = fopen("/proc/interrupts", "r");
	double sum = 0, n;
	int used;

	while (f && fgets(line, sizeof(line), f)) {
		for (p = line; *p == ' '; p++)
			;
		if (strncmp(p, name, 3) || p[3] != ':')
			continue;
		for (p += 4; sscanf(p, "%lf%n", &n, &used) == 1; p += used)
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

static const char * const events[] = {
	"kmem/mm_page_alloc", "kmem/kmalloc", "kmem/kmem_cache_alloc", "tlb/tlb_flush",
	"mmap_lock/mmap_lock_start_locking",
};

static void events_enable(const char *val)
{
	char path[128];
	size_t i;

	for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		snprintf(path, sizeof(path), EVENTS "%s/enable", events[i]);
		if (knob_there(path))
			knob_set(path, val);
	}
}

/* Adds the events of one task; switching to another mm is no flush. */
static void events_count(struct gauge *g, pid_t pid)
{
	char *text = trace_take(), *line, *save = NULL, task[16];

	snprintf(task, sizeof(task), "-%d ", pid);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (!strstr(line, task))
			continue;
		g->v[PAGE_ALLOC] += strstr(line, " mm_page_alloc: ") != NULL;
		g->v[SLAB_ALLOC] += strstr(line, " kmalloc: ") || strstr(line, " kmem_cache_alloc: ");
		g->v[MMAP_WRITE] += strstr(line, " mmap_lock_start_locking: ") && strstr(line, "write=true");
		g->v[TLB_FLUSH] += strstr(line, " tlb_flush: ") && !strstr(line, "task switch");
	}
	free(text);
}

static void read_counts(const struct gauge *g, double *v)
{
	clockid_t clock = CLOCK_MONOTONIC;

	if (g->task && clock_getcpuclockid(g->task, &clock))
		die("task %d has no CPU clock", g->task);
	v[IPI_TLB] = interrupts("TLB");
	v[IPI_CALL] = interrupts("CAL");
	v[INSN] = clock_ns(clock);
}

void gauge_start(struct gauge *g, pid_t task, bool events_too)
{
	int err;

	memset(g, 0, sizeof(*g));
	g->task = task;
	g->events = events_too;
	read_counts(g, g->v);
	if (!events_too)
		return;
	err = trace_start(events[0]);
	if (err)
		die("tracefs: %s", strerror(-err));
	events_enable("1");
}

void gauge_stop(struct gauge *g)
{
	double now[NR_GAUGES] = { };
	int i;

	if (g->events)
		trace_stop();
	read_counts(g, now);
	for (i = 0; i < NR_GAUGES; i++)
		g->v[i] = now[i] - g->v[i];
	if (!g->events)
		return;
	events_enable("0");
	events_count(g, g->task ? g->task : getpid());
}

bool clock_counts_instructions(void)
{
	double best = 0;
	int i;

	for (i = 0; i < 5; i++) {
		unsigned long n = 5000000;
		double t = clock_ns(CLOCK_MONOTONIC);

#ifdef __x86_64__
		__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(n) :: "cc");
#elif defined(__aarch64__)
		__asm__ volatile("1: subs %0, %0, #1\n\tb.ne 1b" : "+r"(n) :: "cc");
#endif
		t = clock_ns(CLOCK_MONOTONIC) - t;
		if (!i || t < best)
			best = t;
	}
	return best > 0.99e7 && best < 1.01e7;
}
