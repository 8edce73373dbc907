// SPDX-License-Identifier: GPL-2.0
/* Accesses that may end in a signal or have to wait. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hgm.h"

static __thread sigjmp_buf escape;
static __thread volatile bool touching;
static __thread volatile int got_signal, got_code;
static __thread void *volatile got_addr;
static long stray;

static void on_signal(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (touching) {
		got_signal = signal;
		got_code = info->si_code;
		got_addr = info->si_addr;
		siglongjmp(escape, 1);
	}
	/* Who injects poison is told so in his madvise(). */
	if (signal == SIGBUS && (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)) {
		count_up(stray);
		return;
	}
	printf("# wrong: signal %d, code %d, at %p\n", signal, info->si_code, info->si_addr);
	fflush(stdout);
	_exit(1);
}

void touch_init(void)
{
	struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGBUS, &act, NULL) || sigaction(SIGSEGV, &act, NULL))
		die("no signal handlers");
}

long touch_stray(void)
{
	return count_of(stray);
}

static int outcome(struct touch *t)
{
	t->signal = got_signal;
	t->code = got_code;
	t->addr = got_addr;
	return t->signal;
}

int touch_read(const void *addr, struct touch *t)
{
	memset(t, 0, sizeof(*t));
	if (sigsetjmp(escape, 1)) {
		touching = false;
		return outcome(t);
	}
	touching = true;
	t->byte = *(const volatile unsigned char *)addr;
	touching = false;
	return 0;
}

int touch_write(void *addr, unsigned char byte, struct touch *t)
{
	memset(t, 0, sizeof(*t));
	if (sigsetjmp(escape, 1)) {
		touching = false;
		return outcome(t);
	}
	touching = true;
	*(volatile unsigned char *)addr = byte;
	touching = false;
	return 0;
}

static void *wait_for_it(void *arg)
{
	struct waiter *w = arg;
	struct timespec t;

	if (w->write)
		touch_write(w->addr, 0x5a, &w->t);
	else
		touch_read(w->addr, &w->t);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	w->cpu_us = t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

void waiter_start(struct waiter *w, char *addr, bool write)
{
	memset(w, 0, sizeof(*w));
	w->addr = addr;
	w->write = write;
	if (pthread_create(&w->thread, NULL, wait_for_it, w))
		die("no thread");
}

bool waiter_done(struct waiter *w, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (!__atomic_load_n(&w->done, __ATOMIC_ACQUIRE)) {
		if (now_ms() >= end)
			return false;
		sleep_ms(5);
	}
	return true;
}

void waiter_end(struct waiter *w)
{
	if (!waiter_done(w, 20000)) {
		wrong("a thread still waits at %p", w->addr);
		_exit(1);
	}
	pthread_join(w->thread, NULL);
}
