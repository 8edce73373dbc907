// SPDX-License-Identifier: GPL-2.0
/*
 * Post-copy live migration in miniature: a demonstration, not a test. One process has the memory of a "guest", another
 * one already runs it: its threads read memory that arrives meanwhile, in random order, and what they wait for first.
 * What arrives is written by way of a second mapping and continued: 4 KiB at a time, or 2 MiB as without HGM, which
 * must have arrived in whole. At last the small mappings are made huge again.
 *
 *   postcopy [MiB]         both ways
 *   postcopy -2 [MiB]      only by huge pages; that is what every kernel can do
 *
 * POSTCOPY_MBPS=n is how many MB come in a second; otherwise as fast as they can. Ends with 1 if a byte is wrong.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hgm.h"

#define GUESTS	2
#define VERSION	7

struct run {
	struct arena a;
	size_t unit;		/* bytes that arrive at a time */
	size_t units, smalls;
	int sock;
	pid_t source;
	pthread_t receiver, faults, guest[GUESTS];
	int stop[2];
	unsigned char *there;	/* per unit: continued */
	uint32_t *latency;	/* of the faults, in us */
	size_t nr_latencies;
	bool wrong;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static void put(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len; p += n, len -= n) {
		n = write(fd, p, len);
		if (n <= 0)
			die("the other side is gone");
	}
}

static bool get(int fd, void *data, size_t len)
{
	char *p = data;
	ssize_t n;

	for (; len; p += n, len -= n) {
		n = read(fd, p, len);
		if (n <= 0)
			return false;
	}
	return true;
}

/* All numbers below @n, in random order. */
static uint32_t *shuffled(size_t n)
{
	uint32_t *order = malloc(n * sizeof(*order)), t;
	size_t i, j;

	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = n; i > 1; i--) {
		j = dice() % i;
		t = order[i - 1];
		order[i - 1] = order[j];
		order[j] = t;
	}
	return order;
}

/* ---- where the guest comes from ---- */

static void send_unit(struct run *r, const char *mem, unsigned char *sent, uint32_t n, uint64_t *due, double us_per_byte)
{
	struct timespec t;
	uint64_t now;

	if (sent[n])
		return;
	sent[n] = 1;
	now = now_us();
	if (*due < now)
		*due = now;
	*due += r->unit * us_per_byte;
	put(r->sock, &n, sizeof(n));
	put(r->sock, mem + n * r->unit, r->unit);
	if (us_per_byte > 0 && now_us() < *due) {
		now = *due - now_us();
		t = (struct timespec) { now / 1000000, now % 1000000 * 1000 };
		nanosleep(&t, NULL);
	}
}

static void run_source(struct run *r)
{
	double us_per_byte = getenv("POSTCOPY_MBPS") && atof(getenv("POSTCOPY_MBPS")) > 0 ? 1 / atof(getenv("POSTCOPY_MBPS")) : 0;
	size_t len = r->units * r->unit, i;
	uint32_t *order = shuffled(r->units), n, end = ~0U;
	unsigned char *sent = calloc(r->units, 1);
	struct pollfd p = { .fd = r->sock, .events = POLLIN };
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t due = 0;

	if (mem == MAP_FAILED)
		die("no memory for the source");
	fill(mem, 0, len, VERSION);
	for (i = 0; i < r->units; i++) {
		/* What somebody waits for goes first. */
		while (poll(&p, 1, 0) == 1 && get(r->sock, &n, sizeof(n)))
			send_unit(r, mem, sent, n, &due, us_per_byte);
		send_unit(r, mem, sent, order[i], &due, us_per_byte);
	}
	put(r->sock, &end, sizeof(end));
	/* Late requests: all of that was sent. */
	while (get(r->sock, &n, sizeof(n)))
		;
	_exit(0);
}

/* ---- where it goes on ---- */

static void *receive(void *arg)
{
	struct run *r = arg;
	uint32_t n;
	int err;

	while (get(r->sock, &n, sizeof(n)) && n != ~0U) {
		if (!get(r->sock, r->a.source + n * r->unit, r->unit))
			die("the source is gone");
		err = arena_continue(&r->a, n * r->unit, r->unit);
		if (err)
			die("CONTINUE of unit %u: %s", n, strerror(-err));
		__atomic_store_n(&r->there[n], 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void *ask(void *arg)
{
	struct run *r = arg;
	struct pollfd fds[2] = { { .fd = r->a.uffd, .events = POLLIN }, { .fd = r->stop[0], .events = POLLIN } };
	struct uffd_msg msg;
	uint32_t n;

	while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
		while (read(r->a.uffd, &msg, sizeof(msg)) == sizeof(msg)) {
			n = (msg.arg.pagefault.address - (uintptr_t)r->a.guest) / r->unit;
			if (!__atomic_load_n(&r->there[n], __ATOMIC_ACQUIRE))
				put(r->sock, &n, sizeof(n));
		}
	}
	return NULL;
}

/* Whether the guest could go on here at once. */
static bool is_mapped(struct run *r, size_t at)
{
	unsigned char resident = 0;

	if (__atomic_load_n(&r->there[at / r->unit], __ATOMIC_ACQUIRE))
		return true;
	return !mincore(r->a.guest + at, SMALL, &resident) && resident & 1;
}

static void *guest(void *arg)
{
	struct run *r = arg;
	uint32_t *order = shuffled(r->smalls);
	uint64_t before;
	size_t i, at;
	bool there;

	for (i = 0; i < r->smalls; i++) {
		at = order[i] * SMALL;
		there = is_mapped(r, at);
		before = now_us();
		(void)*(volatile char *)(r->a.guest + at);
		if (!there)
			r->latency[__atomic_fetch_add(&r->nr_latencies, 1, __ATOMIC_RELAXED)] = now_us() - before;
		if (!is_version(r->a.guest + at, at, VERSION)) {
			verify(r->a.guest + at, at, SMALL, VERSION);
			__atomic_store_n(&r->wrong, true, __ATOMIC_RELAXED);
		}
	}
	free(order);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static long or_none(long kb)
{
	return kb < 0 ? 0 : kb;
}

/* One migration: whether every byte was right. */
static bool migrate(size_t mib, size_t unit, bool hgm)
{
	struct run run = { .unit = unit }, *r = &run;
	uint64_t start, arrived, collapsed = 0;
	int socks[2], i, err, status;
	long pte, pmd;
	bool ok;

	arena_open(&r->a, mib * (1 << 20) / HUGE);
	r->units = r->a.len / unit;
	r->smalls = r->a.len / SMALL;
	/* The file has all its pages, as no memory is to be allocated while the guest waits. */
	for (i = 0; i < (int)r->a.nr; i++)
		r->a.source[i * HUGE] = 0;
	r->there = calloc(r->units, 1);
	r->latency = calloc(r->smalls * GUESTS, sizeof(*r->latency));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, socks) || pipe(r->stop))
		die("no socket");
	fflush(stdout);
	r->source = fork();
	if (r->source < 0)
		die("no process");
	r->sock = socks[!r->source];
	close(socks[!!r->source]);
	if (!r->source)
		run_source(r);

	r->a.uffd = uffd_open(hgm ? HGM_FEATURES : UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_EXACT_ADDRESS);
	must(r->a.uffd, "userfaultfd");
	must(uffd_register(r->a.uffd, r->a.guest, r->a.len, UFFDIO_REGISTER_MODE_MINOR), "registration");
	start = now_us();
	if (pthread_create(&r->receiver, NULL, receive, r) || pthread_create(&r->faults, NULL, ask, r))
		die("no thread");
	for (i = 0; i < GUESTS; i++)
		if (pthread_create(&r->guest[i], NULL, guest, r))
			die("no thread");
	pthread_join(r->receiver, NULL);
	arrived = now_us() - start;
	for (i = 0; i < GUESTS; i++)
		pthread_join(r->guest[i], NULL);
	put(r->stop[1], "x", 1);
	pthread_join(r->faults, NULL);
	close(r->sock);
	waitpid(r->source, &status, 0);

	qsort(r->latency, r->nr_latencies, sizeof(*r->latency), by_value);
	printf("%4zu KiB %9zu %10u %10u %10u %12llu\n", unit >> 10, r->nr_latencies,
	       r->nr_latencies ? r->latency[r->nr_latencies / 2] : 0, r->nr_latencies ? r->latency[r->nr_latencies * 99 / 100] : 0,
	       r->nr_latencies ? r->latency[r->nr_latencies - 1] : 0, (unsigned long long)arrived / 1000);
	ok = !r->wrong && !status;
	if (hgm && unit < HUGE) {
		pte = pte_kb(&r->a);
		pmd = pmd_kb(&r->a);
		start = now_us();
		err = collapse_settled(r->a.guest, r->a.len);
		collapsed = now_us() - start;
		printf("\n%-34s %12s %12s\n", "mapped by", "4 KiB, kB", "2 MiB, kB");
		printf("%-34s %12ld %12ld\n", "before MADV_COLLAPSE", or_none(pte), or_none(pmd));
		printf("after  MADV_COLLAPSE (%8llu us) %12ld %12ld\n\n", (unsigned long long)collapsed, or_none(pte_kb(&r->a)),
		       or_none(pmd_kb(&r->a)));
		if (err)
			ok = !wrong("MADV_COLLAPSE: %s", strerror(-err));
		else if (pte_kb(&r->a) || pmd_kb(&r->a) != KB(r->a.len))
			ok = !wrong("it is not all huge again");
	}
	if (verify(r->a.guest, 0, r->a.len, VERSION))
		ok = false;
	arena_close(&r->a);
	if (arena_check(&r->a))
		ok = false;
	close(r->stop[0]);
	close(r->stop[1]);
	free(r->there);
	free(r->latency);
	return ok;
}

int main(int argc, char **argv)
{
	bool huge_only = argc > 1 && !strcmp(argv[1], "-2"), hgm = !hgm_missing(), ok = true;
	size_t mib = argc > 1 + huge_only ? strtoul(argv[1 + huge_only], NULL, 0) : 64;
	const char *why = huge_only ? hugetlb_missing() : hgm_missing();

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 4;
	}
	if (mib < 2 || mib % 2 || field_of("/proc/meminfo", "HugePages_Free") < (long)mib / 2) {
		printf("1..0 # SKIP fewer than %zu free huge pages\n", mib / 2);
		return 4;
	}
	printf("Post-copy migration of %zu MiB to %d threads%s\n\n", mib, GUESTS,
	       getenv("POSTCOPY_MBPS") ? ", over a slow line" : "");
	printf("%8s %9s %10s %10s %10s %12s\n", "CONTINUE", "faults", "median us", "p99 us", "max us", "arrived ms");
	if (!huge_only)
		ok = migrate(mib, SMALL, hgm);
	ok &= migrate(mib, HUGE, hgm);
	printf("\n%s\n", ok ? "Every byte was right." : "SOMETHING WAS WRONG.");
	return ok ? 0 : 1;
}
